package raft

import (
	"fmt"
	"slices"

	"fastpaca/jepsen/planted"
)

// Membership changes (thesis chapter 4).
//
// There is one record of membership: the log. An entry of KindConf holds a whole Conf, and the newest
// such entry in the log is in force, committed or not, from the moment it is appended (thesis 4.1);
// Group.confs is nothing but an index of those entries, back to the newest snapshot's. A truncation
// removes records together with their entries, which is all there is to rolling back.
//
// Why that is safe: two memberships that follow each other in a log always have overlapping
// quorums - they differ by at most one voter, or one of them is joint and contains the other as a
// half - and a leader appends the next one only when (a) the newest is committed, so that no two steps
// are ever open at once, and (b) it has committed an entry of its own term. Without (b) two leaders
// could start from the same committed membership, each adding a different uncommitted one, whose
// quorums need not overlap (the bug of single-server changes published in 2015). With (b) the
// second leader's committed entry makes the first one's uncommitted membership impossible to elect from.
//
// Applying at append rather than at commit has no window in which a node has seen a change
// commit but does not act on it, so two nodes of which one is removed cannot wedge.

// ChangeKind is what a Change does.
type ChangeKind uint8

const (
	AddVoter   ChangeKind = iota // also promotes a learner
	AddLearner                   // also demotes a voter
	RemoveNode
)

// Change is one step of a ConfChange.
type Change struct {
	Kind ChangeKind
	ID   uint64
}

// ConfChange is a set of changes that happen together. More than one voter at a time, or Joint, goes
// through a joint membership, which the leader leaves by itself unless Stay. No changes at all:
// leave the joint membership.
type ConfChange struct {
	Changes []Change
	Joint   bool
	Stay    bool
}

// ProposeConf appends the membership that cc makes of the newest one; it is in force at once and
// permanent when the entry is committed. Errors: *NotLeaderError, ErrTransferring, ErrConfPending,
// ErrInvalidConf.
func (g *Group) ProposeConf(cc ConfChange) (index, term uint64, err error) {
	switch {
	case g.role != Leader:
		return 0, 0, &NotLeaderError{Leader: g.leader}
	case g.transferee != 0:
		return 0, 0, ErrTransferring
	case !g.committedInTerm() && !planted.On(planted.ConfBeforeTermCommit) || g.confs.at(g.confs.len()-1).Index > g.log.commit:
		return 0, 0, ErrConfPending
	}
	next, err := g.conf().next(cc)
	if err != nil {
		return 0, 0, err
	}
	g.appendConf(&next)
	return g.log.last(), g.term, nil
}

// next computes the membership after cc.
func (c *Conf) next(cc ConfChange) (Conf, error) {
	if len(cc.Changes) == 0 {
		if !c.Joint() {
			return Conf{}, fmt.Errorf("%w: not joint, nothing to leave", ErrInvalidConf)
		}
		return c.left(), nil
	}
	if c.Joint() {
		return Conf{}, fmt.Errorf("%w: leave the joint membership first", ErrConfPending)
	}
	n := c.Clone()
	for _, ch := range cc.Changes {
		if err := n.change(c, ch); err != nil {
			return Conf{}, err
		}
	}
	switch {
	case len(n.Voters) == 0:
		return Conf{}, fmt.Errorf("%w: no voters left", ErrInvalidConf)
	case n.Equal(c):
		return Conf{}, fmt.Errorf("%w: nothing would change", ErrInvalidConf)
	}
	if cc.Joint || cc.Stay || votersChanged(c.Voters, n.Voters) > 1 && !planted.On(planted.ConfWithoutJoint) {
		n.Outgoing = slices.Clone(c.Voters)
		n.AutoLeave = !cc.Stay
		// A voter of the old half cannot be a learner yet.
		for _, id := range n.Learners {
			if has(n.Outgoing, id) {
				n.LearnersNext = insert(n.LearnersNext, id)
			}
		}
		for _, id := range n.LearnersNext {
			n.Learners = remove(n.Learners, id)
		}
	}
	return n, n.Validate()
}

func (c *Conf) change(old *Conf, ch Change) error {
	if ch.ID == 0 {
		return fmt.Errorf("%w: node 0", ErrInvalidConf)
	}
	switch ch.Kind {
	case AddVoter:
		c.Learners = remove(c.Learners, ch.ID)
		c.Voters = insert(c.Voters, ch.ID)
	case AddLearner:
		c.Voters = remove(c.Voters, ch.ID)
		c.Learners = insert(c.Learners, ch.ID)
	case RemoveNode:
		if !old.Member(ch.ID) {
			return fmt.Errorf("%w: %d is no member", ErrInvalidConf, ch.ID)
		}
		c.Voters = remove(c.Voters, ch.ID)
		c.Learners = remove(c.Learners, ch.ID)
	default:
		return fmt.Errorf("%w: unknown change", ErrInvalidConf)
	}
	return nil
}

