package wal

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestPlan is the ladder, case by case. Segments are 64 MiB.
func TestPlan(t *testing.T) {
	const mib = 1 << 20
	f := func(name string, oldest, active uint64, pins []pin, want plan) {
		t.Helper()
		p := pressure{oldest: oldest, active: active, segmentBytes: 64 * mib, preamble: 32 << 10, pins: pins}
		require.Equal(t, want, p.plan(), name)
	}
	f("one segment", 5, 5, []pin{{1, 5, 10, 0}}, plan{})
	f("nothing pinned", 1, 11, nil, plan{frees: 10})
	f("pinned beyond the oldest fifth", 1, 11, []pin{{1, 3, 10, 0}}, plan{frees: 2})
	f("first time: ask, however small", 1, 11, []pin{{1, 1, 10, 0}, {2, 2, 100 * mib, 0}, {3, 3, 1, 0}},
		plan{ask: []uint32{1, 2}})
	f("small and asked before: carry", 1, 11, []pin{{1, 1, 256 << 10, 1}, {2, 1, 256<<10 + 8, 1}},
		plan{carry: []uint32{1}, ask: []uint32{2}})
	f("carrying frees up to the next pin", 1, 11, []pin{{1, 1, 10, 3}, {2, 4, 10, 0}}, plan{carry: []uint32{1}, frees: 3})
	f("eight ignored requests", 1, 11, []pin{{1, 1, 5 * mib, 8}}, plan{ask: []uint32{1}})
	f("nine ignored requests", 1, 11, []pin{{1, 1, 5 * mib, 9}}, plan{carry: []uint32{1}, frees: 10})
	f("one big one at a time", 1, 11, []pin{{1, 1, 5 * mib, 9}, {2, 1, 5 * mib, 9}},
		plan{carry: []uint32{1}, ask: []uint32{2}})
	f("too big for half a segment", 1, 11, []pin{{1, 1, 40 * mib, 20}}, plan{ask: []uint32{1}})
	f("oldest first, then by group", 10, 20, []pin{{9, 11, 1, 1}, {7, 10, 1, 1}, {3, 10, 1, 1}},
		plan{carry: []uint32{3, 7, 9}, frees: 10})
	many := make([]pin, 40)
	for i := range many {
		many[i] = pin{uint32(i), 1, 256 << 10, 1}
	}
	p := pressure{oldest: 1, active: 11, segmentBytes: 64 * mib, preamble: 32 << 10, pins: many}
	got := p.plan()
	require.Len(t, got.carry, 32, "an eighth of a segment per rotation")
	require.Len(t, got.ask, 8)
	require.Zero(t, got.frees)
}

// TestReclaimingKeepsTheLogShort: groups that snapshot, when asked or by themselves, keep the log at its
// soft limit for ever.
func TestReclaimingKeepsTheLogShort(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 3)
	o.SoftLimitBytes = 4 * o.SegmentBytes
	next := []uint64{1, 1, 1}
	var mu sync.Mutex
	var asked []uint32
	o.RequestSnapshot = func(groups []uint32) { mu.Lock(); asked = append(asked, groups...); mu.Unlock() }
	w, err := Open(o, nil)
	require.NoError(t, err)
	most := 0
	for range 2500 {
		for g := range uint32(2) {
			commit(w, func(b *Batch) { b.Entry(g, next[g]-1, entry(next[g], 1, "some data of a group that is busy")) })
			next[g]++
		}
		mu.Lock()
		due := slices.Clone(asked)
		asked = asked[:0]
		mu.Unlock()
		for _, g := range due {
			if next[g] > 1 {
				commit(w, func(b *Batch) { b.Snapshot(g, next[g]-1, 1, nil) })
			}
		}
		var s Stats
		w.Stats(&s)
		most = max(most, s.SegmentsLive)
		settle(t, w)
	}
	require.LessOrEqual(t, most, 8)
	var s Stats
	w.Stats(&s)
	require.Greater(t, s.Rotations, uint64(8))
	require.NotZero(t, s.Recycled)
	require.LessOrEqual(t, s.SegmentsFree, MaxFreeSegments)
	require.NoError(t, w.Close())
	w, got := recoverState(t, o)
	require.Equal(t, next[1]-1, got[1].last())
	require.NoError(t, w.Close())
}

