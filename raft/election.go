package raft

import "fastpaca/jepsen/planted"

// Elections: pre-vote (thesis 9.6) and check-quorum (thesis 6.2, last part) are always on. Either
// alone lets some partial partition go on for ever.
//
// Invariants:
//   - a node acts as candidate or leader of a term only after {term, vote for itself} is durable, and
//     answers a vote request only after its vote is.
//   - a leader that has not heard from a quorum for ElectionTicks follows.
//   - only a voter of a membership that may still be in force campaigns: the newest that this node
//     knows to be committed, or a later one. That includes a node which is being removed by an entry not
//     yet committed: it may be the only one with that entry, so that nobody else can win (thesis
//     4.2.2). Its own vote counts only if it votes in the newest.
//   - anybody votes, because the one who asks may know a newer membership (thesis 4.2.1).

// promotable: may this node campaign?
func (g *Group) promotable() bool {
	if g.damaged || g.installing {
		return false
	}
	for i := g.confs.len() - 1; i >= 0; i-- {
		r := g.confs.at(i)
		if r.Conf.Voter(g.cfg.ID) {
			return true
		}
		if r.Index <= g.log.commit {
			break
		}
	}
	return false
}

// inLease: this node leads, or heard from its leader less than the shortest election timeout ago.
func (g *Group) inLease() bool {
	return g.leader != 0 && g.electionElapsed < g.cfg.ElectionTicks
}

func (g *Group) drawTimeout() {
	g.electionTimeout = g.cfg.ElectionTicks + int(g.cfg.Rand()%uint64(g.cfg.ElectionTicks))
}

// Campaign starts an election now, by a pre-vote unless this node alone is a quorum (at boot of a
// group of one: the node leads as soon as its vote is durable). No effect on a leader, nor on a node
// that may not campaign.
func (g *Group) Campaign() {
	if g.role != Leader && g.promotable() {
		g.campaign(false)
	}
}

// StepDown makes a leader follow, for a shell whose disk hangs. ForgetLeader makes a follower forget
// its leader, so that it helps an election before its own timeout, for a shell that knows better.
func (g *Group) StepDown() {
	if g.role == Leader {
		g.becomeFollower(g.term, 0)
	}
}

// ForgetLeader: see StepDown.
func (g *Group) ForgetLeader() {
	if g.role == Follower {
		g.leader = 0
	}
}

func (g *Group) campaign(force bool) {
	if g.term >= maxValue {
		return
	}
	if !force && !g.conf().soleVoter(g.cfg.ID) {
		g.becomePreCandidate()
		return
	}
	g.becomeCandidate(force)
}

func (g *Group) becomePreCandidate() {
	g.resetRole(PreCandidate, 0)
	g.voteForSelf()
	g.askVotes(MsgPreVote, g.term+1)
}

// becomeCandidate raises the term and votes for itself. Nothing leaves and nothing is counted before
// that is durable; voteDurable goes on from there.
func (g *Group) becomeCandidate(force bool) {
	g.setTerm(g.term+1, g.cfg.ID)
	g.resetRole(Candidate, 0)
	g.forced = force
	g.voteSeq = g.durable.lastSeq + 1
}

func (g *Group) voteDurable() {
	g.voteSeq = 0
	g.voteForSelf()
	g.askVotes(MsgVote, g.term)
	g.countVotes()
}

func (g *Group) voteForSelf() {
	if p := g.peer(g.cfg.ID); p != nil {
		p.vote = 1
	}
}

func (g *Group) askVotes(t MessageType, term uint64) {
	for i := range g.peers {
		if id := g.peers[i].id; id != g.cfg.ID && g.conf().Voter(id) {
			g.send(Message{Type: t, To: id, Term: term, Index: g.log.last(), LogTerm: g.log.lastTerm(), Force: g.forced && t == MsgVote})
		}
	}
}

// handleVote: m.Term is ours, or later for a pre-vote.
func (g *Group) handleVote(m *Message) {
	pre := m.Type == MsgPreVote
	free := g.vote == m.From || g.vote == 0 && g.leader == 0 || pre && m.Term > g.term
	grant := free && !g.damaged && (g.log.upToDate(m.Index, m.LogTerm) || planted.On(planted.VoteForAnybody))
	if pre {
		// Promises nothing, so it need not wait for the disk.
		r := Message{Type: MsgPreVoteResp, To: m.From, Reject: !grant}
		if grant {
			r.Term = m.Term
		}
		g.send(r)
		return
	}
	if grant {
		g.electionElapsed = 0
		if g.vote != m.From {
			g.setTerm(g.term, m.From)
		}
	}
	if planted.On(planted.VoteBeforeDurable) {
		g.send(Message{Type: MsgVoteResp, To: m.From, Reject: !grant})
		return
	}
	g.sendDurable(Message{Type: MsgVoteResp, To: m.From, Reject: !grant})
}