// left is the membership after a joint one.
func (c *Conf) left() Conf {
	n := c.Clone()
	for _, id := range n.LearnersNext {
		n.Learners = insert(n.Learners, id)
	}
	n.Outgoing, n.LearnersNext, n.AutoLeave = nil, nil, false
	return n
}

// votersChanged counts the nodes that are in one list only.
func votersChanged(a, b []uint64) int {
	n := 0
	for _, id := range a {
		if !has(b, id) {
			n++
		}
	}
	for _, id := range b {
		if !has(a, id) {
			n++
		}
	}
	return n
}

func (g *Group) appendConf(c *Conf) {
	g.appendOwn(KindConf, AppendConf(nil, c))
	// The quorum may be smaller now.
	g.confirmReads()
	g.maybeCommit()
}

// restoreConfs derives the memberships from what recovery found.
func (g *Group) restoreConfs(st *Restored) error {
	g.confs.push(ConfRecord{Index: st.Snapshot.Index, Conf: st.Snapshot.Conf.Clone()})
	for _, r := range st.Confs {
		if r.Index <= g.confs.at(g.confs.len()-1).Index || r.Index >= g.log.first {
			return fmt.Errorf("raft: group %d: membership record at %d is out of order", g.cfg.Group, r.Index)
		}
		if err := r.Conf.Validate(); err != nil {
			return fmt.Errorf("raft: group %d: membership record at %d: %w", g.cfg.Group, r.Index, err)
		}
		g.confs.push(ConfRecord{Index: r.Index, Conf: r.Conf.Clone()})
	}
	for _, e := range g.log.entries.all() {
		if e.Kind != KindConf {
			continue
		}
		c, err := DecodeConf(e.Data)
		if err != nil {
			return fmt.Errorf("raft: group %d: entry %d: %w", g.cfg.Group, e.Index, err)
		}
		g.confs.push(ConfRecord{Index: e.Index, Conf: c})
	}
	return nil
}

// confAppended puts the membership of a new entry in force.
func (g *Group) confAppended(e *Entry) {
	c, err := DecodeConf(e.Data)
	if err != nil {
		panicf("raft: group %d: entry %d: %v: a bug in this package (messages are validated), report it", g.cfg.Group, e.Index, err)
	}
	g.confs.push(ConfRecord{Index: e.Index, Conf: c})
	g.rebuildPeers()
}

// confTruncated rolls back to the membership before index.
func (g *Group) confTruncated(index uint64) {
	n := g.confs.len()
	for n > 1 && g.confs.at(n-1).Index >= index {
		n--
	}
	if n < g.confs.len() {
		g.confs.keep(n)
		g.rebuildPeers()
	}
}

// confCommitted is called by a leader whose commit index moved: it leaves a joint membership, and
// steps down when it is no longer part of the newest one (thesis 4.2.2).
func (g *Group) confCommitted() {
	r := g.confs.at(g.confs.len() - 1)
	if r.Index > g.log.commit {
		return
	}
	if r.Conf.Joint() {
		if r.Conf.AutoLeave {
			n := r.Conf.left()
			g.appendConf(&n)
		}
		return
	}
	if !r.Conf.Voter(g.cfg.ID) {
		g.abdicate()
	}
}

// abdicate follows, after telling the voter that has most to campaign, so that the others need not
// wait for their timeouts. The usual voting rules decide.
func (g *Group) abdicate() {
	best := -1
	for i := range g.peers {
		if p := &g.peers[i]; g.conf().Voter(p.id) && (best < 0 || p.match > g.peers[best].match) {
			best = i
		}
	}
	if best >= 0 {
		g.send(Message{Type: MsgTimeoutNow, To: g.peers[best].id})
	}
	g.becomeFollower(g.term, 0)
}

// rebuildPeers makes peers the members of the newest membership, keeping what is known of those that
// stay. Somebody new counts as heard of: it gets one election timeout to show up. It has been a member before, perhaps.
func (g *Group) rebuildPeers() {
	c := g.conf()
	var list []uint64
	for _, l := range [...][]uint64{c.Voters, c.Outgoing, c.Learners} {
		for _, id := range l {
			list = insert(list, id)
		}
	}
	peers := make([]progress, 0, len(list))
	for _, id := range list {
		if p := g.peer(id); p != nil {
			peers = append(peers, *p)
			continue
		}
		p := progress{id: id}
		p.restart(g.log.last())
		g.hear(&p)
		if g.role == Leader && id != g.cfg.ID {
			g.suspect(&p)
		}
		peers = append(peers, p)
	}
	g.peers = peers
	g.sole, g.in = c.soleVoter(g.cfg.ID), c.Member(g.cfg.ID)
	if g.transferee != 0 && !c.Voter(g.transferee) {
		g.transferee = 0
	}
}