// TestIdleGroupIsCopiedForward: a group with a few live entries that ignores every request does not pin
// the log, and its entries and hard state survive any number of copies.
func TestIdleGroupIsCopiedForward(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	o.SegmentBytes = 64 << 10
	o.SoftLimitBytes = 3 * o.SegmentBytes
	w, err := Open(o, nil)
	require.NoError(t, err)
	commit(w, func(b *Batch) {
		b.Entry(1, 0, entry(1, 1, "one"))
		b.Entry(1, 0, entry(2, 2, "two"))
		b.Entry(1, 1, entry(3, 2, "three"))
		b.State(1, HardState{Term: 3, Vote: 2, Commit: 2})
	})
	next := uint64(1)
	var s Stats
	for ; s.CarriedGroups < 3; w.Stats(&s) {
		next = grow(w, next, 20, 1000)
		commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
		settle(t, w)
		require.Less(t, s.Rotations, uint64(200))
	}
	require.Less(t, s.SegmentsLive, 12)
	entries, err := w.Read(1, 1, 9, 1000, nil)
	require.NoError(t, err)
	require.Equal(t, []Entry{entry(1, 1, "one"), entry(2, 2, "two"), entry(3, 2, "three")}, entries)
	commit(w, func(b *Batch) { b.Entry(1, 3, entry(4, 3, "four")) })
	require.NoError(t, w.Close())
	w, got := recoverState(t, o)
	require.Empty(t, state{got[0], {hs: HardState{3, 2, 3}, entries: []Entry{
		entry(1, 1, "one"), entry(2, 2, "two"), entry(3, 2, "three"), entry(4, 3, "four")}}}.diff(got))
	require.NoError(t, w.Close())
}

// TestBigGroupIsCopiedAfterNineRequests: not before, though it holds more than a small remainder and goes
// on being written.
func TestBigGroupIsCopiedAfterNineRequests(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	o.SegmentBytes = 128 << 10
	o.SoftLimitBytes = 2 * o.SegmentBytes
	var mu sync.Mutex
	asks := 0
	o.RequestSnapshot = func(groups []uint32) {
		mu.Lock()
		defer mu.Unlock()
		if slices.Contains(groups, 1) {
			asks++
		}
	}
	w, err := Open(o, nil)
	require.NoError(t, err)
	for i := range uint64(30) {
		commit(w, func(b *Batch) { b.Entry(1, 0, entry(i+1, 1, string(make([]byte, 1000)))) })
	}
	next, mine := uint64(1), uint64(31)
	var s Stats
	for ; s.CarriedGroups == 0; w.Stats(&s) {
		next = grow(w, next, 30, 1000)
		commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
		if next%4 == 0 {
			commit(w, func(b *Batch) { b.Entry(1, 0, entry(mine, 1, "late")) })
			mine++
		}
		settle(t, w)
		require.Less(t, s.Rotations, uint64(100))
	}
	mu.Lock()
	require.Equal(t, askLimit, asks)
	mu.Unlock()
	require.NoError(t, w.Close())
	w, got := recoverState(t, o)
	require.Equal(t, mine-1, got[1].last())
	require.NoError(t, w.Close())
}

// TestHardLimit: Full at the limit; hard states go on; the log frees itself by copying the remainder that
// pins it, with a rotation of its own since no entries come that would bring one.
func TestHardLimit(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	o.SegmentBytes = 64 << 10
	o.SoftLimitBytes = 4 * o.SegmentBytes
	o.HardLimitBytes = 4 * o.SegmentBytes
	w, err := Open(o, nil)
	require.NoError(t, err)
	commit(w, func(b *Batch) { b.Entry(1, 0, entry(1, 1, "the pin")) })
	next := uint64(1)
	for !w.Full() {
		next = grow(w, next, 1, 1000)
		settle(t, w)
	}
	commit(w, func(b *Batch) { b.State(0, HardState{Term: 2}) })
	commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
	waitFor(t, "the log to free itself", func() bool { return !w.Full() })
	// Its own rotation has brought room a moment before the segments that it makes superfluous are given up.
	var s Stats
	waitFor(t, "the old segments to go", func() bool { w.Stats(&s); return s.LiveBytes <= o.HardLimitBytes })
	require.NotZero(t, s.CarriedGroups)
	require.NoError(t, w.Close())
	w, got := recoverState(t, o)
	require.Equal(t, "the pin", string(got[1].entries[0].Data))
	require.NoError(t, w.Close())
}

