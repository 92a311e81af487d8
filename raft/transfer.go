package raft

import "fmt"

// Leadership transfer (thesis 3.10): proposals stop, the target gets the rest of the log, and is told
// to campaign at once. Given up after ElectionTicks; until then ErrTransferring answers proposals.
// A transfer promises nothing: the target may lose its election.

// Transfer hands leadership to a voter. To this node itself: a transfer in progress is called off.
func (g *Group) Transfer(to uint64) error {
	switch {
	case g.role != Leader:
		return &NotLeaderError{Leader: g.leader}
	case to == g.cfg.ID:
		g.transferee = 0
		return nil
	case !g.conf().Voter(to):
		return fmt.Errorf("%w: %d is no voter, it cannot lead", ErrInvalidConf, to)
	case g.transferee == to:
		return nil
	}
	g.transferee, g.transferElapsed = to, 0
	if p := g.peer(to); p.match < g.log.last() {
		p.due = true // its answer shows what is missing
		g.sendDue = true
	}
	g.maybeHandOver()
	return nil
}

// maybeHandOver tells the target to campaign once it has the whole log.
func (g *Group) maybeHandOver() {
	if g.transferee == 0 {
		return
	}
	if p := g.peer(g.transferee); p.match == g.log.last() {
		g.send(Message{Type: MsgTimeoutNow, To: p.id})
	}
}

// handleTimeoutNow obeys the leader, and whoever was it in a term in which no other is known.
func (g *Group) handleTimeoutNow(m *Message) {
	if g.role == Follower && (g.leader == m.From || g.leader == 0) && g.promotable() {
		g.campaign(true)
	}
}
