package shard

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fastpaca/wal"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// captureAt is a complete capture of an empty shard 0 at an index.
func captureAt(index uint64) *Captured {
	m := NewMachine(0)
	m.BeginSnapshot(index, 1)
	return m.CaptureSome(1)
}

func snapshotterOn(fs wal.FS) *snapshotter {
	o := testOptions(fs)
	o.setDefaults()
	n := &Node{opt: o}
	return newSnapshotter(n)
}

// TestOldSnapshotOutlivesAnUnsyncedName: kill -9 between the rename of a snapshot and the sync of the directory, a
// start, and then power loss. The start must not give up the older file while the newer one's name can be lost.
func TestOldSnapshotOutlivesAnUnsyncedName(t *testing.T) {
	for seed := range uint64(40) {
		mem := walfs.NewMem()
		s := snapshotterOn(mem)
		dir := snapDir(s.node.opt.Dir)
		require.NoError(t, mem.MkdirAll(dir))
		old, _, _, err := s.write(0, captureAt(5))
		require.NoError(t, err)
		next, _, _, err := snapshotterOn(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
			if c.Op == walfs.OpSyncDir {
				return walfs.Fault{Err: syscall.EMFILE} // stands for the kill: the sync never happened
			}
			return walfs.Fault{}
		})).write(0, captureAt(9))
		require.Error(t, err)
		require.Empty(t, next)

		groups, err := s.node.loadSnapshots()
		require.NoError(t, err)
		require.Equal(t, uint64(9), groups[0].snapIndex)
		names, err := mem.Crash(rand.New(rand.NewPCG(seed, 0)), walfs.CrashOptions{Keep: 50}).List(dir)
		require.NoError(t, err)
		found := false
		for _, name := range names {
			found = found || name == old || name == snapName(0, 9)
		}
		require.True(t, found, "seed %d: no snapshot is left, only %v", seed, names)
	}
}

// TestSnapshotIsTriedAgainAtTheSameIndex: out of descriptors between the rename and the sync of the directory. On a
// full log the index cannot move, so that the second attempt must not trip over the first one's file.
func TestSnapshotIsTriedAgainAtTheSameIndex(t *testing.T) {
	var fail atomic.Bool
	mem := walfs.NewMem()
	s := snapshotterOn(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpSyncDir && fail.Load() {
			return walfs.Fault{Err: syscall.EMFILE}
		}
		return walfs.Fault{}
	}))
	s.node.opt.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	require.NoError(t, mem.MkdirAll(snapDir(s.node.opt.Dir)))
	fail.Store(true)
	_, _, _, err := s.write(0, captureAt(5))
	require.ErrorIs(t, err, syscall.EMFILE)
	fail.Store(false)
	name, _, _, err := s.write(0, captureAt(5))
	require.NoError(t, err)
	names, err := mem.Crash(rand.New(rand.NewPCG(1, 0)), walfs.CrashOptions{}).List(snapDir(s.node.opt.Dir))
	require.NoError(t, err)
	require.Equal(t, []string{name}, names)
}

// TestFailedSyncOfASnapshotIsFatal: after a failed sync the next one may succeed and mean nothing (promise 7), and the
// log is cut on the word of the sync of the directory.
func TestFailedSyncOfASnapshotIsFatal(t *testing.T) {
	eio := errors.New("input/output error")
	for _, op := range []walfs.Op{walfs.OpSync, walfs.OpSyncDir} {
		mem := walfs.NewMem()
		s := snapshotterOn(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
			if c.Op == op {
				return walfs.Fault{Err: eio}
			}
			return walfs.Fault{}
		}))
		var heard []error
		s.node.opt.Fatal = func(err error) { heard = append(heard, err) }
		require.NoError(t, mem.MkdirAll(snapDir(s.node.opt.Dir)))
		_, _, _, err := s.write(0, captureAt(5))
		require.ErrorIs(t, err, eio)
		require.Len(t, heard, 1, op.String())
		require.ErrorIs(t, heard[0], eio)
	}
}

