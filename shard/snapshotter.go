package shard

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"fastpaca/raft"
)

// snapState is where a group stands in taking a snapshot. It belongs to the loop.
type snapState struct {
	wanted bool // the WAL asks: this shard's old entries pin its oldest segments
	busy   bool // queued, being captured or being written
	index  uint64
	term   uint64
	mark   int64 // logBytes when the capture began
	state  int64 // Machine.Bytes at the last snapshot
	next   int64 // Machine.Bytes at the one being taken

	covered uint64 // index up to which this life has told the WAL to forget
}

// captureStep is how many contexts one pass captures: a few tens of microseconds, so that a snapshot of a
// shard with many contexts does not hold up its appends.
const captureStep = 64

// maybeSnapshot queues the group when a snapshot is due: the log since the last one has outgrown both the
// configured least and the state that the last one wrote. A state that only grows is thus about twice as
// long at each snapshot as at the one before, so that all of them together cost at most twice the last
// one's bytes; a state that does not grow is written at most once per its own size of log.
func (g *group) maybeSnapshot() {
	bytes, written := g.bytes(), g.logBytes
	if old := g.stateBytes.Swap(bytes); old != bytes {
		g.loop.node.stats.stateBytes.Add(bytes - old)
	}
	if m := g.machine; m != nil {
		if now := m.Bytes(); g.memoryBytes.Load() != now {
			g.loop.node.stats.memoryBytes.Add(now - g.memoryBytes.Swap(now))
		}
		written += m.scratchBytes() // so that the parking file is never longer than the state
	}
	due := written >= max(g.loop.node.opt.SnapshotBytes, g.snap.state)
	if n := g.quiet(); n > 0 && written >= max(quietBytes, g.snap.state/(quietShare*n)) {
		due = true
	}
	if (due || g.snap.wanted) && !g.snap.busy && g.applied > g.snap.covered {
		g.snap.busy = true
		g.loop.node.snaps.queue.push(g)
	}
}

// A shard in which nothing happens any more is snapshotted when its log is worth quietBytes and a quietShare of the state, or
// less the longer it is quiet: a start then finds its contexts in the snapshot and builds none of them. At most quietShare
// times the bytes of the log are written for that if the next change comes soon after, and not more often than once per
// Options.ParkAfter.
const (
	quietBytes = 64 << 10
	quietShare = 8
)

// quiet says for how many times Options.ParkAfter nothing was applied. On the loop, once a tick.
func (g *group) quiet() int64 {
	after := int64(g.loop.node.opt.ParkAfter / tickInterval)
	if after == 0 || g.quietApplied != g.applied {
		g.quietApplied, g.quietSince = g.applied, g.loop.now
		return 0
	}
	return (g.loop.now - g.quietSince) / after
}

// snapshotter takes the node's snapshots, one at a time, so that they cost a bounded share of the disk. It goes by
// steps, so that a node without goroutines can take them, too; between two steps, a loop has the snapshot.
type snapshotter struct {
	node  *Node
	queue worklist[*group]   // a group is queued at most once (snapState.busy)
	old   worklist[snapFile] // received snapshots, whose predecessors can go
	background

	mu  sync.Mutex // for what follows, which loops change
	job *snapJob   // under way; nil: none
}

// snapFile names a snapshot file.
type snapFile struct {
	group uint32
	name  string
}

// snapJob is one snapshot on its way.
type snapJob struct {
	group    *group
	machine  *Machine // whose state it is
	stage    snapStage
	captured capture
	meta     []byte // the membership at the snapshot's index, encoded
	name     string
	size     int64
}

// snapStage says whose turn it is.
type snapStage uint8

const (
	snapCapturing snapStage = iota // the loop's
	snapCaptured                   // the snapshotter's: write it
	snapCutting                    // the loop's and the WAL's
	snapDurable                    // the snapshotter's: remove the one before
)

// capture is a state at one index, to be written by another goroutine while the state machine goes on.
type capture interface {
	Info() SnapshotInfo
	WriteTo(w io.Writer) (int64, error)
}

func newSnapshotter(n *Node) *snapshotter {
	s := &snapshotter{node: n}
	s.background.init(n)
	s.queue.init()
	s.old.init()
	return s
}

func (s *snapshotter) run() { s.queue.run(s.retrying(s.step), s.stop, s.done) }

// advance is a loop's word that the job is the snapshotter's again.
func (s *snapshotter) advance(j *snapJob, to snapStage) {
	s.mu.Lock()
	j.stage = to
	s.mu.Unlock()
	s.queue.signal()
}

// drop is a loop's word that the job is over without a snapshot.
func (s *snapshotter) drop() {
	s.mu.Lock()
	s.job = nil
	s.mu.Unlock()
	s.queue.signal()
}

// step does the next piece of work, from capture to the truncation of the log. False: there is none now.
//
// Order is everything: the file is complete and durable under its final name (file synced, renamed,
// directory synced) before the WAL is told that entries up to its index are not needed any more, and the
// older file goes only when that record is durable. A crash between any two steps leaves the newest
// complete file and all the log behind it.
func (s *snapshotter) step() bool {
	s.pause = false
	if f, ok := s.old.pop(); ok {
		s.failed(f.group, s.removeOldSnapshots(f.group, f.name))
		return true
	}
	s.mu.Lock()
	j := s.job
	stage := snapCapturing
	if j != nil {
		stage = j.stage
	}
	s.mu.Unlock()
	switch {
	case j == nil:
		g, ok := s.queue.pop()
		if ok {
			s.begin(g)
		}
		return ok
	case stage == snapCaptured:
		s.cut(j)
		return true
	case stage == snapDurable:
		s.node.stats.snapshots.Add(1)
		s.node.stats.snapshotBytes.Add(uint64(j.size))
		s.drop()
		s.failed(j.group.id, s.removeOldSnapshots(j.group.id, j.name))
		return true
	}
	return false
}

