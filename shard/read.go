package shard

import (
	"errors"
	"sync"
	"time"
)

// readWait is somebody who waits for a group: for a read round to be confirmed, for the state machine to get as far as
// an index, or for both, one after the other.
type readWait struct {
	group    *group
	round    bool   // a round is to be asked for; without it, index is what to wait for
	asked    uint64 // the round joined
	index    uint64
	deadline int64 // in loop ticks
	ticks    int64 // deadline, from when the loop takes it up
	code     Code
	done     chan struct{}
	then     func(index uint64, code Code) // called in place of done
}

var readPool = sync.Pool{New: func() any { return &readWait{done: make(chan struct{}, 1)} }}

// finish tells the waiter. The loop must not touch w afterwards.
func (w *readWait) finish(code Code) {
	w.code = code
	if w.then != nil {
		w.then(w.index, code)
		return
	}
	w.done <- struct{}{}
}

// readQueue holds the readers of one group, in the order in which they came. Rounds, indexes and deadlines all rise
// along it, so that everything happens at its front: list[:known] have their index and wait for it to be applied.
type readQueue struct {
	list  []*readWait
	known int
}

// Read fills v with the state of a context, linearizably: what it shows is no older than any write
// acknowledged before the call. CodeNotLeader: this node does not lead the context's shard, or stopped to while it
// asked the others whether it still does; CodeUnavailable: they did not answer within RequestTimeout.
//
// A group of one voter that leads and has committed in its term needs no round to know that: nobody else
// can have committed anything, and a write is applied before it is acknowledged.
func (n *Node) Read(id []byte, v *View) Code {
	c, code := n.Context(id)
	if code == CodeOK {
		c.View(v)
	}
	return code
}

// Context returns the live context for streaming from it. The same guarantee as Read.
func (n *Node) Context(id []byte) (*Context, Code) {
	g := n.groups[Of(id)]
	if !g.serving.Load() {
		if _, code := n.barrier(g); code != CodeOK {
			return nil, code
		}
	}
	c, code := g.lookup(id)
	if code == CodeNotFound && !g.member.Load() {
		return nil, n.notLeader() // it may have been in a state that is gone meanwhile (Forget)
	}
	return c, code
}

// lookup waits for the disk if the context is only there.
func (g *group) lookup(id []byte) (*Context, Code) {
	hash := hash64(id)
	for {
		m := g.live.Load()
		c, err := m.find(id, hash)
		switch {
		case err != nil && errors.Is(err, errDropped) && g.live.Load() != m:
			continue // the machine in its place has it
		case err != nil:
			return nil, g.loop.node.unread(g, err)
		case c == nil:
			return nil, CodeNotFound
		}
		return c, CodeOK
	}
}

// Replica returns the context as this node's replica has it, whoever leads: it may be behind. Barrier on the leader and
// WaitApplied here make a linearizable read of it. CodeUnavailable: this node holds no replica of the shard, or has
// nothing of it yet.
func (n *Node) Replica(id []byte) (*Context, Code) {
	g := n.groups[Of(id)]
	if !g.member.Load() || g.appliedNow.Load() == 0 {
		return nil, CodeUnavailable
	}
	c, code := g.lookup(id)
	if code == CodeNotFound && !g.member.Load() {
		return nil, CodeUnavailable // see Context
	}
	return c, code
}

// Barrier returns an index such that a replica which has applied it shows every write acknowledged before the call.
// Only the leader can tell; it has applied the index itself. Codes as for Read.
func (n *Node) Barrier(group uint32) (index uint64, code Code) {
	g := n.group(group)
	if g == nil {
		return 0, CodeUnavailable
	}
	return n.barrier(g) // of a sole voter, too: appliedNow is published a little after a write is acknowledged
}

// SubmitBarrier is Barrier without waiting: done is called with the outcome, by the loop, or before SubmitBarrier
// returns. It must not block.
func (n *Node) SubmitBarrier(group uint32, done func(index uint64, code Code)) {
	g := n.group(group)
	if g == nil {
		done(0, CodeUnavailable)
		return
	}
	w := &readWait{group: g, round: true, ticks: n.timeoutTicks, then: done}
	if code := g.loop.box.read(w); code != CodeOK {
		done(0, code)
	}
}

// barrier waits for a round of heartbeats: all readers that come while one is under way share the next.
func (n *Node) barrier(g *group) (index uint64, code Code) {
	if !g.leads.Load() {
		return 0, n.notLeader() // nearly always right, and where it is not, trying again is
	}
	w := readPool.Get().(*readWait)
	w.group, w.round, w.index, w.ticks = g, true, 0, n.timeoutTicks
	return n.await(w)
}

