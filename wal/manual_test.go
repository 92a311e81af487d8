package wal

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// files returns all files of a log, by name.
func files(t *testing.T, fs FS) map[string]string {
	t.Helper()
	names, err := fs.List(testDir)
	require.NoError(t, err)
	all := map[string]string{}
	for _, name := range names {
		all[name] = string(readAll(t, fs, testDir+"/"+name))
	}
	return all
}

// TestManualIsRepeatable: two runs from one seed leave the same bytes, also through crashes and recoveries; another
// seed does not. No goroutine is begun.
func TestManualIsRepeatable(t *testing.T) {
	lives := func(seed uint64) []map[string]string {
		mem := walfs.NewMem()
		rng := rand.New(rand.NewPCG(seed, 1))
		salts := rand.New(rand.NewPCG(seed, 2))
		var left []map[string]string
		for life := range 6 {
			cr := &crasher{at: 30 + rng.IntN(200), rng: rng}
			o := crashOptions(walfs.NewFaulty(mem, cr.inject))
			o.Manual, o.Rand = true, salts.Uint64
			s := newSession(&o)
			c := newCollector(crashGroups)
			w, err := Open(o, c)
			if err != nil {
				require.ErrorIs(t, err, errCrash)
			} else {
				s.w = w
				g := newGenerator(seed+uint64(life), c.state, crashGroups-1)
				require.False(t, s.writeManually(g, 1000, rng), "the crash did not come")
			}
			mem = mem.Crash(rng, walfs.CrashOptions{Keep: 40, Tear: 50})
			left = append(left, files(t, mem))
		}
		return left
	}
	before := runtime.NumGoroutine()
	for seed := range uint64(4) {
		one, two := lives(seed), lives(seed)
		require.Equal(t, len(one), len(two))
		for i := range one {
			require.True(t, equalFiles(one[i], two[i]), "seed %d, life %d", seed, i)
			require.False(t, i > 0 && equalFiles(one[i], one[i-1]), "life %d left nothing new", i)
		}
		require.False(t, equalFiles(one[0], lives(seed + 100)[0]))
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func equalFiles(a, b map[string]string) bool {
	for name := range b {
		if a[name] != b[name] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestStepDoesAllWork: what goroutines and timers do otherwise, in turn and by the clock handed in.
func TestStepDoesAllWork(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 2)
	now := time.Unix(100, 0)
	var asked []uint32
	var w *WAL
	next := uint64(1)
	o.Manual, o.IdleMark, o.RetryEvery = true, 25*time.Millisecond, time.Second
	o.SoftLimitBytes = 4 * o.SegmentBytes
	o.HardLimitBytes = 6 * o.SegmentBytes
	o.Now = func() time.Time { return now }
	o.RequestSnapshot = func(groups []uint32) { asked = append(asked, groups...) }
	w, err := Open(o, nil)
	require.NoError(t, err)
	stepAll := func() {
		for range 1000 {
			if !w.Step() {
				return
			}
		}
		t.Fatal("there is always something to do")
	}
	stepAll()
	require.Equal(t, 1, w.pool.len(), "the next segment")

	done := 0
	put := func() *Batch {
		b := NewBatch(func(*Batch) { done++ })
		b.Entry(0, next-1, entry(next, 1, string(make([]byte, 900))))
		next++
		w.Submit(b)
		return b
	}
	put()
	require.Zero(t, done, "nothing happens outside of Step")
	now = now.Add(time.Millisecond)
	require.Equal(t, time.Millisecond, w.Stalled())
	require.True(t, w.Step())
	require.Equal(t, 1, done)
	require.False(t, w.Step())

	records := w.count.records.Load()
	now = now.Add(24 * time.Millisecond)
	require.False(t, w.Step(), "the mark is not due")
	now = now.Add(time.Millisecond)
	require.True(t, w.Step())
	require.Equal(t, records+1, w.count.records.Load(), "the mark")

	put()
	require.True(t, w.Step())
	records = w.count.records.Load()
	for range 5 { // a busy log has no marks
		now = now.Add(20 * time.Millisecond)
		put()
		require.True(t, w.Step())
		require.False(t, w.Step())
	}
	require.Equal(t, records+5, w.count.records.Load(), "no mark")
	for range 2 {
		now = now.Add(25 * time.Millisecond)
		w.Step()
	}
	require.Equal(t, records+6, w.count.records.Load(), "the mark, once it is quiet")
	now = now.Add(time.Minute)
	require.False(t, w.Step(), "and one of them")

	for !w.Full() {
		put()
		stepAll()
	}
	require.Contains(t, asked, uint32(0))
	require.Equal(t, int(next-1), done)
	b := NewBatch(func(*Batch) { done++ })
	b.Snapshot(0, next-1, 1, nil)
	w.Submit(b)
	stepAll()
	for range 5 {
		now = now.Add(o.RetryEvery)
		stepAll()
	}
	require.False(t, w.Full(), "segments came free")

	// No space: a batch waits for a segment, in the middle; Step goes on when there is space.
	mem.SetCapacity(mem.Used())
	for i := 0; done == int(next) && i < 1000; i++ {
		put()
		stepAll()
	}
	require.Equal(t, int(next)-1, done, "the last is not done")
	put()
	for range 3 {
		now = now.Add(o.RetryEvery)
		stepAll()
	}
	require.Equal(t, int(next)-2, done)
	require.NotZero(t, w.Stalled())
	mem.SetCapacity(0)
	stepAll()
	require.Equal(t, int(next)-2, done, "the retry is not due")
	now = now.Add(o.RetryEvery)
	stepAll()
	require.Equal(t, int(next), done)

	// Callbacks may submit; Close takes what waits.
	chained := false
	first := NewBatch(func(*Batch) {
		second := NewBatch(func(*Batch) { chained = true })
		second.State(1, HardState{Term: 7})
		w.Submit(second)
	})
	first.State(1, HardState{Term: 6})
	w.Submit(first)
	w.Step()
	put()
	require.NoError(t, w.Close())
	require.True(t, chained)
	require.False(t, w.Step(), "closed")

	o.Manual = false
	w, got := recoverState(t, o)
	require.Equal(t, next-1, got[0].last())
	require.Equal(t, uint64(7), got[1].hs.Term)
	require.NoError(t, w.Close())
}

// TestManualCloseWithoutSpace: what found no room is not done, and Close says so.
func TestManualCloseWithoutSpace(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	o.Manual = true
	w, err := Open(o, nil)
	require.NoError(t, err)
	mem.SetCapacity(mem.Used())
	sent, done := 0, 0
	for ; sent < 100; sent++ {
		b := NewBatch(func(*Batch) { done++ })
		b.Entry(0, 0, entry(uint64(sent)+1, 1, string(make([]byte, 900))))
		w.Submit(b)
		if sent%2 == 0 {
			w.Step()
		}
	}
	require.ErrorIs(t, w.Close(), ErrNoSpace)
	require.Positive(t, done)
	require.Less(t, done, sent)
	mem.SetCapacity(0)
	w, got := recoverState(t, o)
	require.Equal(t, uint64(done), got[0].last())
	require.NoError(t, w.Close())
}

// TestStepIsNotReentrant, and a log that runs by itself is not to be stepped.
func TestStepIsNotReentrant(t *testing.T) {
	o := testOptions(walfs.NewMem(), 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	require.PanicsWithValue(t, "wal: Step of a log that runs by itself: set Options.Manual", func() { w.Step() })
	require.NoError(t, w.Close())
	for _, f := range []func(){func() { w.Step() }, func() { _ = w.Close() }} {
		o = testOptions(walfs.NewMem(), 1)
		o.Manual = true
		w, err = Open(o, nil)
		require.NoError(t, err)
		b := NewBatch(func(*Batch) { f() })
		b.State(0, HardState{Term: 1})
		w.Submit(b)
		require.Panics(t, func() { w.Step() })
	}
}
