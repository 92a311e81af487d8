package wal

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// W4: Close while the next segment is still being pre-written, on a disk with all the room in the world.
func TestReviewCloseWritesWhatWasSubmitted(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	var done atomic.Int32
	const n = 400
	for i := range uint64(n) {
		b := NewBatch(func(*Batch) { done.Add(1) })
		b.Entry(0, 0, entry(i+1, 1, strings.Repeat("c", 500)))
		w.Submit(b)
	}
	require.NoError(t, w.Close())
	require.Equal(t, int32(n), done.Load())
}

// W5: kill -9 between the renaming of a segment to a spare and the sync of the directory; a start, which adopts the
// spare; power loss between that segment's new name and the sync of the directory. Names as harsh as walfs says.
func TestReviewAdoptedSpareOfAnUnsyncedName(t *testing.T) {
	bad := 0
	for seed := range uint64(60) {
		mem := walfs.NewMem()
		var sw switchable
		o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
		o.Fatal = func(error) {}
		w, err := Open(o, nil)
		require.NoError(t, err)
		next := uint64(1)
		for w.activeID.Load() < 3 {
			next = grow(w, next, 1, 500)
			settle(t, w)
		}
		var died atomic.Bool
		sw.set(func(c walfs.Call) walfs.Fault {
			if died.Load() || c.Op == walfs.OpSyncDir {
				died.Store(true)
				return walfs.Fault{Err: errCrash}
			}
			return walfs.Fault{}
		})
		commit(w, func(b *Batch) { b.Snapshot(0, next-3, 1, nil) })
		waitFor(t, "death", died.Load)
		_ = w.Close()

		var spares []string
		names, err := mem.List(testDir)
		require.NoError(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, spareSuffix) {
				spares = append(spares, testDir+"/"+name)
			}
		}
		for _, name := range spares[:len(spares)-1] {
			require.NoError(t, mem.Remove(name))
		}
		// the next life dies at the sync of its first rotation; its spares but the one left by release are gone
		var died2 atomic.Bool
		renamed := false
		o2 := testOptions(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
			renamed = renamed || c.Op == walfs.OpRename
			if died2.Load() || renamed && c.Op == walfs.OpSyncDir {
				died2.Store(true)
				return walfs.Fault{Err: errCrash}
			}
			return walfs.Fault{}
		}), 1)
		o2.Fatal = func(error) {}
		_, err = Open(o2, nil)
		require.ErrorIs(t, err, errCrash)

		lost := mem.Crash(rand.New(rand.NewPCG(seed, 9)), walfs.CrashOptions{Keep: 50})
		w, got := recoverState(t, testOptions(lost, 1))
		require.Equal(t, next-1, got[0].last())
		next2 := next
		for range 3 {
			id := w.activeID.Load()
			for w.activeID.Load() == id {
				next2 = grow(w, next2, 1, 500)
				settle(t, w)
			}
		}
		_ = w.Close()
		c := newCollector(1)
		w, err = Open(testOptions(lost, 1), c)
		var rot *CorruptionError
		if errors.As(err, &rot) {
			bad++
			t.Logf("seed %d: %v", seed, err)
			continue
		}
		require.NoError(t, err)
		if c.state[0].last() != next2-1 {
			bad++
			t.Logf("seed %d: log ends at %d, want %d", seed, c.state[0].last(), next2-1)
		}
		_ = w.Close()
	}
	require.Zero(t, bad, "of 60")
}
