package wal

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// switchable is an inject function that tests change while the log runs.
type switchable struct {
	f atomic.Pointer[func(walfs.Call) walfs.Fault]
}

func (s *switchable) set(f func(walfs.Call) walfs.Fault) { s.f.Store(&f) }

func (s *switchable) inject(c walfs.Call) walfs.Fault {
	if f := s.f.Load(); f != nil {
		return (*f)(c)
	}
	return walfs.Fault{}
}

// TestFailedWriteOrSyncIsFatalOnce: nothing of the batch is reported done, nothing is tried again, later
// batches are not done either, and a restart finds all that was promised before.
func TestFailedWriteOrSyncIsFatalOnce(t *testing.T) {
	eio := errors.New("input/output error")
	for name, fault := range map[string]func(walfs.Call) walfs.Fault{
		"sync":        func(c walfs.Call) walfs.Fault { return errOn(c, walfs.OpSync, eio, 0) },
		"write":       func(c walfs.Call) walfs.Fault { return errOn(c, walfs.OpWrite, eio, 0) },
		"short write": func(c walfs.Call) walfs.Fault { return errOn(c, walfs.OpWrite, eio, 13) },
		"no space":    func(c walfs.Call) walfs.Fault { return errOn(c, walfs.OpWrite, syscall.ENOSPC, 13) },
	} {
		for _, blocks := range []bool{false, true} {
			name, fs := name, func(fs FS) FS { return fs }
			if blocks {
				name, fs = name+", in blocks", walfs.InBlocks
			}
			t.Run(name, func(t *testing.T) { fatalOnce(t, name, fault, fs) })
		}
	}
}

func fatalOnce(t *testing.T, name string, fault func(walfs.Call) walfs.Fault, fs func(FS) FS) {
	mem := walfs.NewMem()
	var sw switchable
	o := testOptions(fs(walfs.NewFaulty(mem, sw.inject)), 1)
	var fatal atomic.Int32
	heard := make(chan error, 10)
	o.Fatal = func(err error) { fatal.Add(1); heard <- err }
	w, err := Open(o, nil)
	require.NoError(t, err)
	next := grow(w, 1, 3, 100)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })

	var faults, calls atomic.Int32
	sw.set(func(c walfs.Call) walfs.Fault {
		calls.Add(1)
		if faults.Load() > 0 {
			return walfs.Fault{}
		}
		f := fault(c)
		if f.Err != nil {
			faults.Add(1)
		}
		return f
	})
	var done atomic.Int32
	for i := range uint64(3) {
		b := NewBatch(func(*Batch) { done.Add(1) })
		b.Entry(0, 0, entry(next+i, 1, "lost"))
		w.Submit(b)
	}
	require.ErrorContains(t, <-heard, segmentPath(testDir, 1))
	require.Error(t, w.Close())
	require.Zero(t, done.Load(), "a batch was acknowledged after a failed %s", name)
	require.Equal(t, int32(1), fatal.Load())
	require.Equal(t, int32(1), faults.Load())

	w, got := recoverState(t, testOptions(mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{}), 1))
	require.Equal(t, next-1, got[0].last())
	require.NoError(t, w.Close())
}

func errOn(c walfs.Call, op walfs.Op, err error, short int) walfs.Fault {
	if c.Op == op {
		return walfs.Fault{Err: err, Short: short}
	}
	return walfs.Fault{}
}

// TestFaultsWhileRotating: each step of a rotation that fails is fatal, and the batch that needed it is not
// done.
func TestFaultsWhileRotating(t *testing.T) {
	for _, op := range []walfs.Op{walfs.OpRename, walfs.OpSyncDir} {
		mem := walfs.NewMem()
		var sw switchable
		o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
		heard := make(chan error, 1)
		o.Fatal = func(err error) { heard <- err }
		w, err := Open(o, nil)
		require.NoError(t, err)
		var done, sent atomic.Uint64
		waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
		sw.set(func(c walfs.Call) walfs.Fault { return errOn(c, op, errCrash, 0) })
		for i := range uint64(40) {
			b := NewBatch(func(b *Batch) { done.Store(b.Tag.(uint64)) })
			b.Tag = i + 1
			b.Entry(0, 0, entry(i+1, 1, strings.Repeat("r", 500)))
			w.Submit(b)
			sent.Add(1)
		}
		require.ErrorIs(t, <-heard, errCrash)
		require.Error(t, w.Close())
		require.Less(t, done.Load(), sent.Load())
		w, got := recoverState(t, testOptions(mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{}), 1))
		require.Equal(t, done.Load(), got[0].last())
		require.NoError(t, w.Close())
	}
}