// TestNoElectionsWithoutADisk: on a disk that is full at the start nothing can be written, not even a vote. However
// long that lasts, it must not pile up votes.
func TestNoElectionsWithoutADisk(t *testing.T) {
	mem := walfs.NewMem()
	n := openNode(t, testOptions(mem))
	require.NoError(t, n.Close())
	names, err := mem.List(walDir("/data"))
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ".spare") {
			require.NoError(t, mem.Remove(filepath.Join(walDir("/data"), name)))
		}
	}
	o := testOptions(walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpCreate {
			return walfs.Fault{Err: syscall.ENOSPC}
		}
		return walfs.Fault{}
	}))
	o.Loops = 1
	n, err = Open(o)
	require.NoError(t, err)
	terms := make(chan [2]uint64)
	l := n.loops[0]
	l.box.do(func() {
		g := n.groups[0]
		before := g.raft.Term()
		for range 50 * electionTicks {
			l.tick()
			l.drive()
			l.submit()
		}
		terms <- [2]uint64{before, g.raft.Term()}
	})
	got := <-terms
	require.LessOrEqual(t, got[1]-got[0], uint64(1), "elections while no vote can be written")
	n.inflight.Store(0)
	require.Error(t, n.Close()) // wal.ErrNoSpace
}

// TestBugInAnInlinePassIsFatal: the HTTP server answers a panic of a handler with a 500 and goes on. A request that
// runs the loop's pass by itself must not take a half-done pass, and the token, with it.
func TestBugInAnInlinePassIsFatal(t *testing.T) {
	o := testOptions(walfs.NewMem())
	var bug atomic.Bool
	o.NowMs = func() int64 {
		if bug.Load() {
			panic("a bug")
		}
		return 1
	}
	fatal := make(chan error, 1)
	o.Fatal = func(err error) { fatal <- err }
	n := openNode(t, o)
	l := newLoop(n) // without a goroutine of its own, which would have the bug in its place if it came first
	bug.Store(true)
	r := AcquireRequest()
	r.Cmd = EncodePut(r.Cmd, &Put{ID: []byte("x")})
	r.group = n.groups[Of([]byte("x"))]
	_, first := l.box.request(r)
	require.True(t, first)
	func() {
		defer func() { require.NotNil(t, recover()) }() // as httpd does
		l.wake(true)
	}()
	require.ErrorContains(t, <-fatal, "a bug")
	require.False(t, l.token.TryLock(), "nobody goes on with a pass done by half")
	bug.Store(false)
	require.NoError(t, n.Close())
}

// TestLargestCommand: what the node takes, its log can hold, whatever the sizes are set to; what can never be taken
// is too large, and not an overload that the client would retry for ever.
func TestLargestCommand(t *testing.T) {
	o := testOptions(walfs.NewMem())
	o.MaxCommandBytes = 3 << 20
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))
	for _, size := range []int{2 << 20, 2<<20 - 1, 2<<20 - 30, 2<<20 - 60, 2<<20 - 300, 3 << 20, 4 << 20} {
		for range 3 { // one of them meets a segment that it does not fit
			r := AcquireRequest()
			r.Cmd = encodeText(r.Cmd, "x", "")
			r.Cmd = encodeText(r.Cmd[:0], "x", strings.Repeat("a", size-len(r.Cmd)))
			n.Do(Of([]byte("x")), r)
			code := r.Result.Code
			if size <= 2<<20-300 {
				require.Equal(t, CodeOK, code, "%d bytes", size)
			} else {
				require.Contains(t, []Code{CodeOK, CodeTooLarge}, code, "%d bytes", size)
			}
			ReleaseRequest(r)
		}
	}
	require.Zero(t, n.inflight.Load())
	require.NoError(t, n.Close())
}

// TestProposalsOfALostTerm: an entry of a later term, wherever it stands, says that everything proposed in an
// earlier one and not seen yet is lost. Without that, a proposal made after being elected again would queue behind
// them, be answered "nothing was written" although it was, and hold its bytes of the budget.
func TestProposalsOfALostTerm(t *testing.T) {
	var p pending
	var lost []uint64
	note := func(x proposal) { lost = append(lost, x.index) }
	for i := range uint64(5) {
		p.push(proposal{index: 100 + i, term: 1})
	}
	_, ok := p.take(100, 1, note)
	require.True(t, ok)
	_, ok = p.take(101, 2, note) // another leader's no-op
	require.False(t, ok)
	require.Equal(t, []uint64{101, 102, 103, 104}, lost)
	require.Zero(t, p.size)
	p.push(proposal{index: 103, term: 3})
	_, ok = p.take(102, 3, note) // our own
	require.False(t, ok)
	_, ok = p.take(103, 3, note)
	require.True(t, ok)
	require.Len(t, lost, 4)
}