// WaitApplied waits until this node's replica of group has applied the log up to index, for timeout at most.
// CodeUnavailable: it did not get there, or there is no replica.
func (n *Node) WaitApplied(group uint32, index uint64, timeout time.Duration) Code {
	g := n.group(group)
	switch {
	case g == nil:
		return CodeUnavailable
	case g.appliedNow.Load() >= index:
		return CodeOK
	}
	w := readPool.Get().(*readWait)
	w.group, w.round, w.index, w.ticks = g, false, index, ticksOf(timeout)
	_, code := n.await(w)
	return code
}

func ticksOf(d time.Duration) int64 { return int64((d + tickInterval - 1) / tickInterval) }

// await hands w to its loop and blocks until that is done with it.
func (n *Node) await(w *readWait) (index uint64, code Code) {
	if code = w.group.loop.box.read(w); code == CodeOK {
		<-w.done
		index, code = w.index, w.code
	}
	w.group = nil
	readPool.Put(w)
	return index, code
}

// Applied returns the index up to which this node's replica of group has applied its log. Any goroutine.
func (n *Node) Applied(group uint32) uint64 {
	if g := n.group(group); g != nil {
		return g.appliedNow.Load()
	}
	return 0
}

// read takes up a waiter.
func (l *loop) read(w *readWait) {
	g := w.group
	w.deadline = l.now + w.ticks
	switch {
	case g.stopped:
		w.finish(CodeUnavailable)
	case w.round:
		l.ask(g, w)
	case g.applied >= w.index:
		w.finish(CodeOK)
	default:
		g.waits = append(g.waits, w)
		l.touch(g) // it may wait for what is applied late
	}
}

// ask has w join the group's next read round.
func (l *loop) ask(g *group, w *readWait) {
	round, ready, err := g.raft.ReadIndex()
	switch {
	case err != nil:
		w.finish(l.node.notLeader())
	case ready:
		// What is committed now is what the read has to show, whatever becomes of the leadership.
		w.index = g.raft.Commit()
		g.waits = reached(append(g.waits, w), g.applied)
	default:
		w.asked = round
		g.reads.list = append(g.reads.list, w)
		l.touch(g)
	}
}

// confirmed handles what raft says of a round: all who joined it or an earlier one know their index, or, when it is
// lost, that they have to ask somebody else.
func (q *readQueue) confirmed(round, index uint64, lost bool, notLeader Code) {
	from := q.known
	for q.known < len(q.list) && q.list[q.known].asked <= round {
		q.list[q.known].index = index
		q.known++
	}
	if !lost {
		return
	}
	for i := from; i < q.known; i++ {
		q.list[i].finish(notLeader)
	}
	q.list = append(q.list[:from], q.list[q.known:]...)
	clear(q.list[len(q.list):cap(q.list)])
	q.known = from
}

// applied answers everybody whose index the state machine has reached.
func (q *readQueue) applied(applied uint64) {
	n := 0
	for n < q.known && q.list[n].index <= applied {
		q.list[n].finish(CodeOK)
		n++
	}
	q.drop(n)
}

// expire answers those whose time is up. Deadlines rise along the queue.
func (q *readQueue) expire(now int64) {
	n := 0
	for n < len(q.list) && q.list[n].deadline <= now {
		q.list[n].finish(CodeUnavailable)
		n++
	}
	q.drop(n)
}

// drop removes the first n, which have their answer.
func (q *readQueue) drop(n int) {
	if n == 0 {
		return
	}
	rest := copy(q.list, q.list[n:])
	clear(q.list[rest:])
	q.list = q.list[:rest]
	q.known = max(0, q.known-n)
}

// reached answers those in list who wait for the state machine to reach index.
func reached(list []*readWait, applied uint64) []*readWait {
	return settle(list, func(w *readWait) (Code, bool) { return CodeOK, w.index <= applied })
}

func expired(list []*readWait, now int64) []*readWait {
	return settle(list, func(w *readWait) (Code, bool) { return CodeUnavailable, w.deadline <= now })
}

func settle(list []*readWait, due func(*readWait) (Code, bool)) []*readWait {
	keep := list[:0]
	for _, w := range list {
		if code, ok := due(w); ok {
			w.finish(code)
		} else {
			keep = append(keep, w)
		}
	}
	clear(list[len(keep):])
	return keep
}

// abandonReads answers all readers of g with code.
func (g *group) abandonReads(code Code) {
	for _, w := range g.reads.list {
		w.finish(code)
	}
	g.reads = readQueue{}
	g.waits = settle(g.waits, func(*readWait) (Code, bool) { return code, true })
}
