package wal

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// W1: reclaim renames or removes a segment, runs out of descriptors at the sync of the directory, and at the next
// kick does the rename again: ENOENT, which is fatal.
func TestReviewReclaimSurvivesEMFILE(t *testing.T) {
	for _, free := range []int{-1, 0} { // remove, recycle
		mem := walfs.NewMem()
		var sw switchable
		o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
		o.FreeSegments = free
		fatal := make(chan error, 1)
		o.Fatal = func(err error) { fatal <- err }
		w, err := Open(o, nil)
		require.NoError(t, err)
		next := uint64(1)
		for w.activeID.Load() < 3 {
			next = grow(w, next, 1, 500)
		}
		settle(t, w)
		var failed atomic.Int32
		sw.set(func(c walfs.Call) walfs.Fault {
			if c.Op == walfs.OpSyncDir && failed.Add(1) == 1 {
				return walfs.Fault{Err: syscall.EMFILE}
			}
			return walfs.Fault{}
		})
		commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
		waitFor(t, "the failed sync", func() bool { return failed.Load() > 0 })
		time.Sleep(20 * time.Millisecond)
		w.kickMaintenance()
		select {
		case err := <-fatal:
			t.Errorf("free %d: fatal: %v", free, err)
		case <-time.After(200 * time.Millisecond):
		}
		_ = w.Close()
	}
}

// W2: a rotation that finds no descriptor for the sync of the directory ends the process.
func TestReviewRotationSurvivesEMFILE(t *testing.T) {
	mem := walfs.NewMem()
	var sw switchable
	o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
	fatal := make(chan error, 1)
	o.Fatal = func(err error) { fatal <- err }
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	var failed atomic.Int32
	sw.set(func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpSyncDir && failed.Add(1) <= 3 {
			return walfs.Fault{Err: syscall.EMFILE}
		}
		return walfs.Fault{}
	})
	w.q.ask(func(q *queue) { q.rotate = true })
	select {
	case err := <-fatal:
		t.Errorf("fatal: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	_ = w.Close()
}

// W3: Close on a full disk gives up the batch that waits for a segment, and then serves the ones submitted after it.
func TestReviewNothingIsDoneAfterNoSpace(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	mem.SetCapacity(mem.Used())
	next := uint64(1)
	for {
		var s Stats
		w.Stats(&s)
		if s.NoSpace && s.RoomBytes < 2000 {
			break
		}
		size := 500
		next = grow(w, next, 1, size)
		settle(t, w)
	}
	var big, small atomic.Bool
	a := NewBatch(func(*Batch) { big.Store(true) })
	a.Entry(0, 0, entry(next, 1, strings.Repeat("a", 3000))) // does not fit: waits for a segment
	w.Submit(a)
	waitFor(t, "the writer to wait", w.pool.urgent)
	b := NewBatch(func(*Batch) { small.Store(true) })
	b.State(1, HardState{Term: 7}) // later in the order, and fits
	w.Submit(b)
	require.ErrorIs(t, w.Close(), ErrNoSpace)
	require.False(t, big.Load())
	require.False(t, small.Load(), "a batch was done although one submitted before it was given up")
}

func TestReviewNoGapAfterNoSpace(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	mem.SetCapacity(mem.Used())
	next := uint64(1)
	for {
		var s Stats
		w.Stats(&s)
		if s.NoSpace && s.RoomBytes < 2000 {
			break
		}
		next = grow(w, next, 1, 500)
		settle(t, w)
	}
	a := NewBatch(func(*Batch) {})
	a.Entry(0, 0, entry(next, 1, strings.Repeat("a", 3000)))
	w.Submit(a)
	waitFor(t, "the writer to wait", w.pool.urgent)
	b := NewBatch(func(*Batch) {})
	b.Entry(0, 0, entry(next+1, 1, "b"))
	w.Submit(b)
	require.ErrorIs(t, w.Close(), ErrNoSpace)
}
