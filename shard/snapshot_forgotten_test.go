package shard

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestOldRemovalAfterForget: a snapshot was received, and before the older ones were removed for it the shard was forgotten and
// received again, by way of an older snapshot. That one stays: the log in front of it is gone.
func TestOldRemovalAfterForget(t *testing.T) {
	disk := walfs.NewMem()
	o := testOptions(disk)
	o.Manual, o.Loops, o.SnapshotBytes = true, 1, 1<<40
	n, err := Open(o)
	require.NoError(t, err)
	work := func() {
		for n.StepLoops() || n.StepWAL() || n.StepSnapshots() {
			continue
		}
	}
	work()
	g := n.groups[Of([]byte("x"))]
	r := AcquireRequest()
	defer ReleaseRequest(r)
	r.Cmd = EncodePut(r.Cmd, &Put{ID: []byte("x"), HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: LastN, Limit: 5}})
	done := false
	r.Done = func(*Request) { done = true }
	n.Submit(g.id, r)
	work()
	require.True(t, done)
	require.Equal(t, CodeOK, r.Result.Code)
	g.snap.wanted = true
	n.TickAll()
	work()
	require.Positive(t, g.snap.covered)
	n.snaps.old.push(snapFile{g.id, snapName(g.id, g.snap.covered+1)}) // forgotten since
	work()
	require.NoError(t, n.Close())

	n, err = Open(o)
	require.NoError(t, err)
	require.NoError(t, n.Close())
}
