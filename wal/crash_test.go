package wal

import (
	"math/rand/v2"
	"slices"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// crashCase is one way for the machine to lose power.
type crashCase struct {
	name  string
	crash walfs.CrashOptions
	tune  func(*Options)
}

func crashCases() []crashCase {
	return []crashCase{
		{"all unsynced lost", walfs.CrashOptions{}, func(o *Options) {}},
		{"process killed", walfs.CrashOptions{Keep: 100}, func(o *Options) { o.IdleMark = -1 }},
		{"half lost, torn", walfs.CrashOptions{Keep: 50, Tear: 60}, func(o *Options) { o.IdleMark = -1 }},
		{"half lost, torn, written in blocks", walfs.CrashOptions{Keep: 50, Tear: 60}, func(o *Options) { o.FS, o.IdleMark = walfs.InBlocks(o.FS), -1 }},
		{"whole blocks torn, padded, written in blocks", walfs.CrashOptions{Keep: 40, Tear: 70, WholeBlocks: true}, func(o *Options) { o.FS, o.PadBatches = walfs.InBlocks(o.FS), true }},
		{"torn, no recycling", walfs.CrashOptions{Keep: 20, Tear: 90}, func(o *Options) { o.FreeSegments = -1 }},
		{"whole blocks torn, padded", walfs.CrashOptions{Keep: 40, Tear: 70, WholeBlocks: true}, func(o *Options) { o.PadBatches = true }},
	}
}

const (
	crashGroups  = 3
	crashBatches = 300
)

func crashOptions(fs FS) Options {
	o := testOptions(fs, crashGroups)
	o.SoftLimitBytes = 3 * o.SegmentBytes
	o.HardLimitBytes = 1 << 30
	return o
}

// TestCrashAtEveryFileOperation crashes a workload with rotation, recycling, snapshots, overwrites and
// copies at every call that changes the disk, recovers, checks that what was acknowledged is there, that
// all of it is a prefix of what was submitted, goes on writing, and recovers again.
//
// A log that is stepped crashes at every call, one with goroutines at some.
func TestCrashAtEveryFileOperation(t *testing.T) {
	for i, c := range slices.Concat(crashCases(), crashCases()) {
		manual := i < len(crashCases())
		name := c.name
		if manual {
			name += ", stepped"
			tune := c.tune
			c.tune = func(o *Options) { tune(o); o.Manual = true }
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stride := 1
			switch {
			case testing.Short() || raceEnabled:
				stride = 13
			case !manual:
				stride = 5
			}
			var total crashTotals
			for at := 0; ; at += stride {
				seed := uint64(i*1_000_000 + at)
				if !crashOnce(t, c, at, seed, &total) {
					break
				}
			}
			t.Logf("%+v", total)
			require.NotZero(t, total.crashes)
			require.NotZero(t, total.rotations)
			require.NotZero(t, total.carried, "the workload copies nothing forward")
			require.NotZero(t, total.reclaimed, "the workload gives no segment up")
			require.NotZero(t, total.leftOver, "no sync of the workload leaves anything to the next")
			require.NotZero(t, total.forgotten, "the workload forgets no group")
		})
	}
}

// crashTotals counts what happened in all first lives, to know that the test tests something.
type crashTotals struct {
	crashes                       int
	forgotten                     int // heard by the second lives
	rotations, carried, reclaimed uint64
	leftOver                      uint64
}

// crashOnce runs a life that crashes at call at, and two more. It returns false if the first life ended
// before that.
func crashOnce(t *testing.T, c crashCase, at int, seed uint64, total *crashTotals) bool {
	rng := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if t.Failed() {
			t.Logf("case %q, crash at call %d, seed %d", c.name, at, seed)
		}
	}()
	mem := walfs.NewMem()
	base := make(state, crashGroups)

	// The first life.
	s, crashed, stats := crashLife(t, c, mem, base, at, seed, crashBatches)
	total.rotations += stats.Rotations
	total.carried += stats.CarriedGroups
	total.leftOver += stats.LeftOver
	total.reclaimed += stats.Recycled + stats.Removed
	if !crashed {
		return false
	}
	total.crashes++
	// Power fails, or only the process dies: then all it wrote is still to be seen, and still not durable.
	lose := func() {
		if rng.IntN(3) > 0 {
			mem = mem.Crash(rng, c.crash)
		}
	}
	lose()

	// Often the second life does not get through its recovery.
	for range rng.IntN(3) {
		cr := &crasher{at: rng.IntN(12), rng: rng}
		o := crashOptions(walfs.NewFaulty(mem, cr.inject))
		c.tune(&o)
		newSession(&o)
		if w, err := Open(o, newCollector(crashGroups)); err == nil {
			_ = w.Close() // it may have died since
		} else {
			require.ErrorIs(t, err, errCrash)
		}
		lose()
	}

	// The next recovers, goes on writing, and crashes somewhere.
	o := crashOptions(mem)
	c.tune(&o)
	w, found := recoverCollector(t, o)
	got := found.state
	total.forgotten += found.forgotten
	s.must(t, base, got)
	if rng.IntN(2) == 0 {
		require.NoError(t, w.Close())
	} else {
		left := mem.Crash(rng, c.crash) // by a machine that lost its power right after the start
		require.NoError(t, w.Close())
		mem = left
	}
	s2, _, _ := crashLife(t, c, mem, got, rng.IntN(150), seed+1, 40)
	lose()

	o = crashOptions(mem)
	c.tune(&o)
	w, got2 := recoverState(t, o)
	s2.must(t, got, got2)
	require.NoError(t, w.Close())
	return true
}

// crashLife opens a log whose state is base and writes batches until they are done or call at comes.
func crashLife(t *testing.T, c crashCase, mem *walfs.Mem, base state, at int, seed uint64, batches int) (*session, bool, Stats) {
	t.Helper()
	cr := &crasher{at: at, rng: rand.New(rand.NewPCG(seed, 2))}
	o := crashOptions(walfs.NewFaulty(mem, cr.inject))
	c.tune(&o)
	s := newSession(&o)
	col := newCollector(crashGroups)
	w, err := Open(o, col)
	if err != nil {
		require.ErrorIs(t, err, errCrash)
		return s, true, Stats{}
	}
	require.Empty(t, base.diff(col.state), "base")
	s.w = w
	g := newGenerator(seed, base, crashGroups-1)
	g.big = true
	var ok bool
	if o.Manual {
		ok = s.writeManually(g, batches, rand.New(rand.NewPCG(seed, 3)))
	} else {
		ok = s.write(g, batches)
	}
	var stats Stats
	w.Stats(&stats)
	err = w.Close()
	if ok && !cr.down.Load() {
		require.NoError(t, err)
		return s, false, stats
	}
	return s, true, stats
}
