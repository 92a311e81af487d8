package shard

import "fastpaca/raft"

// MemberStatus is where one group stands on this node. Member fills it and reuses its memory.
type MemberStatus struct {
	Group     uint32
	ID        uint64 // this node
	Role      raft.Role
	Leader    uint64 // 0: unknown
	Term      uint64
	Commit    uint64
	Applied   uint64
	Last      uint64 // end of the log
	Snapshot  uint64 // index of the newest durable snapshot
	Conf      raft.Conf
	ConfIndex uint64 // of the entry that put Conf in force
	// ConfCommitted: Conf is permanent. While it is not, ProposeConf answers raft.ErrConfPending.
	ConfCommitted bool
	Transferee    uint64            // leadership is being handed to it; 0: to nobody
	Peers         []raft.PeerStatus // all members, this node included, by id; only where this node leads
	Stopped       bool              // the group diverged (raft.ErrDiverged) and takes part in nothing any more
}

// Member fills dst with where group stands on this node. It asks the group's loop: not for hot paths.
func (n *Node) Member(group uint32, dst *MemberStatus) {
	g := n.group(group)
	if g == nil {
		*dst = MemberStatus{Group: group, ID: n.opt.ID, Peers: dst.Peers[:0]}
		return
	}
	_ = g.loop.call(func() { g.status(dst) })
}

// Members calls visit with the status of every group of this node, in the order of their loops; the value is valid
// during the call only. It asks each loop once.
func (n *Node) Members(visit func(*MemberStatus)) {
	var st MemberStatus
	for _, l := range n.loops {
		_ = l.call(func() {
			for _, g := range l.groups {
				g.status(&st)
				visit(&st)
			}
		})
	}
}

func (g *group) status(dst *MemberStatus) {
	s := g.raft.Status()
	*dst = MemberStatus{
		Group: g.id, ID: s.ID, Role: s.Role, Leader: s.Leader, Term: s.Term,
		Commit: s.Commit, Applied: g.applied, Last: s.Last, Snapshot: s.SnapshotIndex,
		Conf: g.raft.Conf(), ConfIndex: s.ConfIndex, ConfCommitted: s.ConfCommitted,
		Transferee: s.Transferee, Peers: g.raft.Peers(dst.Peers[:0]), Stopped: g.stopped,
	}
}

// ProposeConf changes the membership of group id, this node leads. It returns when the change is in this node's log,
// where it is in force at once; Member says when it is committed. Errors are those of raft.Group.ProposeConf, or
// ErrClosed; nothing was changed then.
func (n *Node) ProposeConf(id uint32, cc raft.ConfChange) error {
	return n.lead(id, func(g *group) error {
		_, _, err := g.raft.ProposeConf(cc)
		return err
	})
}

// Transfer hands the leadership of group id, which this node must lead, to another voter. It returns when that has begun; it
// promises nothing.
func (n *Node) Transfer(id uint32, to uint64) error {
	return n.lead(id, func(g *group) error { return g.raft.Transfer(to) })
}

// lead runs f on the loop of group id.
func (n *Node) lead(id uint32, f func(*group) error) (err error) {
	g := n.group(id)
	if g == nil {
		return &raft.NotLeaderError{}
	}
	closed := g.loop.call(func() {
		if g.stopped {
			err = &raft.NotLeaderError{}
			return
		}
		err = f(g)
		g.loop.touch(g)
	})
	if closed != nil {
		return closed
	}
	return err
}