func (g *Group) handleVoteResp(m *Message) {
	switch {
	case g.role == PreCandidate && m.Type == MsgPreVoteResp && (m.Reject || m.Term == g.term+1):
	case g.role == Candidate && m.Type == MsgVoteResp:
	default:
		return
	}
	p := g.peer(m.From)
	if p == nil || p.vote != 0 {
		return
	}
	p.vote = 1
	if m.Reject {
		p.vote = -1
	}
	g.countVotes()
}

func (g *Group) countVotes() {
	switch g.conf().quorumVote(func(id uint64) int8 { return g.peer(id).vote }) {
	case voteWon:
		if g.role == PreCandidate {
			g.becomeCandidate(false)
		} else {
			g.becomeLeader()
		}
	case voteLost:
		g.becomeFollower(g.term, 0)
	}
}

// setTerm changes what must be durable before the next promise.
func (g *Group) setTerm(term, vote uint64) {
	g.term, g.vote = term, vote
	g.saveState = true
}

func (g *Group) becomeFollower(term, leader uint64) {
	if term != g.term {
		g.setTerm(term, 0)
	}
	g.resetRole(Follower, leader)
}

// resetRole starts a role with everything forgotten that belongs to the one before.
func (g *Group) resetRole(r Role, leader uint64) {
	if g.role == Leader {
		g.dropReads()
	}
	g.role, g.leader = r, leader
	g.electionElapsed, g.heartbeatElapsed = 0, 0
	g.drawTimeout()
	g.voteSeq, g.forced = 0, false
	g.transferee, g.uncommitted = 0, 0
	for i := range g.peers {
		g.peers[i].restart(g.log.last())
	}
}

// becomeLeader appends the entry without which nothing of earlier terms is known to be committed
// (paper 5.4.2) and no read may be answered (thesis 6.4).
func (g *Group) becomeLeader() {
	g.resetRole(Leader, g.cfg.ID)
	for i := g.log.commit + 1; i <= g.log.last(); i++ {
		g.uncommitted += g.log.entry(i).size()
	}
	if self := g.peer(g.cfg.ID); self != nil {
		self.become(stateReplicate)
		self.match = g.log.stable
	}
	g.appendOwn(KindNoop, nil)
}

func (g *Group) tickLeader() {
	g.ticks++
	g.heartbeatElapsed++
	g.electionElapsed++
	if g.transferElapsed++; g.transferElapsed >= g.cfg.ElectionTicks {
		g.transferee = 0 // it took too long: take proposals again
	}
	if g.electionElapsed >= g.cfg.ElectionTicks {
		g.electionElapsed = 0
		if !g.quorumActive() {
			g.becomeFollower(g.term, 0)
			return
		}
	}
	if g.heartbeatElapsed >= g.cfg.HeartbeatTicks {
		g.heartbeatElapsed = 0
		for i := range g.peers {
			g.peers[i].recheck = true
		}
		g.heartbeat(g.awaited())
	}
}

// Beat brings a leader's next periodic heartbeats forward to the next Tick, for a shell with many groups: heartbeats that leave
// together cost little more than one. They never come later than without it, since HeartbeatTicks after the last ones they go
// by themselves. No effect on others.
func (g *Group) Beat() {
	if g.role == Leader {
		g.heartbeatElapsed = g.cfg.HeartbeatTicks
	}
}

// quorumActive asks whether a quorum was heard from since the last time.
func (g *Group) quorumActive() bool {
	return g.conf().quorumVote(func(id uint64) int8 {
		if g.active(g.peer(id)) {
			return 1
		}
		return -1
	}) == voteWon
}

// hear notes a sign of life of p.
func (g *Group) hear(p *progress) { p.heard = g.ticks + 1 }

// active: p was heard of within the last ElectionTicks, or is this node. The window moves with each tick: one that began anew with every
// period would show everybody as gone at its beginning, until the next answers are there.
func (g *Group) active(p *progress) bool {
	return p.id == g.cfg.ID || p.heard != 0 && g.ticks+1-p.heard <= uint64(g.cfg.ElectionTicks)
}