// TestErrorsOfOpen: a disk that fails while the log opens gives an error, not a panic, and leaks nothing.
func TestErrorsOfOpen(t *testing.T) {
	for at := 0; ; at++ {
		mem, next := threeSegments(t)
		var fired atomic.Bool
		o := testOptions(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
			if c.N == at {
				fired.Store(true)
				return walfs.Fault{Err: errCrash}
			}
			return walfs.Fault{}
		}), 1)
		o.Fatal = func(error) {}
		w, err := Open(o, nil)
		if err == nil {
			_ = w.Close() // the fault may have come after Open
		} else {
			require.ErrorIs(t, err, errCrash)
			var rot *CorruptionError
			require.False(t, errors.As(err, &rot), "an error of the disk is not rot: %v", err)
		}
		w, got := recoverState(t, testOptions(mem, 1))
		require.Equal(t, next-1, got[0].last())
		require.NoError(t, w.Close())
		if !fired.Load() {
			require.Greater(t, at, 20)
			return
		}
	}
}

// settle waits until maintenance has seen to the next segment. The tests' disk is so fast that they would
// otherwise fill a whole one in the meantime.
func settle(t *testing.T, w *WAL) {
	waitFor(t, "maintenance", func() bool {
		var s Stats
		w.Stats(&s)
		return s.SegmentsFree > 0 || s.NoSpace
	})
}

// TestFullDisk: Full while there is still room for what is in flight, appends go on into the reserve,
// reads go on, and it clears by itself when there is space again.
func TestFullDisk(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	o.SegmentBytes = 64 << 10
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	mem.SetCapacity(mem.Used() + 1000)
	next := uint64(1)
	for !w.Full() {
		next = grow(w, next, 1, 1000)
		settle(t, w)
	}
	var s Stats
	w.Stats(&s)
	require.True(t, s.NoSpace)
	require.GreaterOrEqual(t, s.RoomBytes, o.SegmentBytes/2, "Full came too late for what may be in flight")

	// The reserve: half a segment of batches under way, and a hard state.
	next = grow(w, next, int(o.SegmentBytes/2/1100), 1000)
	commit(w, func(b *Batch) { b.State(0, HardState{Term: 9}) })
	entries, err := w.Read(0, 1, next, 1<<20, nil)
	require.NoError(t, err)
	require.Len(t, entries, int(next-1))

	// Beyond the reserve a batch waits; it is neither lost nor acknowledged.
	stop := make(chan struct{})
	var late atomic.Int32
	n := 0
	for range 70 {
		b := NewBatch(func(*Batch) { late.Add(1) })
		b.Entry(0, 0, entry(next, 1, strings.Repeat("w", 1000)))
		next++
		n++
		w.Submit(b)
	}
	close(stop)
	waitFor(t, "a stall", func() bool { return w.Stalled() > 0 && w.pool.urgent() })
	require.Less(t, int(late.Load()), n)
	require.True(t, w.Full())

	mem.SetCapacity(0)
	waitFor(t, "space to be noticed", func() bool { return !w.Full() && int(late.Load()) == n })
	waitFor(t, "the stall to end", func() bool { return w.Stalled() == 0 })
	require.NoError(t, w.Close())
	w, got := recoverState(t, o)
	require.Equal(t, next-1, got[0].last())
	require.NoError(t, w.Close())
}

// TestFullDiskClearsBySnapshots: the log asks for snapshots though it is under its soft limit, and lives
// on in the segments that they free, on a disk that stays full.
func TestFullDiskClearsBySnapshots(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	o.SegmentBytes = 64 << 10
	var mu sync.Mutex
	asked := 0
	o.RequestSnapshot = func(groups []uint32) { mu.Lock(); asked++; mu.Unlock() }
	w, err := Open(o, nil)
	require.NoError(t, err)
	next := uint64(1)
	for w.activeID.Load() < 3 {
		next = grow(w, next, 1, 1000)
	}
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	mem.SetCapacity(mem.Used())
	for !w.Full() {
		next = grow(w, next, 1, 1000)
		settle(t, w)
	}
	waitFor(t, "a request", func() bool { mu.Lock(); defer mu.Unlock(); return asked > 0 })
	commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
	waitFor(t, "room", func() bool { return !w.Full() })
	for range 5 {
		for range 40 {
			next = grow(w, next, 1, 1000)
			settle(t, w)
		}
		commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
		waitFor(t, "room", func() bool { return !w.Full() })
	}
	require.NoError(t, w.Close())
}

