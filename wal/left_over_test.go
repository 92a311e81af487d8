package wal

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// leftOverLog is a log that is stepped, with a clock that stands, and counts what is done.
type leftOverLog struct {
	t    *testing.T
	w    *WAL
	o    Options
	sw   switchable
	mem  *walfs.Mem
	now  time.Time
	next uint64
	sent int
	done []int // batches, in the order in which they were reported
}

func newLeftOverLog(t *testing.T) *leftOverLog {
	l := &leftOverLog{t: t, mem: walfs.NewMem(), now: time.Unix(1000, 0)}
	l.o = testOptions(walfs.NewFaulty(l.mem, l.sw.inject), 1)
	l.o.Manual, l.o.SegmentBytes, l.o.Now = true, 256<<10, func() time.Time { return l.now }
	var err error
	l.w, err = Open(l.o, nil)
	require.NoError(t, err)
	for l.w.Step() {
	}
	return l
}

// submit submits batches of two entries each, 600 bytes and a little.
func (l *leftOverLog) submit(batches int) {
	l.submitEach(batches, func(*Batch) {})
}

func (l *leftOverLog) submitEach(batches int, each func(*Batch)) {
	for range batches {
		n := l.sent
		l.sent++
		b := NewBatch(func(*Batch) { l.done = append(l.done, n) })
		for range 2 {
			l.next++
			b.Entry(0, l.next-1, entry(l.next, 1, strings.Repeat("x", 300)))
		}
		each(b)
		l.w.Submit(b)
	}
}

func (l *leftOverLog) requireDone(n int) {
	l.t.Helper()
	require.Len(l.t, l.done, n)
	for i, got := range l.done {
		require.Equal(l.t, i, got)
	}
}

// requireFound demands that the next life of the log finds all that was submitted.
func (l *leftOverLog) requireFound() {
	l.t.Helper()
	w, got := recoverState(l.t, testOptions(l.mem, 1))
	require.Equal(l.t, l.next, got[0].last())
	require.NoError(l.t, w.Close())
}

// TestASyncEndsWithABlock: of 9 batches, 5.9 KB, a sync takes the 6 that fill a block but for some bytes, and half of the next. What
// is left is first in the next sync, with what came meanwhile, and everything is there afterwards.
func TestASyncEndsWithABlock(t *testing.T) {
	l := newLeftOverLog(t)
	l.submit(9)
	require.True(t, l.w.Step())
	l.requireDone(6)
	require.Zero(t, l.w.act.enc.start%blockBytes)
	l.submit(7)
	require.True(t, l.w.Step())
	l.requireDone(12) // three that were left, three that came
	require.Zero(t, l.w.act.enc.start%blockBytes)
	require.True(t, l.w.Step(), "what is left is due without another submit")
	l.requireDone(16)
	require.NoError(t, l.w.Close())
	l.requireFound()
}

// TestWholeBatchesAreNotLeftOver: what other nodes wait for goes with the sync that takes it, and so does what is before it.
func TestWholeBatchesAreNotLeftOver(t *testing.T) {
	l := newLeftOverLog(t)
	l.submitEach(9, (*Batch).Whole)
	l.w.Step()
	l.requireDone(9)
	require.NoError(t, l.w.Close())

	l = newLeftOverLog(t)
	l.submit(8)
	l.submitEach(1, (*Batch).Whole)
	l.w.Step()
	l.requireDone(9)
	require.NoError(t, l.w.Close())

	l = newLeftOverLog(t)
	l.submitEach(1, (*Batch).Whole)
	l.submit(8)
	l.w.Step()
	l.requireDone(6)
	l.submitEach(1, (*Batch).Whole) // behind what is left
	l.w.Step()
	l.requireDone(10)
	require.NoError(t, l.w.Close())
}

// TestABatchAloneTakesOneSync: however long it is and wherever it ends, since a sync that completes nothing helps nobody.
func TestABatchAloneTakesOneSync(t *testing.T) {
	l := newLeftOverLog(t)
	for i := range 200 {
		n := l.sent
		l.sent++
		b := NewBatch(func(*Batch) { l.done = append(l.done, n) })
		for range 1 + i%37 {
			l.next++
			b.Entry(0, l.next-1, entry(l.next, 1, strings.Repeat("x", 245)))
		}
		l.w.Submit(b)
		syncs, rotations := l.w.count.syncs.Load(), l.w.count.rotations.Load()
		for l.w.Step() {
		}
		l.requireDone(l.sent)
		more := l.w.count.rotations.Load() - rotations // a segment that ends within it is synced, too
		require.LessOrEqual(t, l.w.count.syncs.Load()-syncs, 1+more)
	}
	require.Zero(t, l.w.count.leftOver.Load())
	require.NoError(t, l.w.Close())
}

// TestALeftOverIsOfTheLog: it is served by Close, and is as old as it is.
func TestALeftOverIsOfTheLog(t *testing.T) {
	l := newLeftOverLog(t)
	l.submit(9)
	l.w.Step()
	l.requireDone(6)
	l.now = l.now.Add(time.Second)
	require.Equal(t, time.Second, l.w.Stalled())
	l.submit(7) // one second younger
	l.w.Step()
	require.Less(t, len(l.done), 16)
	require.GreaterOrEqual(t, len(l.done), 9, "left over twice")
	l.now = l.now.Add(2 * time.Second)
	require.Equal(t, 2*time.Second, l.w.Stalled())
	require.NoError(t, l.w.Close())
	l.requireDone(16)
	require.Zero(t, l.w.Stalled())
	l.requireFound()
}

// TestALeftOverIsNotDoneBySomebodyElsesSync: half of a batch is durable, its rest fails. It is not reported done, and what was
// is found.
func TestALeftOverIsNotDoneBySomebodyElsesSync(t *testing.T) {
	l := newLeftOverLog(t)
	failed := errors.New("input/output error")
	fatal := 0
	l.w.o.Fatal = func(err error) {
		require.ErrorIs(t, err, failed)
		fatal++
	}
	l.submit(9)
	l.w.Step()
	l.requireDone(6)
	l.sw.set(func(c walfs.Call) walfs.Fault { return errOn(c, walfs.OpSync, failed, 0) })
	l.submit(3)
	l.w.Step()
	l.requireDone(6)
	require.False(t, l.w.Step())
	require.Equal(t, 1, fatal)
	require.Error(t, l.w.Close())
	l.requireDone(6)
	w, got := recoverState(t, testOptions(l.mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{}), 1))
	require.GreaterOrEqual(t, got[0].last(), uint64(12))
	require.NoError(t, w.Close())
}
