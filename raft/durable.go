package raft

import "fmt"

// Mark names one submission to the disk: everything to persist in one Ready.
type Mark struct {
	Term, Index uint64 // of the group when the Ready was made: for logs and assertions
	Seq         uint64 // 1, 2, 3 ... per Group; 0: the Ready has nothing to persist
}

// durability knows what is on its way to the disk.
//
// Submissions become durable in the order they were made, so "durable" is one number, doneSeq.
//
// The ABA race: entry 5 of term 1 is submitted; before it is durable a new leader replaces it by 5 of
// term 2, and a third one replaces that by another 5. When the first submission completes, "5 is
// durable" would be a lie about the log as it is now. Therefore each submission on its way
// remembers the last index it makes durable, and a truncation lowers that in all of them: the old
// submissions then vouch only for the prefix they still share with the log. This is exact, which a
// comparison of terms is not: after a mere change of term nothing is forgotten, so nothing has to be
// acknowledged again.
//
// Invariants: flights are the submissions (doneSeq, lastSeq], ascending in seq and never falling in
// index; held is ascending in seq.
type durability struct {
	lastSeq, doneSeq uint64
	flights          queue[flight]
	held             queue[heldMessage]
}

type flight struct{ seq, index uint64 }

// heldMessage may leave once submission seq is durable.
type heldMessage struct {
	seq uint64
	m   Message
}

// truncated lowers what the submissions on their way vouch for.
func (d *durability) truncated(index uint64) {
	for i := d.flights.len() - 1; i >= 0; i-- {
		f := d.flights.at(i)
		if f.index < index {
			return
		}
		f.index = index - 1
	}
}

// dirty: the next Ready has something to persist.
func (g *Group) dirty() bool {
	return g.saveState || g.toInstall != nil || g.log.saved < g.log.last()
}

// sendDurable sends m once everything that is known now is on disk.
func (g *Group) sendDurable(m Message) {
	g.stamp(&m)
	d := &g.durable
	need := d.lastSeq
	if g.dirty() {
		need++
	}
	if need <= d.doneSeq {
		g.msgs = append(g.msgs, m)
		return
	}
	// Several acknowledgements that wait for the same submission are one.
	if n := d.held.len(); n > 0 && m.Type == MsgAppendResp && !m.Reject {
		h := d.held.at(n - 1)
		if h.seq == need && h.m.Type == MsgAppendResp && !h.m.Reject && h.m.To == m.To && h.m.Term == m.Term {
			h.m.Index, h.m.Damaged = max(h.m.Index, m.Index), m.Damaged
			return
		}
	}
	d.held.push(heldMessage{need, m})
}

// Persisted says that the Ready with this mark, and all before it, are durable. Marks that are
// known to be durable already are ignored.
func (g *Group) Persisted(m Mark) {
	d := &g.durable
	if m.Seq > d.lastSeq {
		panic(fmt.Sprintf("raft: group %d: Persisted(%d), but only %d submissions were made: a bug in the shell, report it", g.cfg.Group, m.Seq, d.lastSeq))
	}
	if m.Seq <= d.doneSeq {
		return
	}
	d.doneSeq = m.Seq
	n := 0
	for n < d.flights.len() && d.flights.at(n).seq <= m.Seq {
		g.log.stable = max(g.log.stable, d.flights.at(n).index)
		n++
	}
	d.flights.pop(n)
	g.maybeHeal()
	if g.installSeq != 0 && g.installSeq <= d.doneSeq {
		g.installing, g.installSeq = false, 0
	}

	n = 0
	for n < d.held.len() && d.held.at(n).seq <= m.Seq {
		// What was promised to an older term is of no use to anybody any more.
		if h := d.held.at(n); h.m.Term == g.term {
			h.m.Damaged = h.m.Damaged && g.damaged // it may just have healed
			g.msgs = append(g.msgs, h.m)
		}
		n++
	}
	d.held.pop(n)

	switch {
	case g.role == Candidate && g.voteSeq != 0 && g.voteSeq <= d.doneSeq:
		g.voteDurable()
	case g.role == Leader:
		if self := g.peer(g.cfg.ID); self != nil && self.acknowledged(g.log.stable) {
			g.maybeCommit()
		}
	}
	g.trim()
}
