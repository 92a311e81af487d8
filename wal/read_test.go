package wal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	w, err := Open(o, nil)
	require.NoError(t, err)
	for i := range uint64(100) { // several segments, interleaved with another group
		commit(w, func(b *Batch) {
			b.Entry(0, 0, entry(i+1, 1, fmt.Sprintf("%0200d", i+1)))
			b.Entry(1, 0, entry(i+1, 1, fmt.Sprintf("%0300d", i+1)))
		})
	}
	commit(w, func(b *Batch) { b.Snapshot(0, 10, 1, nil) })
	f := func(lo, hi uint64, maxBytes, want int) {
		t.Helper()
		got, err := w.Read(0, lo, hi, maxBytes, nil)
		require.NoError(t, err)
		require.Len(t, got, want)
		for i, e := range got {
			require.Equal(t, entry(lo+uint64(i), 1, fmt.Sprintf("%0200d", lo+uint64(i))), e)
		}
	}
	f(11, 101, 1<<20, 90)
	f(11, 12, 1<<20, 1)
	f(50, 60, 1<<20, 10)
	f(50, 500, 1<<20, 51)
	f(50, 60, 600, 3)
	f(50, 60, 599, 2)
	f(50, 60, 1, 1) // at least one
	f(100, 101, 0, 1)
	f(50, 50, 100, 0)
	_, err = w.Read(0, 10, 20, 1000, nil)
	require.ErrorIs(t, err, ErrCompacted)
	_, err = w.Read(0, 101, 102, 1000, nil)
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = w.Read(2, 1, 2, 1000, nil)
	require.Error(t, err)
	got, err := w.Read(0, 11, 12, 1000, []Entry{entry(1, 1, "before")})
	require.NoError(t, err)
	require.Len(t, got, 2)

	// Rot in what is asked for is told, with its place; what is not asked for is not looked at.
	w.tab.mu.Lock()
	at := w.tab.groups[0].locs.at(20).position(w.tab.oldestLocked())
	w.tab.mu.Unlock()
	require.NoError(t, mem.Flip(segmentPath(testDir, at.segment()), at.offset()+100, 1))
	_, err = w.Read(0, 20, 40, 1<<20, nil)
	var rot *CorruptionError
	require.ErrorAs(t, err, &rot)
	require.Equal(t, at.offset(), rot.Offset)
	require.Equal(t, segmentPath(testDir, at.segment()), rot.Path)
	f(32, 40, 1<<20, 8)
	require.NoError(t, w.Close())
}

// TestReadWhileSegmentsAreRecycled: a reader sees right entries or is told that they are gone, never what
// a recycled file holds instead.
func TestReadWhileSegmentsAreRecycled(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	o.SoftLimitBytes = 2 * o.SegmentBytes // group 1 is copied again and again
	w, err := Open(o, nil)
	require.NoError(t, err)
	commit(w, func(b *Batch) { b.Entry(1, 0, entry(1, 1, "stays")) })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 3))
			lo := uint64(1)
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := w.Read(0, lo, lo+5, 1<<20, nil)
				switch err {
				case nil:
					for i, e := range got {
						if want := fmt.Sprintf("%0400d", lo+uint64(i)); string(e.Data) != want {
							t.Errorf("entry %d is %q", lo+uint64(i), e.Data)
						}
					}
					lo += uint64(rng.IntN(3))
				case ErrCompacted:
					lo += 10
				case ErrUnavailable:
					lo -= min(lo-1, uint64(rng.IntN(12)))
				default:
					t.Error(err)
				}
				if got, err = w.Read(1, 1, 2, 100, nil); err == nil && string(got[0].Data) != "stays" {
					t.Errorf("carried entry is %q", got[0].Data)
				} else if err != nil && err != ErrUnavailable {
					t.Error(err)
				}
			}
		})
	}
	for i := uint64(1); i < 1500; i++ {
		commit(w, func(b *Batch) {
			b.Entry(0, i-1, entry(i, 1, fmt.Sprintf("%0400d", i)))
			if i%40 == 0 {
				b.Snapshot(0, i-20, 1, nil)
			}
		})
	}
	close(stop)
	wg.Wait()
	var s Stats
	w.Stats(&s)
	require.NotZero(t, s.Recycled)
	require.NoError(t, w.Close())
}
