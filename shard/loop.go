package shard

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"fastpaca/raft"
	"fastpaca/wal"
)

// loop is the only writer of the shards that belong to it: no lock in raft, none in apply. It sleeps
// until there is mail, and handles all of it in one pass:
//
//  1. what the WAL made durable: own match, commit, apply, answer (first, because somebody waits for it);
//  2. requests: stamp, propose;
//  3. ticks: elections, heartbeats, deadlines;
//  4. everything that became ready goes to the WAL as one batch.
//
// Nothing in a pass blocks: no disk, no network, no lock that is held across either.
//
// A pass runs under the token. Nearly all passes are the loop's own goroutine's. But a request that is alone on the
// node takes the token itself, and so does the WAL's writer when it has made such a request durable: one client by
// itself should not pay for two hand-overs between goroutines, each of them as long as half an fsync here. Whoever
// finds the token taken leaves its mail and wakes the loop.
type loop struct {
	node   *Node
	groups []*group // this loop's, in group order
	box    *mailbox
	token  sync.Mutex
	alone  bool // this pass serves a request that is alone
	arena  arena
	dirty  []*group // have something for Ready in this pass
	now    int64    // ticks since the start
	clock  func() int64

	mail  mail
	ready raft.Ready
	batch *batch
	free  []*batch
	res   Result // of entries that nobody here waits for
	lost  func(proposal)
	late  func(*Request)
	done  chan struct{}
}

// batch is one submission to the WAL with the marks to hand back to raft when it is durable.
type batch struct {
	wal   *wal.Batch
	marks []batchMark
	alone bool // made for a request that was alone on the node
}

type batchMark struct {
	group *group
	mark  raft.Mark
	state bool   // term or vote are in the batch
	then  func() // runs on the loop when durable; nil for most
}

func newLoop(n *Node) *loop {
	l := &loop{node: n, box: newMailbox(), clock: n.opt.NowMs, done: make(chan struct{})}
	l.lost = func(x proposal) {
		n.inflight.Add(-int64(x.bytes))
		if x.req != nil {
			x.req.fail(CodeUnavailable)
		}
	}
	l.late = func(r *Request) { n.stats.timeouts.Add(1); r.fail(CodeTimeout) }
	return l
}

// run handles mail until stop is closed and the mailbox is empty.
func (l *loop) run(stop <-chan struct{}) {
	defer close(l.done)
	for {
		select {
		case <-l.box.wake:
			// The goroutine that woke this loop runs it next, before those that are about to bring more.
			// Letting them go first turned 1.1 commands a pass into 6 at 64 connections (PERF.md).
			runtime.Gosched()
			l.token.Lock()
			l.pass()
			l.token.Unlock()
		case <-stop:
			l.token.Lock()
			l.pass()
			l.token.Unlock()
			return
		}
	}
}

// wake sees to it that the mailbox, which was empty until now, is worked off: here and now for a request that is alone,
// if nobody else is at it, otherwise by the loop. Mail that comes during the pass finds the mailbox empty again
// and brings its own wake.
func (l *loop) wake(alone bool) {
	if !alone || !l.token.TryLock() {
		l.box.signal()
		return
	}
	defer l.stopOnPanic()
	l.alone = true
	l.pass()
	l.alone = false
	l.token.Unlock()
}

// stopOnPanic ends the process for a bug in a pass that runs on somebody else's goroutine, as it would on the loop's.
// The HTTP server answers panics of its handlers with a 500 and goes on; a pass done by half would go on with it.
func (l *loop) stopOnPanic() {
	if v := recover(); v != nil {
		l.node.fatal(fmt.Errorf("a bug stopped a loop: %v; please report it\n%s", v, debug.Stack()))
		panic(v)
	}
}

// durable is the WAL's word that a batch is on disk; it runs on the WAL's writer.
func (l *loop) durable(b *wal.Batch) {
	alone := b.Tag.(*batch).alone
	if l.box.durable(b) {
		l.wake(alone)
	}
}

// pass takes what the mailbox holds and works it off. The caller holds the token.
func (l *loop) pass() {
	l.box.take(&l.mail)
	for _, b := range l.mail.durable {
		l.persisted(b.Tag.(*batch))
	}
	l.drive() // before the new requests: those whose entries are durable have waited longest
	for _, f := range l.mail.control {
		f()
	}
	if len(l.mail.requests) > 0 {
		now := l.clock()
		for _, r := range l.mail.requests {
			l.propose(r, now)
		}
	}
	for range l.mail.ticks {
		l.tick()
	}
	l.mail.reset()
	l.drive()
	l.submit()
}