// TestStartOnAFullDisk: a node whose disk is full starts with a smaller segment, so that it can vote and
// serve; if not even that fits it starts without one, and takes up writing when there is space.
func TestStartOnAFullDisk(t *testing.T) {
	for _, held := range []int{10, 54} { // entries; the rest of the last segment is given back to the disk
		mem := walfs.NewMem()
		o := testOptions(mem, 1)
		o.SegmentBytes = 64 << 10
		o.FreeSegments = -1
		w, err := Open(o, nil)
		require.NoError(t, err)
		next := grow(w, 1, held, 1000)
		require.NoError(t, w.Close())
		names, err := mem.List(testDir)
		require.NoError(t, err)
		for _, n := range names {
			if strings.HasSuffix(n, spareSuffix) {
				require.NoError(t, mem.Remove(testDir+"/"+n))
			}
		}
		mem.SetCapacity(mem.Used())
		w, got := recoverState(t, o)
		require.Equal(t, next-1, got[0].last())
		waitFor(t, "full", w.Full)
		done := make(chan struct{})
		b := NewBatch(func(*Batch) { close(done) })
		b.State(0, HardState{Term: 5, Vote: 1})
		w.Submit(b)
		if held == 10 {
			<-done
		} else {
			waitFor(t, "a stall", func() bool { return w.Stalled() > 0 })
			mem.SetCapacity(0)
			<-done
		}
		entries, err := w.Read(0, 1, next, 1<<20, nil)
		require.NoError(t, err)
		require.Len(t, entries, int(next-1))
		mem.SetCapacity(0)
		waitFor(t, "room", func() bool { return !w.Full() })
		next = grow(w, next, 100, 1000)
		require.NoError(t, w.Close())
		w, got = recoverState(t, o)
		require.Equal(t, next-1, got[0].last())
		require.Equal(t, uint64(5), got[0].hs.Term)
		require.NoError(t, w.Close())
	}
}

// TestCloseWithoutSpace: what could not be written is told, and not acknowledged.
func TestCloseWithoutSpace(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	mem.SetCapacity(mem.Used())
	var done atomic.Int32
	next := uint64(1)
	for range 200 {
		b := NewBatch(func(*Batch) { done.Add(1) })
		b.Entry(0, 0, entry(next, 1, strings.Repeat("c", 500)))
		next++
		w.Submit(b)
	}
	require.ErrorIs(t, w.Close(), ErrNoSpace)
	require.Less(t, done.Load(), int32(200))
	mem.SetCapacity(0)
	w, got := recoverState(t, o)
	require.GreaterOrEqual(t, got[0].last(), uint64(done.Load()))
	require.NoError(t, w.Close())
}

// TestHungDisk: Submit does not block, Stalled tells the age of the oldest batch, by the given clock.
func TestHungDisk(t *testing.T) {
	mem := walfs.NewMem()
	var sw switchable
	var clock atomic.Int64
	o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
	o.Now = func() time.Time { return time.Unix(0, clock.Load()) }
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	require.Zero(t, w.Stalled())
	hang := make(chan struct{})
	hung := make(chan struct{}, 1)
	sw.set(func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpSync {
			select {
			case hung <- struct{}{}:
			default:
			}
			return walfs.Fault{Hang: hang}
		}
		return walfs.Fault{}
	})
	var done atomic.Int32
	submit := func(i uint64) {
		b := NewBatch(func(*Batch) { done.Add(1) })
		b.Entry(0, 0, entry(i, 1, "x"))
		w.Submit(b)
	}
	clock.Add(int64(time.Second))
	submit(1)
	<-hung
	clock.Add(int64(3 * time.Second))
	submit(2)
	clock.Add(int64(2 * time.Second))
	require.Equal(t, 5*time.Second, w.Stalled())
	require.Zero(t, done.Load())
	_, err = w.Read(0, 1, 2, 100, nil)
	require.ErrorIs(t, err, ErrUnavailable, "an entry that is not durable was read")
	close(hang)
	waitFor(t, "both done", func() bool { return done.Load() == 2 && w.Stalled() == 0 })
	require.NoError(t, w.Close())
}

