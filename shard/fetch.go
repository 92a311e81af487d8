package shard

import (
	"errors"
	"math"

	"fastpaca/raft"
	"fastpaca/wal"
)

// fetch is a leader's wish for entries that have left memory, for a follower that lags.
type fetch struct {
	group *group
	need  raft.NeedEntries
}

// fetcher reads them from the log, away from the loops, one at a time. raft has one wish at most for each follower of
// each group, so that the queue is bounded by their number.
type fetcher struct {
	node *Node
	jobs worklist[fetch]
	done chan struct{}
}

func (f *fetcher) init(n *Node) {
	f.node, f.done = n, make(chan struct{})
	f.jobs.init()
}

func (f *fetcher) run() { f.jobs.run(f.step, f.node.stop, f.done) }

func (f *fetcher) ask(job fetch) { f.jobs.push(job) }

// step serves the oldest wish. False: there is none.
func (f *fetcher) step() bool {
	job, ok := f.jobs.pop()
	if !ok {
		return false
	}
	entries, err := f.read(job.group.id, job.need)
	g := job.group
	g.loop.box.do(func() {
		if err != nil {
			f.failed(g, err)
		}
		g.raft.Supply(job.need.To, entries)
		g.loop.touch(g)
	})
	return true
}

// read returns at least the first two entries of need, if it asks for two: the first may be there for its term alone.
func (f *fetcher) read(group uint32, need raft.NeedEntries) ([]raft.Entry, error) {
	got, err := f.node.wal.Read(group, need.Lo, need.Hi, need.MaxBytes, nil)
	if err == nil && len(got) == 1 && need.Hi-need.Lo > 1 {
		got, err = f.node.wal.Read(group, need.Lo, need.Lo+2, math.MaxInt, nil)
	}
	if err != nil {
		return nil, err
	}
	out := make([]raft.Entry, len(got))
	for i, e := range got {
		out[i] = raft.Entry{Index: e.Index, Term: e.Term, Kind: raft.EntryKind(e.Kind), Data: e.Data}
	}
	return out, nil
}

// failed sees to it that a follower which cannot get entries gets a snapshot. Where the log has dropped them, there is one.
func (f *fetcher) failed(g *group, err error) {
	if errors.Is(err, wal.ErrCompacted) || errors.Is(err, wal.ErrUnavailable) {
		return
	}
	g.snap.wanted = true
	f.node.opt.Logf("log_read_failed", "level", "error", "group", g.id, "error", err.Error(),
		"what_to_do", "the entries are sent to the follower as a snapshot instead; if this node's disk rots, replace it")
}