// TestSnapshotAheadOfTheLog: a snapshot may be newer than everything in the log, in a cluster after a crash (a quorum
// of others had the entries), here because the two were copied at different times. The log goes on behind it.
func TestSnapshotAheadOfTheLog(t *testing.T) {
	mem := walfs.NewMem()
	n := openNode(t, testOptions(mem))
	require.Equal(t, CodeOK, put(n, "x"))
	require.NoError(t, n.Close())
	early := mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{Keep: 100})

	n = openNode(t, testOptions(mem))
	for i := range 200 {
		_, code := appendText(n, "x", strings.Repeat("s", 200+i))
		require.Equal(t, CodeOK, code)
	}
	var st Stats
	require.Eventually(t, func() bool { n.Stats(&st); return st.Snapshots > 0 }, 40*time.Second, time.Millisecond)
	require.NoError(t, n.Close())
	names, err := mem.List(snapDir("/data"))
	require.NoError(t, err)
	for _, name := range names {
		copyFile(t, early, mem, filepath.Join(snapDir("/data"), name))
	}

	n = openNode(t, testOptions(early))
	have := texts(t, n, "x")
	require.NotEmpty(t, have)
	_, code := appendText(n, "x", "more")
	require.Equal(t, CodeOK, code)
	require.NoError(t, n.Close())
	n = openNode(t, testOptions(early))
	require.Equal(t, append(have, "more"), texts(t, n, "x"))
	require.NoError(t, n.Close())
}

func copyFile(t *testing.T, to, from wal.FS, name string) {
	t.Helper()
	f, err := from.Open(name)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	w, err := to.Create(name)
	require.NoError(t, err)
	_, err = w.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	require.NoError(t, to.SyncDir(filepath.Dir(name)))
}

// TestStoppedGroupTakesNothing: a group that stopped while it led (raft.ErrDiverged) applies nothing any more. A request that
// finds its way to it must not wait out its time, nor keep its bytes of the node's budget.
func TestStoppedGroupTakesNothing(t *testing.T) {
	n := openNode(t, testOptions(walfs.NewMem()))
	require.Equal(t, CodeOK, put(n, "x"))
	g := n.groups[Of([]byte("x"))]
	require.NoError(t, g.loop.call(func() { g.loop.diverged(g, 2, errors.New("as a test")) }))
	_, code := appendText(n, "x", "lost")
	require.Equal(t, CodeUnavailable, code)
	require.Zero(t, n.inflight.Load())
	require.NoError(t, n.Close())
}

// TestForgetThatFailsStartsNothing: a diverged group stays stopped when the disk has no room for Forget's mark, and begins anew
// when it has.
func TestForgetThatFailsStartsNothing(t *testing.T) {
	var full atomic.Bool
	o := testOptions(walfs.NewFaulty(walfs.NewMem(), func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpCreate && full.Load() && strings.HasSuffix(c.Path, leftSuffix) {
			return walfs.Fault{Err: syscall.ENOSPC}
		}
		return walfs.Fault{}
	}))
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))
	id := Of([]byte("x"))
	g := n.groups[id]
	require.NoError(t, g.loop.call(func() {
		g.raft.StepDown()
		g.loop.diverged(g, 2, errors.New("as a test"))
	}))
	full.Store(true)
	require.ErrorIs(t, n.Forget(id), syscall.ENOSPC)
	var st MemberStatus
	n.Member(id, &st)
	require.True(t, st.Stopped)
	full.Store(false)
	require.NoError(t, n.Forget(id))
	n.Member(id, &st)
	require.False(t, st.Stopped)
	require.Zero(t, st.Last)
	require.NoError(t, n.Close())
}