// begin has the loop capture the state of g.
func (s *snapshotter) begin(g *group) {
	j := &snapJob{group: g}
	s.mu.Lock()
	s.job = j
	s.mu.Unlock()
	g.loop.box.do(func() {
		g.snap.wanted = false
		g.snap.index, g.snap.term, g.snap.mark, g.snap.next = g.applied, g.appliedTerm, g.logBytes, g.bytes()
		conf := g.raft.ConfAt(g.applied).Conf
		j.meta = raft.AppendConf(nil, &conf)
		if g.place != nil {
			j.captured = capturePlacement(g, j.meta)
			s.advance(j, snapCaptured)
			return
		}
		j.machine = g.machine
		g.machine.BeginSnapshot(g.applied, g.appliedTerm)
		g.capture(j)
	})
}

// cut writes the file, and has the loop tell the WAL and raft of it.
func (s *snapshotter) cut(j *snapJob) {
	g := j.group
	var err error
	var fresh bool
	j.name, j.size, fresh, err = s.write(g.id, j.captured)
	var file *recordFile // for the contexts that stay in it
	if err == nil && j.machine != nil && fresh {
		file, err = s.node.openRecords(j.name)
	}
	captured := j.captured
	j.captured = nil
	s.mu.Lock()
	j.stage = snapCutting
	s.mu.Unlock()
	g.loop.box.do(func() {
		if err != nil {
			if c, ok := captured.(*Captured); ok {
				c.files.release()
			}
			g.snap.busy = false
			s.drop()
			return
		}
		if c, ok := captured.(*Captured); ok {
			// What is in a file that was there already may lie elsewhere than in what was captured now: contexts stay in the
			// files that they are in, which are open, until the next snapshot.
			if g.machine == j.machine && fresh {
				s.node.parks.remove(g.machine.EndSnapshot(c, file))
			} else {
				file.release()
			}
		}
		b := g.loop.current()
		b.wal.Snapshot(g.id, g.snap.index, g.snap.term, j.meta)
		b.marks = append(b.marks, batchMark{group: g, then: func() {
			g.raft.Compact(g.snap.index, g.snap.term)
			g.logBytes -= g.snap.mark
			g.snap.state = g.snap.next
			g.snap.covered = g.snap.index
			g.snap.busy = false
			s.advance(j, snapDurable)
		}})
	})
	s.failed(g.id, err)
}

// failed counts and tells of what went wrong. It is tried again, at the next tick or with the next snapshot.
func (s *snapshotter) failed(group uint32, err error) {
	if err == nil {
		return
	}
	s.pause = true
	s.node.stats.snapshotErrors.Add(1)
	s.node.opt.Logf("snapshot_failed", "shard", group, "error", err.Error())
}

// cutLog tells the WAL of the snapshot that this life began with: a crash came before the WAL heard of it. It matters
// where the log ends before the snapshot does, for what comes next would leave a gap.
func (g *group) cutLog() {
	conf := g.raft.ConfAt(g.snap.index).Conf
	g.loop.current().wal.Snapshot(g.id, g.snap.index, g.snap.term, raft.AppendConf(nil, &conf))
	g.snap.covered = g.snap.index
}

// capture takes the next contexts into the snapshot, and comes back for more through the mailbox, so that
// requests get their turn in between.
func (g *group) capture(j *snapJob) {
	if c := g.machine.CaptureSome(captureStep); c != nil {
		c.SetMeta(j.meta)
		j.captured = c
		g.loop.node.snaps.advance(j, snapCaptured)
		return
	}
	g.loop.box.do(func() { g.capture(j) })
}

// requestSnapshots is the WAL's call for help: these groups pin its oldest segments. The log is open a little before
// the groups are there; it asks again.
func (n *Node) requestSnapshots(ids []uint32) {
	if !n.recovered.Load() {
		return
	}
	for _, id := range ids {
		if int(id) >= len(n.groups) {
			continue
		}
		if g := n.groups[id]; g != nil {
			g.loop.box.do(func() { g.snap.wanted = true })
		}
	}
}

// Names below the data directory.
func walDir(dir string) string  { return filepath.Join(dir, "wal") }
func snapDir(dir string) string { return filepath.Join(dir, "snap") }

// snapSuffix ends the names of complete snapshots, tmpSuffix those of unfinished ones, leftSuffix those of the empty files that
// say of a group that this node has left it, and with which end of the log (Forget).
const (
	snapSuffix = ".snap"
	tmpSuffix  = ".tmp"
	leftSuffix = ".left"
)

func snapName(shard uint32, index uint64) string {
	return fmt.Sprintf("%03d-%016x%s", shard, index, snapSuffix)
}

func parseSnapName(name string) (shard uint32, index uint64, ok bool) {
	var tail string
	if n, err := fmt.Sscanf(name, "%03d-%016x%s", &shard, &index, &tail); n != 3 || err != nil || tail != snapSuffix || shard >= groupCount {
		return 0, 0, false
	}
	return shard, index, name == snapName(shard, index)
}
