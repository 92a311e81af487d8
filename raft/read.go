package raft

import "fastpaca/jepsen/planted"

// Linearizable reads (thesis 6.4).
//
// A read may be answered from the state at index i if i was at least the commit index when the read
// arrived, and this node was still the leader at some moment after that. The second is shown by a
// round: a number that the leader itself counts up, carried on heartbeats and echoed. An echo of round
// r proves that the echoing node had not moved to a later term after r was opened; a quorum of
// echoes of r or any later round proves that no later leader existed when r was opened.
//
// Invariants:
//   - rounds are never reused in the life of a Group, and never named by anybody else: an echo that is
//     late or comes twice can only confirm what it really confirms (etcd issue 20418 was the
//     opposite). Echoes of earlier leaderships carry an older term and are dropped before they get here.
//   - per peer only the largest echoed round counts.
//   - no round that reads have joined is sent before an entry of the current term is committed: until then the
//     leader does not know the commit index (thesis 6.4, step 1). Those of Group.suspect, which nobody joins, are.
type reads struct {
	last    uint64 // newest round opened
	open    uint64 // round that callers join at present, 0 none; not sent yet
	sent    uint64 // newest round sent in this leadership, or by the next heartbeat; 0 none
	pending queue[ReadState]
	out     queue[ReadState]
}

// ReadState is the outcome of a round: reads that joined it may be answered once the state machine
// has applied Index. Lost: leadership ended; all rounds up to Round that were not answered fail.
type ReadState struct {
	Round, Index uint64
	Lost         bool
}

// maxRounds bounds the rounds in flight; further reads gather in the one that is open.
const maxRounds = 16

func (r *reads) hasOutput() bool { return r.out.len() > 0 }

// ReadIndex joins the next read round. Its outcome is a ReadState with that round in a later Ready.
// ready: there is nothing to wait for, the read may be answered once Commit() is applied (a sole
// voter needs no round, but needs to have committed an entry of its term).
func (g *Group) ReadIndex() (round uint64, ready bool, err error) {
	if g.role != Leader {
		return 0, false, &NotLeaderError{Leader: g.leader}
	}
	if g.conf().soleVoter(g.cfg.ID) && g.committedInTerm() || planted.On(planted.ReadWithoutRound) {
		return 0, true, nil
	}
	r := &g.reads
	if r.open == 0 {
		r.last++
		r.open = r.last
	}
	g.sendDue = true
	return r.open, false, nil
}

// committedInTerm: an entry of the current term is committed, so commit is no older than that of any
// leader before.
func (g *Group) committedInTerm() bool {
	t, ok := g.log.term(g.log.commit)
	return ok && t == g.term
}

// openRound sends the open round if it may be sent. The index is taken here, not when reads joined:
// later is as good.
func (g *Group) openRound() {
	r := &g.reads
	if g.role != Leader || r.open == 0 || r.pending.len() >= maxRounds ||
		!g.committedInTerm() && !planted.On(planted.ReadBeforeTermCommit) {
		return
	}
	r.pending.push(ReadState{Round: r.open, Index: g.log.commit})
	r.sent, r.open = r.open, 0
	if g.conf().soleVoter(g.cfg.ID) {
		g.confirmReads()
		return
	}
	g.heartbeat(r.sent)
}

// awaited is the round that periodic heartbeats carry, in case an earlier one was lost: the newest sent while somebody waits for
// its echo, 0 otherwise. So followers can tell an answer that somebody waits for from one that says no more than that they live.
func (g *Group) awaited() uint64 {
	waits := g.reads.pending.len() > 0
	for i := range g.peers {
		waits = waits || g.peers[i].proof != 0
	}
	if !waits {
		return 0
	}
	return g.reads.sent
}

// confirmReads answers all rounds that a quorum has echoed.
func (g *Group) confirmReads() {
	r := &g.reads
	confirmed := g.conf().quorumIndex(func(id uint64) uint64 {
		if id == g.cfg.ID {
			return r.sent
		}
		return g.peer(id).round
	})
	n := 0
	for n < r.pending.len() && r.pending.at(n).Round <= confirmed {
		r.out.push(*r.pending.at(n))
		n++
	}
	r.pending.pop(n)
	if n > 0 && r.open != 0 {
		g.sendDue = true
	}
}

// dropReads fails everything that has joined a round and is not answered.
func (g *Group) dropReads() {
	r := &g.reads
	if r.open != 0 || r.pending.len() > 0 {
		r.out.push(ReadState{Round: r.last, Lost: true})
	}
	r.open, r.sent = 0, 0
	r.pending.keep(0)
}
