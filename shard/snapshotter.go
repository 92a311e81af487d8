package shard

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"
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
	bytes := g.machine.Bytes()
	if old := g.stateBytes.Swap(bytes); old != bytes {
		g.loop.node.stats.stateBytes.Add(bytes - old)
	}
	due := g.logBytes >= max(g.loop.node.opt.SnapshotBytes, g.snap.state)
	if (due || g.snap.wanted) && !g.snap.busy && g.applied > g.snap.covered {
		g.snap.busy = true
		g.loop.node.snaps.queue(g)
	}
}

// snapshotter takes the node's snapshots, one at a time, so that they cost a bounded share of the disk.
type snapshotter struct {
	node *Node
	jobs chan *group
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

func newSnapshotter(n *Node) *snapshotter {
	return &snapshotter{
		node: n,
		jobs: make(chan *group, Shards), // a group is queued at most once
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

func (s *snapshotter) queue(g *group) { s.jobs <- g }

func (s *snapshotter) close() {
	s.once.Do(func() { close(s.stop) })
	<-s.done
}

// retryAfter is the pause after a snapshot that failed, for example on a full disk.
const retryAfter = time.Second

func (s *snapshotter) run() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case g := <-s.jobs:
			if err := s.snapshot(g); err != nil {
				s.node.stats.snapshotErrors.Add(1)
				s.node.opt.Logf("snapshot_failed", "shard", g.id, "error", err.Error())
				select {
				case <-time.After(retryAfter):
				case <-s.stop:
				}
			}
		}
	}
}

// snapshot takes one snapshot of g from capture to the truncation of its log.
//
// Order is everything: the file is complete and durable under its final name (file synced, renamed,
// directory synced) before the WAL is told that entries up to its index are not needed any more, and the
// older file goes only when that record is durable. A crash between any two steps leaves the newest
// complete file and all the log behind it.
func (s *snapshotter) snapshot(g *group) error {
	l := g.loop
	captured := make(chan *Captured, 1) // one place: the loop never waits, even if nobody is left to take it
	l.box.do(func() {
		g.snap.wanted = false
		g.snap.index, g.snap.term, g.snap.mark, g.snap.next = g.applied, g.appliedTerm, g.logBytes, g.machine.Bytes()
		g.machine.BeginSnapshot(g.applied, g.appliedTerm)
		g.capture(captured)
	})
	var c *Captured
	select {
	case c = <-captured:
	case <-s.stop:
		return nil
	}
	name, size, err := s.write(g.id, c)
	settled := make(chan struct{})
	l.box.do(func() {
		if err != nil {
			g.snap.busy = false
			close(settled)
			return
		}
		b := l.current()
		b.wal.Snapshot(g.id, g.snap.index, g.snap.term, nil)
		b.marks = append(b.marks, batchMark{group: g, then: func() {
			g.raft.Compact(g.snap.index, g.snap.term)
			g.logBytes -= g.snap.mark
			g.snap.state = g.snap.next
			g.snap.covered = g.snap.index
			g.snap.busy = false
			close(settled)
		}})
	})
	select {
	case <-settled:
	case <-s.stop:
		return nil
	}
	if err != nil {
		return err
	}
	s.node.stats.snapshots.Add(1)
	s.node.stats.snapshotBytes.Add(uint64(size))
	return s.removeOldSnapshots(g.id, name)
}

// cutLog tells the WAL of the snapshot that this life began with: a crash came before the WAL heard of it. It matters
// where the log ends before the snapshot does, for what comes next would leave a gap.
func (g *group) cutLog() {
	g.loop.current().wal.Snapshot(g.id, g.snap.index, g.snap.term, nil)
	g.snap.covered = g.snap.index
}

// capture takes the next contexts into the snapshot, and comes back for more through the mailbox, so that
// requests get their turn in between.
func (g *group) capture(done chan<- *Captured) {
	if c := g.machine.CaptureSome(captureStep); c != nil {
		done <- c
		return
	}
	g.loop.box.do(func() { g.capture(done) })
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

// snapSuffix ends the names of complete snapshots, tmpSuffix those of unfinished ones.
const (
	snapSuffix = ".snap"
	tmpSuffix  = ".tmp"
)

func snapName(shard uint32, index uint64) string {
	return fmt.Sprintf("%03d-%016x%s", shard, index, snapSuffix)
}

func parseSnapName(name string) (shard uint32, index uint64, ok bool) {
	var tail string
	if n, err := fmt.Sscanf(name, "%03d-%016x%s", &shard, &index, &tail); n != 3 || err != nil || tail != snapSuffix || shard >= Shards {
		return 0, 0, false
	}
	return shard, index, name == snapName(shard, index)
}
