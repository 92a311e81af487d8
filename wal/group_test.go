package wal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLocation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		oldest := rng.Uint64() >> 34
		id := oldest + rng.Uint64N(maxLiveSegments)
		off := int64(rng.Uint64N(maxSegmentBytes/alignBytes)) * alignBytes
		size := rng.IntN(1<<23) &^ 7
		l := makeLocation(makePosition(id, off), size)
		require.Equal(t, makePosition(id, off), l.position(oldest))
		got, exact := l.size()
		if exact {
			require.Equal(t, size, got)
		} else {
			require.GreaterOrEqual(t, size, got)
			require.GreaterOrEqual(t, got, 4<<20-8)
		}
	}
}

// TestLocationsAgainstASlice compares the queue with the plainest thing that does the same.
func TestLocationsAgainstASlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var q locations
	var want []location
	for step := range 200_000 {
		switch x := rng.IntN(100); {
		case x < 80 || step < 40_000:
			q.push(location(step))
			want = append(want, location(step))
		case x < 98 && len(want) > 0:
			n := rng.IntN(min(len(want), 20) + 1)
			q.popFront(n)
			want = want[n:]
		case x == 98 && len(want) > 0:
			n := len(want) - rng.IntN(min(len(want), 30))
			q.truncate(n)
			want = want[:n]
		case rng.IntN(300) == 0:
			q.truncate(len(want) / 20)
			want = want[:len(want)/20]
		}
		require.Equal(t, len(want), q.len())
		if len(want) > 0 {
			i := rng.IntN(len(want))
			require.Equal(t, want[i], q.at(i))
		}
	}
	for i := range want {
		require.Equal(t, want[i], q.at(i))
	}
}

// TestGroupAgainstModel compares terms, bytes and bounds with the plain state of the test harness.
func TestGroupAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		gen := newGenerator(seed, make(state, 1), 1)
		model := make(state, 1)
		var g group
		off := int64(4096)
		for range 300 {
			for _, a := range gen.batch() {
				switch a.kind {
				case kindEntry:
					require.Empty(t, g.checkEntry(a.entry.Index, a.entry.Term))
					size := recordBound(kindEntry, len(a.entry.Data))
					g.add(a.entry.Index, a.entry.Term, a.commit, makeLocation(makePosition(1, off), size))
					off += int64(size)
				case kindState:
					g.setState(a.hs)
				case kindSnapshot:
					g.truncate(a.index, a.term, []byte(a.meta))
				case kindForget:
					g.forget()
				}
				model.apply(a)
				m := &model[0]
				require.Equal(t, m.last(), g.last())
				require.Equal(t, m.snapIndex, g.snap.index)
				require.Equal(t, m.hs, g.hs)
				bytes := 0
				for i := m.snapIndex; i <= m.last(); i++ {
					require.Equal(t, m.term(i), g.term(i), "term of %d", i)
				}
				for _, e := range m.entries {
					bytes += recordBound(kindEntry, len(e.Data))
				}
				require.Equal(t, int64(bytes), g.bytes)
			}
		}
	}
}

func TestGroupRefusesWhatCannotFollow(t *testing.T) {
	g := group{snap: cut{index: 5, term: 2}}
	require.Empty(t, g.checkEntry(6, 2))
	require.Contains(t, g.checkEntry(5, 2), "truncation point")
	require.Contains(t, g.checkEntry(7, 2), "gap")
	require.Contains(t, g.checkEntry(6, 1), "term")
	g.add(6, 4, 0, 0)
	require.Contains(t, g.checkEntry(7, 3), "term")
	require.Empty(t, g.checkEntry(6, 3), "an overwrite is compared with what is before it")
}
