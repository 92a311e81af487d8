package shard

import (
	"fmt"
	"path/filepath"
	"sync"

	"fastpaca/shard/history"
)

// spiller moves what is older than the tails from memory to history files, and merges those: one file at a time for the
// whole node, so that it costs a bounded share of the disk and the processor. It goes by steps, like the snapshotter.
//
// The messages leave memory only after the file that holds them is durable under its name. Until then they are in
// memory, and behind that in the snapshot or the log: a snapshot that does without them is captured after they left. A crash
// in between brings them back into memory, and they are written a second time.
type spiller struct {
	node  *Node
	queue worklist[*group] // a group is queued at most once (group.spilling)
	background

	mu  sync.Mutex // for what follows, which loops change
	job *spillJob  // under way; nil: none
}

// spillJob is one spill on its way.
type spillJob struct {
	group   *group
	machine *Machine
	spill   *Spill
	stage   spillStage
}

// spillStage says whose turn it is.
type spillStage uint8

const (
	spillCollecting spillStage = iota // the loop's
	spillCollected                    // the spiller's: write the file
	spillLeaving                      // the loop's
	spillLeft                         // the spiller's: merge files
)

func newSpiller(n *Node) *spiller {
	s := &spiller{node: n}
	s.background.init(n)
	s.queue.init()
	return s
}

// maybeSpill queues the group when enough can leave its memory. On the loop.
func (g *group) maybeSpill() {
	n := g.loop.node
	if g.machine != nil && !g.spilling && !g.receiving && !g.healing && g.machine.SpillBytes() >= n.opt.SpillBytes {
		g.spilling = true
		n.spills.queue.push(g)
	}
}

func (s *spiller) run() { s.queue.run(s.retrying(s.step), s.stop, s.done) }

// step does the next piece of work. False: there is none now.
func (s *spiller) step() bool {
	s.pause = false
	s.mu.Lock()
	j, stage := s.job, spillCollecting
	if j != nil {
		stage = j.stage
	}
	s.mu.Unlock()
	switch {
	case j == nil:
		g, ok := s.queue.pop()
		if ok {
			s.collect(g)
		}
		return ok
	case stage == spillCollected:
		s.write(j)
		return true
	case stage == spillLeft:
		s.merge(j)
		return true
	}
	return false
}

// set gives the job to whose turn it is now; nil ends it.
func (s *spiller) set(j *spillJob, stage spillStage) {
	s.mu.Lock()
	if s.job = j; j != nil {
		j.stage = stage
	}
	s.mu.Unlock()
	s.queue.signal()
}

// holds reports whether g is being spilled, and not only queued.
func (s *spiller) holds(g *group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.job != nil && s.job.group == g
}

// collect has the loop say what can leave memory. While history arrives from another node, in a snapshot or for what was
// damaged, the shard's files are in those hands: it lasts as long as the other end likes, and all other shards would wait
// with this one.
func (s *spiller) collect(g *group) {
	j := &spillJob{group: g}
	s.set(j, spillCollecting)
	g.loop.box.do(func() {
		j.machine = g.machine
		if !g.receiving && !g.healing {
			j.spill = g.machine.BeginSpill()
		}
		if j.spill == nil {
			g.spilling = false
			s.set(nil, 0)
			return
		}
		s.set(j, spillCollected)
	})
}

// write makes the spill a file, and has the loop let go of the messages.
func (s *spiller) write(j *spillJob) {
	g := j.group
	err := s.writeFile(g.id, j.spill)
	s.set(j, spillLeaving)
	g.loop.box.do(func() {
		// A snapshot from the leader may have replaced the machine; then there is nothing left to take away.
		switch {
		case g.machine != j.machine:
		case err == nil:
			g.machine.EndSpill(j.spill)
		default:
			g.machine.AbortSpill(j.spill)
		}
		j.spill, j.machine = nil, nil
		g.spilling = false
		s.set(j, spillLeft)
	})
	s.failed(g.id, err)
}

func (s *spiller) writeFile(shard uint32, sp *Spill) error {
	w, err := s.node.history.Writer(shard)
	if err != nil {
		return err
	}
	if err := sp.Each(w.Message); err != nil {
		w.Abort()
		return err
	}
	return w.Commit()
}

// merge does one merge of the shard's files, and ends the job when there is none to do.
func (s *spiller) merge(j *spillJob) {
	worked, err := s.node.history.Merge(j.group.id)
	if !worked {
		s.set(nil, 0)
	}
	s.failed(j.group.id, err)
}

// failed counts and tells of what went wrong. It is tried again with the next spill. A sync that failed ends the process:
// nothing that the page cache says can be believed any more.
func (s *spiller) failed(shard uint32, err error) {
	if err == nil {
		return
	}
	if history.SyncFailed(err) {
		s.node.fatal(err)
	}
	s.pause = true
	s.node.stats.historyErrors.Add(1)
	s.node.opt.Logf("history_failed", "shard", shard, "error", err.Error())
}

func histDir(dir string) string { return filepath.Join(dir, "history") }

// openHistory opens the history files.
func (n *Node) openHistory() (err error) {
	n.history, err = history.Open(history.Options{
		FS: n.opt.FS, Dir: histDir(n.opt.Dir), Shards: Shards, Logf: n.opt.Logf,
		Heal: n.opt.FetchMessages != nil, OnDamage: n.heals.damaged,
	})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// checkEvicted looks for the newest message of every context that has left memory and is in no archive: a history file that
// was lost, or the whole directory, stops the start and not a client's page, or a replica that would be given the hole. A
// lookup costs some 100 us, and only contexts with two thousand messages and more need one.
func (n *Node) checkEvicted(r *recovered) error {
	p := &r.machine.parking
	defer func() { p.spilled = nil }()
	for _, ordinal := range p.spilled {
		c, err := r.machine.peek(ordinal)
		if err != nil {
			return err
		}
		var v View
		c.View(&v)
		first := v.First
		if first <= 1 || first-1 <= v.Archived {
			continue // the log has the archive's word
		}
		has, err := n.history.Has(r.id, c.id, first-1)
		if err == nil && !has {
			err = fmt.Errorf("message %d of context %q has left memory, and no history file holds it: a file is missing from %s; "+
				"restore it from a backup, or replace this node's data from the replicas", first-1, c.id, histDir(n.opt.Dir))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// AppendHistory appends the messages from .. to of a context that have left memory to dst, as JSON separated by commas, up
// to about maxBytes (at least one, if there is one). next is the seq of the first that was not appended: from, if
// there are none here. An error names the damaged file. Any goroutine.
func (n *Node) AppendHistory(dst []byte, id []byte, from, to uint64, maxBytes int) (_ []byte, next uint64, err error) {
	return n.history.Append(dst, Of(id), string(id), from, to, maxBytes)
}