// TestStaleUnitsAreDropped: what maintenance read is used only as far as it is still the group's log.
func TestStaleUnitsAreDropped(t *testing.T) {
	f := func(name string, wantCarry bool, change func(*WAL)) {
		t.Helper()
		mem := walfs.NewMem()
		o := testOptions(mem, 1)
		w, err := Open(o, nil)
		require.NoError(t, err)
		for i := range uint64(4) {
			commit(w, func(b *Batch) { b.Entry(0, 1, entry(i+1, 1, "old")) })
		}
		u, err := w.readUnit(0)
		require.NoError(t, err)
		change(w)
		want := w.tab.groups[0].last()
		w.setUnits([]*unit{u})
		w.q.ask(func(q *queue) { q.rotate = true })
		waitFor(t, "rotation", func() bool { return w.activeID.Load() == 2 })
		var s Stats
		w.Stats(&s)
		require.Equal(t, wantCarry, s.CarriedGroups == 1, name)
		require.NoError(t, w.Close())
		w, got := recoverState(t, o)
		require.Equal(t, want, got[0].last(), name)
		for _, e := range got[0].entries {
			require.Equal(t, e.Term == 2, string(e.Data) == "new", name)
		}
		require.NoError(t, w.Close())
	}
	f("unchanged", true, func(*WAL) {})
	f("appended to", true, func(w *WAL) { commit(w, func(b *Batch) { b.Entry(0, 1, entry(5, 2, "new")) }) })
	f("appended to much", false, func(w *WAL) {
		for i := range uint64(8) {
			commit(w, func(b *Batch) { b.Entry(0, 1, entry(5+i, 1, string(make([]byte, 700)))) })
		}
	})
	f("truncated in part", true, func(w *WAL) { commit(w, func(b *Batch) { b.Snapshot(0, 2, 1, nil) }) })
	f("truncated in whole", false, func(w *WAL) { commit(w, func(b *Batch) { b.Snapshot(0, 4, 1, nil) }) })
	f("truncated and appended", false, func(w *WAL) {
		commit(w, func(b *Batch) { b.Snapshot(0, 9, 2, nil) })
		commit(w, func(b *Batch) { b.Entry(0, 9, entry(10, 2, "new")) })
	})
	f("overwritten", false, func(w *WAL) { commit(w, func(b *Batch) { b.Entry(0, 1, entry(3, 2, "new")) }) })
	f("overwritten to the same length", false, func(w *WAL) {
		commit(w, func(b *Batch) { b.Entry(0, 1, entry(3, 2, "new")); b.Entry(0, 1, entry(4, 2, "new")) })
	})
}

// TestReplayIsTheSameUnderAllOptions writes one history under many options, and reads the same back: how
// the log is laid out must not show (after Pebble's metamorphic tests).
func TestReplayIsTheSameUnderAllOptions(t *testing.T) {
	const groups = 3
	for seed := range uint64(4) {
		var batches [][]action
		g := newGenerator(seed, make(state, groups), groups-1)
		g.big = true
		for range 400 {
			batches = append(batches, g.batch())
		}
		want := g.s
		for _, segment := range []int64{1, 2, 40} {
			for _, variant := range []func(*Options){
				func(*Options) {},
				func(o *Options) { o.FreeSegments = -1; o.IdleMark = -1 },
				func(o *Options) { o.PadBatches = true; o.SoftLimitBytes = 2 * o.SegmentBytes },
				func(o *Options) { o.SoftLimitBytes = 1; o.FreeSegments = 1 },
			} {
				rng := rand.New(rand.NewPCG(seed, uint64(segment)))
				mem := walfs.NewMem()
				o := testOptions(mem, groups)
				o.SegmentBytes *= segment
				variant(&o)
				w, err := Open(o, nil)
				require.NoError(t, err)
				for i := 0; i < len(batches); {
					// Some as they are, some joined, some apart, and now and then a restart.
					n := min(1+rng.IntN(4), len(batches)-i)
					var joined []action
					for _, b := range batches[i : i+n] {
						joined = append(joined, b...)
					}
					i += n
					if rng.IntN(3) == 0 {
						for _, a := range joined {
							commit(w, func(b *Batch) { fill(b, []action{a}) })
						}
					} else {
						commit(w, func(b *Batch) { fill(b, joined) })
					}
					if rng.IntN(60) == 0 {
						require.NoError(t, w.Close())
						w, _ = recoverState(t, o)
					}
				}
				require.NoError(t, w.Close())
				w, got := recoverState(t, o)
				require.Empty(t, want.diff(got), "seed %d, segments of %d", seed, o.SegmentBytes)
				require.NoError(t, w.Close())
			}
		}
	}
}
