package shard

import "fastpaca/raft"

// Deliver takes messages that node from sent; connection readers call it. The messages and their Entries slices are
// copied; the entries' Data is kept and must never change. What finds no room is dropped, and raft sends it again.
func (n *Node) Deliver(from uint64, msgs []raft.Message) {
	for i := range msgs {
		m := &msgs[i]
		// A snapshot comes by ReceiveSnapshot, together with its bytes.
		if m.From != from || n.group(m.Group) == nil || m.Type == raft.MsgSnapshot {
			n.stats.invalid.Add(1)
		}
	}
	for i, l := range n.loops {
		mine := func(m *raft.Message) bool {
			return int(m.Group)%len(n.loops) == i && m.From == from && n.group(m.Group) != nil && m.Type != raft.MsgSnapshot
		}
		if dropped := l.box.deliver(msgs, mine); dropped > 0 {
			n.stats.dropped.Add(uint64(dropped))
		}
	}
}

// Unreachable says that a connection to node id was lost, and what was on its way there with it: the groups that this
// node leads find out again where id's log ends.
func (n *Node) Unreachable(id uint64) {
	for _, l := range n.loops {
		l.box.do(func() {
			for _, g := range l.groups {
				g.raft.ReportUnreachable(id)
				l.touch(g)
			}
		})
	}
}

// campaignSpread is the number of ticks over which campaigns for the groups of a dead node are spread, so that its two
// followers seldom ask at once. Two of them in one tick cost an election timeout.
const campaignSpread = 4

// PeerDown says that the process of node id is gone for sure (its machine refused a connection). The groups that it led
// need not wait for their election timeouts.
func (n *Node) PeerDown(id uint64) {
	for _, l := range n.loops {
		l.box.do(func() {
			for _, g := range l.groups {
				g.raft.ReportUnreachable(id)
				if g.raft.Leader() == id && !g.stopped {
					g.raft.ForgetLeader()
					g.campaignAt = l.now + 1 + int64(n.opt.Rand()%campaignSpread)
				}
				l.touch(g)
			}
		})
	}
}

// group returns the group with this id, or nil.
func (n *Node) group(id uint32) *group {
	if int(id) >= len(n.groups) {
		return nil
	}
	return n.groups[id]
}
