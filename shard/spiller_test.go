package shard

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestLostHistoryStopsTheStart: the newest history file of a shard is gone, or all of them, and the next start says so.
func TestLostHistoryStopsTheStart(t *testing.T) {
	for _, all := range []bool{false, true} {
		disk := walfs.NewMem()
		o := testOptions(disk)
		o.TailKeep, o.SpillBytes = 20, 1
		n := openNode(t, o)
		r := AcquireRequest()
		r.Cmd = EncodePut(r.Cmd, &Put{ID: []byte("x"), HasBudget: true, TokenBudget: 1000}) // the window stays in memory
		n.Do(Of([]byte("x")), r)
		ReleaseRequest(r)
		group := Of([]byte("x"))
		g := n.groups[group]
		var st Stats
		for i := 0; st.History.Files < 2; i++ {
			_, code := appendText(n, "x", fmt.Sprint(i, strings.Repeat("y", 500)))
			require.Equal(t, CodeOK, code)
			n.Stats(&st)
		}
		settle := func() {
			idle := false
			require.Eventually(t, func() bool {
				require.NoError(t, g.loop.call(func() { idle = !g.spilling && !g.snap.busy && g.machine.SpillBytes() == 0 }))
				return idle
			}, 40*time.Second, time.Millisecond)
		}
		settle()
		_, code := appendText(n, "x", "one more") // a snapshot wants something new
		require.Equal(t, CodeOK, code)
		settle() // that may have been enough to spill: the snapshot must be of what is left then
		n.Stats(&st)
		taken := st.Snapshots
		n.requestSnapshots([]uint32{group})
		require.Eventually(t, func() bool { n.Stats(&st); return st.Snapshots > taken }, 40*time.Second, time.Millisecond)
		require.NoError(t, n.Close())

		names, err := disk.List("/data/history")
		require.NoError(t, err)
		require.NotEmpty(t, names)
		for i, name := range names {
			if all || i == len(names)-1 {
				require.NoError(t, disk.Remove(filepath.Join("/data/history", name)))
			}
		}
		_, err = Open(o)
		require.ErrorContains(t, err, "no history file holds it")
	}
}