// TestStraddlingBatch: a batch that fills one segment and goes on in the next is done only when both
// halves are durable; a batch before it that lies in the first alone does not wait for the second.
func TestStraddlingBatch(t *testing.T) {
	mem := walfs.NewMem()
	var sw switchable
	o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	hang := make(chan struct{})
	sw.set(func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpSyncDir {
			return walfs.Fault{Hang: hang} // the new segment's name
		}
		return walfs.Fault{}
	})
	var first, second atomic.Bool
	a := NewBatch(func(*Batch) { first.Store(true) })
	a.Entry(0, 0, entry(1, 1, "small"))
	b := NewBatch(func(*Batch) { second.Store(true) })
	for i := range uint64(30) {
		b.Entry(0, 0, entry(i+2, 1, strings.Repeat("s", 600)))
	}
	w.Submit(a)
	w.Submit(b)
	waitFor(t, "the first batch", first.Load)
	require.False(t, second.Load())
	rng := rand.New(rand.NewPCG(1, 1))
	crashed := mem.Crash(rng, walfs.CrashOptions{})
	close(hang)
	waitFor(t, "the second batch", second.Load)
	after := mem.Crash(rng, walfs.CrashOptions{})
	require.NoError(t, w.Close())
	w, got := recoverState(t, testOptions(crashed, 1))
	require.GreaterOrEqual(t, got[0].last(), uint64(1))
	require.NoError(t, w.Close())
	w, got = recoverState(t, testOptions(after, 1))
	require.Equal(t, uint64(31), got[0].last())
	require.NoError(t, w.Close())
}

// TestNoDescriptors: a process that runs out of file descriptors for a while goes on when it has some
// again. A change of a name whose sync had none is not done twice.
func TestNoDescriptors(t *testing.T) {
	for _, free := range []int{0, -1} {
		mem := walfs.NewMem()
		var sw switchable
		o := testOptions(walfs.NewFaulty(mem, sw.inject), 1)
		o.FreeSegments = free
		o.Fatal = func(err error) { t.Errorf("free %d: fatal: %v", free, err) }
		w, err := Open(o, nil)
		require.NoError(t, err)
		next := uint64(1)
		for w.activeID.Load() < 4 {
			next = grow(w, next, 1, 500)
		}
		settle(t, w)
		var refused atomic.Int32
		sw.set(func(c walfs.Call) walfs.Fault {
			switch {
			case c.Op == walfs.OpSyncDir || c.Op == walfs.OpOpen || c.Op == walfs.OpCreate:
				if refused.Add(1)%3 != 0 {
					return walfs.Fault{Err: syscall.EMFILE}
				}
			}
			return walfs.Fault{}
		})
		for range 4 { // rotations and reclaiming
			next = grow(w, next, 40, 500)
			commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
		}
		waitFor(t, "segments to go", func() bool {
			var s Stats
			w.Stats(&s)
			return s.SegmentsLive <= 2
		})
		next = grow(w, next, 40, 500)
		require.Greater(t, refused.Load(), int32(10))
		sw.set(func(walfs.Call) walfs.Fault { return walfs.Fault{} })
		require.NoError(t, w.Close())
		w, got := recoverState(t, testOptions(mem, 1))
		require.Equal(t, next-1, got[0].last())
		require.NoError(t, w.Close())
	}
}

// TestNothingIsDoneAfterABatchThatWasGivenUp: batches behind it may count on it. A small one that would
// still have fitted is given up with it, and so is everything submitted after that.
func TestNothingIsDoneAfterABatchThatWasGivenUp(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	settle(t, w)
	mem.SetCapacity(mem.Used())
	next := uint64(1)
	for { // until the writer waits for a segment that does not come
		b := NewBatch(func(*Batch) {})
		for range 3 {
			b.Entry(0, 0, entry(next, 1, strings.Repeat("g", 1000)))
			next++
		}
		w.Submit(b)
		time.Sleep(100 * time.Microsecond)
		if w.pool.urgent() {
			break
		}
	}
	var done atomic.Int32
	for range 3 {
		b := NewBatch(func(*Batch) { done.Add(1) })
		b.Entry(0, 0, entry(next, 1, "small"))
		next++
		w.Submit(b)
	}
	require.ErrorIs(t, w.Close(), ErrNoSpace)
	require.Zero(t, done.Load())
}

// TestCloseWaitsForTheNextSegment: Close writes everything that was submitted, also if the segment that it
// needs is still being made.
func TestCloseWaitsForTheNextSegment(t *testing.T) {
	o := testOptions(walfs.NewMem(), 1)
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
