package shard

import (
	"strings"
	"testing"
	"time"

	"fastpaca/shard/history"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestNoSnapshotWithoutItsHistory: a node that closes has closed its history while its connections still send. A snapshot that
// went out then with an empty history would be installed, and the replica would have lost its old messages for good.
func TestNoSnapshotWithoutItsHistory(t *testing.T) {
	o := testOptions(walfs.NewMem())
	o.TailKeep, o.SpillBytes = 10, 1<<10
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))
	var st history.Stats
	for i := 0; i < 200 || st.Messages == 0; i++ {
		_, code := appendText(n, "x", strings.Repeat("h", 300))
		require.Equal(t, CodeOK, code)
		n.history.Stats(&st)
	}
	group := Of([]byte("x"))
	require.Eventually(t, func() bool {
		_, _, r, err := n.OpenSnapshot(group, 1)
		if err == nil {
			require.NoError(t, r.Close())
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, n.Close())
	_, _, _, err := n.OpenSnapshot(group, 1)
	require.ErrorIs(t, err, history.ErrClosed)
}
