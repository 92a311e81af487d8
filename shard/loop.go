package shard

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"fastpaca/jepsen/planted"
	"fastpaca/raft"
	"fastpaca/wal"
)

// loop is the only writer of the shards that belong to it: no lock in raft, none in apply. It sleeps
// until there is mail, and handles all of it in one pass:
//
//  1. what the WAL made durable and what other nodes say: match, commit, apply, answer (first, because somebody waits
//     for it);
//  2. requests: stamp, propose; reads join a round;
//  3. ticks: elections, heartbeats, deadlines;
//  4. everything that became ready goes to the WAL as one batch, and to the transport in one call.
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
	nanos  func() int64 // of a clock that never goes back, for latencies

	mail    mail
	ready   raft.Ready
	batch   *batch
	free    []*batch
	out     []raft.Message // for other nodes, at the end of the pass
	entries []raft.Entry   // of out
	share   []*group       // that lead and have committed something in this pass
	res     Result         // of entries that nobody here waits for
	peers   []raft.PeerStatus
	lost    func(proposal)
	late    func(*Request)
	commits latency // from the proposal to the commit, of requests
	applies latency // of what one drive gives to the state machine
	began   int64   // when this drive began to apply, in nanos; 0: it has applied nothing yet
	release func(bytes int)
	told    []*Request // were applied in this pass, and their Done is to be called
	flusher Flusher    // nil: the transport is none
	done    chan struct{}
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
	l := &loop{node: n, box: newMailbox(), clock: n.opt.NowMs, nanos: n.opt.Nanos, done: make(chan struct{})}
	l.lost = func(x proposal) {
		if planted.On(planted.LostAnsweredOK) && x.req != nil {
			x.req.Result.Code = CodeOK
			x.req.finish()
			x.req = nil
		}
		n.inflight.Add(-int64(x.bytes))
		if x.req != nil {
			x.req.fail(n.notLeader())
		}
	}
	l.flusher, _ = n.opt.Transport.(Flusher)
	l.release = func(bytes int) { n.inflight.Add(-int64(bytes)) }
	l.late = func(r *Request) {
		n.stats.timeouts.Add(1)
		if planted.On(planted.UnknownAnsweredLost) {
			r.fail(CodeUnavailable)
			return
		}
		r.fail(CodeTimeout)
	}
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
			l.abandon()
			if l.flusher != nil {
				l.flusher.Flush()
			}
			l.token.Unlock()
			return
		}
	}
}

// wake sees to it that the mailbox, which was empty until now, is worked off: here and now for a request that is alone,
// if nobody else is at it, otherwise by the loop. Mail that comes during the pass finds the mailbox empty again
// and brings its own wake.
func (l *loop) wake(alone bool) {
	if !alone || l.node.opt.Manual || !l.token.TryLock() {
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
	for i := range l.mail.messages {
		l.step(&l.mail.messages[i])
	}
	l.drive() // before the new requests: those whose entries are durable have waited longest
	for _, f := range l.mail.control {
		f()
	}
	for _, w := range l.mail.reads {
		l.read(w)
	}
	if len(l.mail.requests) > 0 {
		now, at := l.clock(), l.nanos()
		for _, r := range l.mail.requests {
			l.propose(r, now, at)
		}
	}
	for range l.mail.ticks {
		l.tick()
	}
	l.mail.reset()
	if len(l.share) > 0 {
		l.shareCommits()
	}
	l.drive()
	l.submit()
	l.tell()
	l.flush() // after submit: the disk works while the messages are encoded
	if l.flusher != nil {
		l.flusher.Flush()
	}
}

// tell calls Done of the requests that were applied in this pass: after submit, since the disk has been waited for longest, and
// before flush, since what Done leaves for other nodes goes with the messages.
func (l *loop) tell() {
	for i, r := range l.told {
		l.told[i] = nil
		r.finish()
	}
	l.told = l.told[:0]
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
			l.touchReady(m.group)
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
func (l *loop) propose(r *Request, now, at int64) {
	g := r.group
	if g.stopped { // what raft would take now, nobody would apply, and it would hold its bytes of the budget for ever
		l.node.inflight.Add(-int64(len(r.Cmd)))
		r.fail(l.node.notLeader())
		return
	}
	if g.place == nil {
		g.lastMs = max(g.lastMs, now)
		StampTime(r.Cmd, g.lastMs)
	}
	index, term, err := g.raft.Propose(raft.KindNormal, l.arena.copy(r.Cmd))
	if err != nil {
		l.node.inflight.Add(-int64(len(r.Cmd)))
		r.fail(l.node.codeOfPropose(err))
		return
	}
	r.deadline = l.now + l.node.timeoutTicks
	g.pending.push(proposal{index: index, term: term, bytes: len(r.Cmd), at: at, req: r})
	l.touch(g)
}

// abandon answers what still waits when the loop ends. Nobody will come back to it.
func (l *loop) abandon() {
	for _, g := range l.groups {
		g.abandonReads(CodeShuttingDown)
		g.pending.abandon(l.late, l.release)
	}
}

// touchReady is touch after a step or a tick of raft, which leaves a drive nothing to do where HasReady says so. Such steps are many: the
// second of two followers acknowledges what is committed already, and so does the own log.
func (l *loop) touchReady(g *group) {
	if g.raft.HasReady() {
		l.touch(g)
	}
}

// touch sees to it that the next drive looks at g.
func (l *loop) touch(g *group) {
	if !g.dirty {
		g.dirty = true
		l.dirty = append(l.dirty, g)
	}
}
