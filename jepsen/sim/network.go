package sim

import (
	"fastpaca/raft"
)

// lane says what a frame carries. The product has a lane for what must never wait and one for data; a network may
// treat them differently.
type lane uint8

const (
	laneControl lane = iota // heartbeats and their answers, votes, transfers
	laneData                // appends and their answers
)

func laneOf(t raft.MessageType) lane {
	if t == raft.MsgAppend || t == raft.MsgAppendResp {
		return laneData
	}
	return laneControl
}

// frame is what one node sends another in one go: encoded messages. To is a raft id, the address of a node's
// incarnation: nothing that is meant for one that lost its disk ever reaches the one that came after it (the product's
// handshake sees to that).
type frame struct {
	from, to uint64
	lane     lane
	raw      []byte
}

// oldFramesMax bounds the frames that are kept to be replayed.
const oldFramesMax = 256

// network delivers frames late, twice, never, out of order, and again long after their time.
type network struct {
	w    *World
	opt  networkOptions
	cut  []bool // [from*len(machines)+to]
	only []int8 // the only lane that passes a link; -1: both
	old  []frame
	next int // place in old
}

// networkOptions are shares in 1/1000 and times.
type networkOptions struct {
	delay     int64 // usual delay: up to this
	tail      int   // this share takes up to tailDelay
	tailDelay int64
	loss      int
	twice     int
	replay    int // a frame of the past comes again, for each frame sent
}

func newNetwork(w *World, opt networkOptions) *network {
	n := &network{w: w, opt: opt}
	n.resize()
	return n
}

func (n *network) resize() {
	k := len(n.w.machines)
	n.cut, n.only = make([]bool, k*k), make([]int8, k*k)
	for i := range n.only {
		n.only[i] = -1
	}
}

func (n *network) link(from, to *machine) int { return from.index*len(n.w.machines) + to.index }

func (n *network) heal() {
	clear(n.cut)
	for i := range n.only {
		n.only[i] = -1
	}
}

func (n *network) chance(perMille int) bool { return perMille > 0 && n.w.rng.IntN(1000) < perMille }

// send takes f over; f.raw is not shared with anybody.
func (n *network) send(f frame) {
	if len(n.old) < oldFramesMax {
		n.old = append(n.old, f)
	} else {
		n.old[n.next] = f
		n.next = (n.next + 1) % oldFramesMax
	}
	if n.chance(n.opt.replay) {
		n.w.count.Replayed++
		n.schedule(n.old[n.w.rng.IntN(len(n.old))])
	}
	if n.chance(n.opt.loss) {
		n.w.count.Lost++
		return
	}
	n.schedule(f)
	if n.chance(n.opt.twice) {
		n.schedule(f)
	}
}

func (n *network) schedule(f frame) {
	delay := 50 + n.w.rng.Int64N(n.opt.delay)
	if n.chance(n.opt.tail) {
		delay += n.w.rng.Int64N(n.opt.tailDelay)
	}
	n.w.after(delay, func() { n.arrive(f) })
}

// remind brings some frames of the past to a machine again: connections that broke with its process and came back.
func (n *network) remind(m *machine) {
	if n.opt.replay == 0 || len(n.old) == 0 {
		return
	}
	for range 20 {
		if f := n.old[n.w.rng.IntN(len(n.old))]; f.to == m.id {
			n.w.count.Replayed++
			n.schedule(f)
		}
	}
}

// passes says whether a frame gets through now.
func (n *network) passes(from, to *machine, l lane) bool {
	i := n.link(from, to)
	return !n.cut[i] && (n.only[i] < 0 || n.only[i] == int8(l))
}

func (n *network) arrive(f frame) {
	from, to := n.w.machineOf(f.from), n.w.machineOf(f.to)
	if from == nil || to == nil || !n.passes(from, to, f.lane) {
		n.w.count.Cut++
		return
	}
	if to.node == nil || f.to == 0 {
		return
	}
	if pause := to.pausedUntil - n.w.now; pause > 0 {
		// A stopped process reads what came meanwhile when it goes on, as long as its sockets hold it.
		n.w.at(to.pausedUntil+n.w.rng.Int64N(20*millisecond), func() { n.arrive(f) })
		return
	}
	msgs, err := decodeFrame(f)
	if err != nil {
		n.w.violate("frame from %d to %d does not decode: %v", f.from, f.to, err)
		return
	}
	to.heard[f.from] = n.w.now
	n.w.mark('m', f.from, f.to, f.raw)
	to.guard("deliver", func() { to.node.Deliver(f.from, msgs) })
	to.wake()
}
