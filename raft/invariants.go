package raft

import "fmt"

// panicf stops the process: a rule of this package does not hold any more, and going on could lose
// what was acknowledged.
func panicf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Check verifies the invariants stated in this package's comments that one node can see, and
// returns the first one that does not hold. For tests and simulators: it costs O(log in memory).
func (g *Group) Check() error {
	l := &g.log
	fail := func(format string, args ...any) error {
		return fmt.Errorf("raft: group %d node %d: invariant: "+format, append([]any{g.cfg.Group, g.cfg.ID}, args...)...)
	}
	last := l.last()
	switch {
	case !(l.applied <= l.handed && l.handed <= l.commit && l.commit <= last):
		return fail("applied %d <= handed %d <= commit %d <= last %d", l.applied, l.handed, l.commit, last)
	case !(l.stable <= l.saved && l.saved <= last):
		return fail("stable %d <= saved %d <= last %d", l.stable, l.saved, last)
	case l.snapIndex > l.handed:
		return fail("snapshot %d <= handed %d", l.snapIndex, l.handed)
	case !g.installing && l.first-1 > l.stable:
		return fail("first-1 %d <= stable %d", l.first-1, l.stable)
	case l.lastTerm() > g.term:
		return fail("last entry's term %d <= term %d", l.lastTerm(), g.term)
	case g.durable.doneSeq+uint64(g.durable.flights.len()) != g.durable.lastSeq:
		return fail("%d submissions on their way between %d and %d", g.durable.flights.len(), g.durable.doneSeq, g.durable.lastSeq)
	}
	base, conf := g.confs.at(0).Index, 1 // older ones were dropped with the snapshot
	for conf < g.confs.len() && g.confs.at(conf).Index < l.first {
		conf++
	}
	term := l.prevTerm
	for i, e := range l.entries.all() {
		if e.Index != l.first+uint64(i) || e.Term < term {
			return fail("entry (%d, term %d) at place %d after term %d", e.Index, e.Term, i, term)
		}
		term = e.Term
		if e.Kind == KindConf && e.Index > base {
			if conf >= g.confs.len() || g.confs.at(conf).Index != e.Index {
				return fail("membership of entry %d is not in the records", e.Index)
			}
			conf++
		}
	}
	if conf != g.confs.len() {
		return fail("membership record %d has no entry", g.confs.at(conf).Index)
	}
	index := uint64(0)
	for _, f := range g.durable.flights.all() {
		if f.index < index || f.index > last {
			return fail("submission %d vouches for %d", f.seq, f.index)
		}
		index = f.index
	}
	return g.checkLeader(fail)
}

func (g *Group) checkLeader(fail func(string, ...any) error) error {
	if g.role != Leader {
		return nil
	}
	l := &g.log
	if g.leader != g.cfg.ID {
		return fail("a leader knows that it leads, not %d", g.leader)
	}
	bytes := 0
	for i := l.commit + 1; i <= l.last(); i++ {
		bytes += l.entry(i).size()
	}
	if bytes != g.uncommitted {
		return fail("uncommitted %d bytes, counted %d", bytes, g.uncommitted)
	}
	for i := range g.peers {
		p := &g.peers[i]
		if p.match >= p.next || p.match > l.last() || p.next > l.last()+1 && p.state != stateSnapshot {
			return fail("peer %d: match %d < next %d, last %d", p.id, p.match, p.next, l.last())
		}
		if p.id == g.cfg.ID {
			if p.match != l.stable {
				return fail("own match %d is the stable index %d", p.match, l.stable)
			}
			continue
		}
		if p.damaged != (p.proof > 0) || p.proof > g.reads.last {
			return fail("peer %d: damaged %v until round %d, the newest is %d", p.id, p.damaged, p.proof, g.reads.last)
		}
		if p.state != stateReplicate && (p.inflight.len() > 0 || p.bytes != 0) {
			return fail("peer %d: in flight in state %s", p.id, p.state)
		}
		sum := 0
		at := p.match
		for _, f := range p.inflight.all() {
			if f.last <= at || f.last >= p.next {
				return fail("peer %d: in flight %d not in (%d, %d)", p.id, f.last, at, p.next)
			}
			at = f.last
			sum += f.bytes
		}
		if sum != p.bytes {
			return fail("peer %d: %d bytes in flight, counted %d", p.id, p.bytes, sum)
		}
	}
	return nil
}
