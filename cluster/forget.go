package cluster

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
)

// A node that is no member of a group any more drops what it holds of it. It does not hear of its own removal - who is out
// gets no more of the log - so it asks the leader, which answers for what is committed, after a round of the quorum: an old
// leader's word is not enough, since a new one may have taken this node in again.
//
// forgetMost bounds the groups dropped per tick. It is not urgent.
const forgetMost = 8

// moveOut drops groups that this node has left.
func (c *coordinator) moveOut(now time.Time, pm *place.Map) {
	if own := pm.Node(c.m.id); own == nil || !own.Member() {
		return
	}
	status := c.m.store.Status()
	done := 0
	for i := range status.Groups {
		g := &status.Groups[i]
		if wanted(pm, g.Shard, c.m.id) || !g.Member && g.Applied == 0 {
			delete(c.out, g.Shard)
			continue
		}
		since, ok := c.out[g.Shard]
		if !ok {
			c.out[g.Shard] = now
		}
		if !ok || now.Sub(since) < c.n.opt.pace.forgetAfter || done == forgetMost {
			continue
		}
		if done++; !c.n.leftGroup(c.m, g.Shard, pm.Version) {
			continue
		}
		if err := c.m.store.Forget(g.Shard); err != nil {
			if !errors.Is(err, shard.ErrClosed) && !errors.Is(err, shard.ErrBusy) {
				c.n.opt.Logf("forget_failed", "group", g.Shard, "error", err.Error())
			}
			continue
		}
		c.n.moves.forgotten.Add(1)
	}
}

// end is what a removed node does: the streams on it, which would never hear of anything again, end with a close frame that sends
// their clients elsewhere. The groups that it still holds stay. They are forgotten on their leaders' word only, and nobody
// talks to a removed node; what is left of it is its operator's.
func (c *coordinator) end() {
	for g := uint32(0); g < place.Shards && !c.ended; g++ {
		if c.m.store.Detach(g) != nil {
			return // it is being closed
		}
	}
	c.ended = true
}

// departed: this node was removed from the cluster, by its own map or by what another node said. Nothing takes that back.
func (n *Node) departed(m *member, pm *place.Map) bool { return n.removed.Load() || pm.Departed(m.id) }

func wanted(pm *place.Map, group uint32, id uint64) bool {
	for _, x := range pm.Set(group) {
		if x == id {
			return true
		}
	}
	return false
}

// leftGroup asks the group's leader whether this node is out for good, as of a map no older than version.
func (n *Node) leftGroup(m *member, group uint32, version uint64) bool {
	req := binary.LittleEndian.AppendUint32(nil, group)
	for _, id := range n.asked(m, group) {
		answer, err := n.transport.Call(id, KindMembers, req, nil, callWait)
		if err == nil && len(answer) >= membersHead && answer[0] == membersKnown {
			return binary.LittleEndian.Uint64(answer[1:]) >= version && !listed(answer[membersHead:], m.id)
		}
	}
	return false
}

// asked is who may lead a group: who leads it as far as known, and its replicas, each once.
func (n *Node) asked(m *member, group uint32) (ids []uint64) {
	if id := n.hints.leader[group].Load(); id != 0 && id != m.id {
		ids = append(ids, id)
	}
	for _, id := range m.machine.picture().Set(group) {
		if id != m.id && !slices.Contains(ids, id) && n.transport.Alive(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// An answer to KindMembers:
//
//	| known u8 | map version u64 | id u64 ... |      known 0: this node does not lead the group, or cannot tell now
const (
	membersKnown = 1
	membersHead  = 1 + 8
)

func listed(ids []byte, id uint64) bool {
	for ; len(ids) >= 8; ids = ids[8:] {
		if binary.LittleEndian.Uint64(ids) == id {
			return true
		}
	}
	return false
}

// serveMembers answers KindMembers: all members of the group's membership, if that is committed and this node leads
// for sure.
func (n *Node) serveMembers(req, dst []byte) []byte {
	m := n.member.Load()
	if m == nil || len(req) != 4 {
		return append(dst, 0)
	}
	group := binary.LittleEndian.Uint32(req)
	version := m.machine.picture().Version
	var st shard.MemberStatus
	m.store.Member(group, &st)
	if st.Role != raft.Leader || !st.ConfCommitted {
		return append(dst, 0)
	}
	// The round comes after the look: whoever led at its end led at the look, in the same term.
	term := st.Term
	if _, code := m.store.Barrier(group); code != shard.CodeOK {
		return append(dst, 0)
	}
	if id, now := m.store.Leader(group); id != m.id || now != term {
		return append(dst, 0)
	}
	dst = binary.LittleEndian.AppendUint64(append(dst, membersKnown), version)
	for _, list := range [...][]uint64{st.Conf.Voters, st.Conf.Outgoing, st.Conf.Learners, st.Conf.LearnersNext} {
		for _, id := range list {
			dst = binary.LittleEndian.AppendUint64(dst, id)
		}
	}
	return dst
}