// persisted hands the marks of a durable batch back to raft.
func (l *loop) persisted(b *batch) {
	for i := range b.marks {
		m := &b.marks[i]
		if m.then != nil {
			m.then()
		} else {
			if m.state {
				m.group.unsaved--
			}
			m.group.raft.Persisted(m.mark)
			l.touch(m.group)
		}
	}
	l.recycle(b)
}

func (l *loop) recycle(b *batch) {
	clear(b.marks)
	b.marks = b.marks[:0]
	b.wal.Reset()
	l.free = append(l.free, b)
}

// propose stamps the command and puts it into the group's log. The time of a shard never runs backwards,
// whatever the clock does.
func (l *loop) propose(r *Request, now int64) {
	g := r.group
	g.lastMs = max(g.lastMs, now)
	StampTime(r.Cmd, g.lastMs)
	index, term, err := g.raft.Propose(raft.KindNormal, l.arena.copy(r.Cmd))
	if err != nil {
		l.node.inflight.Add(-int64(len(r.Cmd)))
		r.fail(codeOfPropose(err))
		return
	}
	r.deadline = l.now + l.node.timeoutTicks
	g.pending.push(proposal{index: index, term: term, bytes: len(r.Cmd), req: r})
	l.touch(g)
}

func (l *loop) touch(g *group) {
	if !g.dirty {
		g.dirty = true
		l.dirty = append(l.dirty, g)
	}
}

// tick advances the clocks of all groups and answers requests whose time is up.
func (l *loop) tick() {
	l.now++
	for _, g := range l.groups {
		if g.unsaved == 0 {
			g.raft.Tick()
		}
		if g.pending.size > 0 {
			g.pending.expire(l.now, l.late)
		}
		if g.raft.HasReady() {
			l.touch(g)
		}
		g.maybeSnapshot()
	}
}

// drive takes what raft has ready: entries and state go into the batch for the WAL, committed entries are
// applied and their requests answered.
func (l *loop) drive() {
	for len(l.dirty) > 0 {
		g := l.dirty[len(l.dirty)-1]
		l.dirty[len(l.dirty)-1] = nil
		l.dirty = l.dirty[:len(l.dirty)-1]
		g.dirty = false
		for g.raft.HasReady() {
			g.raft.Ready(&l.ready)
			l.persist(g, &l.ready)
			l.apply(g, l.ready.Committed)
		}
		g.publishRole()
	}
}

// persist adds what must reach the disk to the batch.
func (l *loop) persist(g *group, rd *raft.Ready) {
	if !rd.MustSync {
		return
	}
	b := l.current()
	if rd.StateChanged {
		g.unsaved++
		b.wal.State(g.id, wal.HardState{Term: rd.HardState.Term, Vote: rd.HardState.Vote, Commit: rd.HardState.Commit})
	}
	for i := range rd.Entries {
		e := &rd.Entries[i]
		b.wal.Entry(g.id, rd.HardState.Commit, wal.Entry{Index: e.Index, Term: e.Term, Kind: uint8(e.Kind), Data: e.Data})
		g.logBytes += int64(len(e.Data)) + entryOverhead
	}
	b.marks = append(b.marks, batchMark{group: g, mark: rd.Mark, state: rd.StateChanged})
}

// apply runs committed entries through the state machine, in order, and answers those that wait.
func (l *loop) apply(g *group, entries []raft.Entry) {
	if len(entries) == 0 {
		return
	}
	for i := range entries {
		e := &entries[i]
		ours, waits := g.pending.take(e.Index, e.Term, l.lost)
		res := &l.res
		if ours.req != nil {
			res = &ours.req.Result
		}
		if e.Kind == raft.KindNormal {
			if err := g.machine.Apply(e.Index, e.Data, res); err != nil {
				l.node.fatal(fatalApply(g.id, e.Index, err))
				return
			}
		}
		g.applied, g.appliedTerm = e.Index, e.Term
		if waits {
			l.node.inflight.Add(-int64(ours.bytes))
			if ours.req != nil {
				ours.req.finish()
			}
		}
	}
	g.raft.Applied(g.applied)
}

// current returns the batch that this pass fills.
func (l *loop) current() *batch {
	if l.batch == nil {
		if n := len(l.free); n > 0 {
			l.batch = l.free[n-1]
			l.free[n-1] = nil
			l.free = l.free[:n-1]
		} else {
			l.batch = &batch{wal: wal.NewBatch(l.durable)}
			l.batch.wal.Tag = l.batch
		}
	}
	return l.batch
}

// submit gives the pass's batch to the WAL, which answers through the mailbox.
func (l *loop) submit() {
	if l.batch == nil {
		return
	}
	b := l.batch
	l.batch = nil
	b.alone = l.alone
	l.node.wal.Submit(b.wal)
}
