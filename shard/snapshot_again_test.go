package shard

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestSnapshotTwiceAtOneIndex: a snapshot gets its name and cannot be opened then. Messages leave memory, nothing is written, and the
// next attempt is at the same index: what it says of where contexts lie is not what lies there. They are found all the same, now
// and after a restart.
func TestSnapshotTwiceAtOneIndex(t *testing.T) {
	const messages = 200
	disk := walfs.NewMem()
	failed := false
	passed := int64(0) // ms
	o := testOptions(walfs.NewFaulty(disk, func(c walfs.Call) (f walfs.Fault) {
		if c.Op == walfs.OpOpen && strings.HasSuffix(c.Path, snapSuffix) && !failed {
			failed, f.Err = true, errors.New("too many open files")
		}
		return f
	}))
	o.Manual, o.Loops, o.SnapshotBytes, o.TailKeep, o.SpillBytes = true, 1, 1<<40, 5, 1<<40
	o.Nanos = func() int64 { return passed * 1e6 }
	o.NowMs = func() int64 { return 1_700_000_000_000 + passed }
	n, err := Open(o)
	require.NoError(t, err)
	work := func() {
		for n.StepLoops() || n.StepWAL() || n.StepSnapshots() {
			continue
		}
	}
	tick := func() {
		passed += 50
		n.TickAll()
		work()
	}
	ids := []string{"x"}
	for i := 0; len(ids) < 3; i++ {
		if id := fmt.Sprint("y", i); Of([]byte(id)) == Of([]byte("x")) {
			ids = append(ids, id)
		}
	}
	g := n.groups[Of([]byte("x"))]
	do := func(cmd []byte) {
		t.Helper()
		r := AcquireRequest()
		defer ReleaseRequest(r)
		r.Cmd = append(r.Cmd[:0], cmd...)
		done := false
		r.Done = func(*Request) { done = true }
		n.Submit(g.id, r)
		for range 100 {
			if done {
				break
			}
			tick()
		}
		require.True(t, done)
		require.Equal(t, CodeOK, r.Result.Code)
	}
	for !g.leads.Load() {
		tick()
	}
	for _, id := range ids {
		do(EncodePut(nil, &Put{ID: []byte(id), HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: LastN, Limit: 2}}))
		for i := range messages {
			do(encodeText(nil, id, fmt.Sprint(id, i, strings.Repeat("z", 1000))))
		}
	}
	snapshot := func() {
		g.snap.wanted = true
		tick()
		work()
	}
	snapshot()
	require.True(t, failed)
	require.Zero(t, g.snap.covered)
	at := g.applied

	before := g.machine.Bytes()
	g.spilling = true
	n.spills.queue.push(g)
	work()
	require.Less(t, g.machine.Bytes(), before/2, "messages have left memory")
	for range 2 * int(retryAfter/tickInterval) { // it is tried again
		tick()
	}
	snapshot()
	require.Equal(t, at, g.snap.covered, "at the same index")
	check := func() {
		t.Helper()
		for range 2 {
			n.groups[g.id].machine.Sweep(len(ids)) // those that are known to lie in a snapshot leave memory
		}
		for _, id := range ids {
			c, err := n.groups[g.id].machine.find([]byte(id), hash64([]byte(id)))
			require.NoError(t, err)
			require.NotNil(t, c, id)
			var v View
			c.View(&v)
			require.Len(t, historyTexts(t, n, id, &v), messages)
		}
	}
	check()
	require.NoError(t, n.Close())
	n, err = Open(o)
	require.NoError(t, err)
	check()
	require.NoError(t, n.Close())
}
