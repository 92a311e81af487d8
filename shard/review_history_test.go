package shard

import (
	"bytes"
	"io"
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
		_, _, r, err := n.OpenSnapshot(group, 1, 99)
		if err == nil {
			require.NoError(t, r.Close())
		}
		return err == nil
	}, 40*time.Second, 5*time.Millisecond)
	require.NoError(t, n.Close())
	_, _, _, err := n.OpenSnapshot(group, 1, 99)
	require.ErrorIs(t, err, history.ErrClosed)
}

// TestSlowHistoryHoldsUpNobody: a leader that falls silent in the middle of a shard's history holds that shard's files. The
// node's one spiller must not wait for it, with the memory of all other shards.
func TestSlowHistoryHoldsUpNobody(t *testing.T) {
	l := newLagging(t, 1, nil)
	n := l.nodes[3]
	n.StepLoops()
	g := n.groups[l.group]
	quiet, more := make(chan struct{}), make(chan struct{})
	part := 8 + snapshotPart(l.file)
	file := io.MultiReader(bytes.NewReader(l.file[:part]), &stall{quiet, more}, bytes.NewReader(l.file[part:]))
	received := make(chan error)
	go func() { received <- n.ReceiveSnapshot(l.m, file) }()
	<-quiet

	var res Result
	require.NoError(t, g.loop.call(func() { // what it holds will be replaced: it may as well be too much
		g.machine.KeepTail(10)
		for i := range uint64(400) {
			cmd := encodeText(nil, l.client.id, strings.Repeat("s", 1000))
			require.NoError(t, g.machine.Apply(g.applied+i+1, cmd, &res))
		}
		g.spilling = true
	}))
	n.spills.queue.push(g) // it was queued before the reception began
	stepped := make(chan struct{})
	go func() {
		for n.spills.step() || n.StepLoops() {
			continue
		}
		close(stepped)
	}()
	select {
	case <-stepped:
	case <-time.After(20 * time.Second):
		t.Error("the spiller waits for a stream")
	}
	close(more)
	require.NoError(t, <-received)
	<-stepped
	require.False(t, g.spilling)
	require.False(t, g.receiving)
	l.settle()
	l.client.check(n)
}

// stall is a reader that says that it was reached, and ends when it is let go.
type stall struct{ reached, more chan struct{} }

func (s *stall) Read([]byte) (int, error) {
	close(s.reached)
	<-s.more
	return 0, io.EOF
}
