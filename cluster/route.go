package cluster

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"fastpaca/cluster/peer"
	"fastpaca/cluster/place"
	"fastpaca/shard"
)

const (
	// forwardWait bounds Forward, Stream and Remote: an election takes about a second, and a client is to have its 503 within
	// three (issue 3).
	forwardWait = 2500 * time.Millisecond
	// repeatWait bounds one attempt of what may be sent again: a leader that was stopped has a successor by then.
	repeatWait = time.Second
	// leastCall is the least time that an attempt is begun with: with less it would rather end as unknown, where an
	// honest "nothing was written" is to be had.
	leastCall = 100 * time.Millisecond
	// callWait bounds the small calls: barriers, decisions, reports.
	callWait = time.Second
	// retryPause is between two looks for a leader, where no change of leader is noticed before: about a round trip and
	// the flush of a vote.
	retryPause = 20 * time.Millisecond
	// awaitLeast is the least that Await waits: this node believes that it leads, and raft does not yet, or no longer.
	awaitLeast = 2 * time.Millisecond
)

// hints remember who led a group when it was found last: a node that is no member of a group hears nothing of its
// elections. A wrong one costs a round trip.
type hints struct {
	leader [place.Group + 1]atomic.Uint64
}

// leaderOf returns the node to send a request for group to: the leader as raft here knows it, or who it was last, or
// somebody who may know, another one with each try. 0: nobody known. ask: more tries, at once, may find somebody: this node is
// no member of the group, and the others may know.
func (n *Node) leaderOf(m *member, group uint32, try int) (id uint64, ask bool) {
	if id, _ := m.store.Leader(group); id != 0 {
		return id, false
	}
	pm := m.machine.picture()
	set := pm.Set(group)
	if slices.Contains(set, m.id) && m.store.Follows(group) {
		return 0, false // who votes for the next leader hears of it first
	}
	if id := n.hints.leader[group].Load(); try == 0 && id != 0 && id != m.id && n.transport.Alive(id) {
		return id, true
	}
	// The map is ahead of the group: who is to go leads until its successor has the log. So when all of the set were asked, every
	// other try is for one of the others.
	if turn := try - len(set); turn > 0 && turn%2 == 1 {
		if id := n.outside(m, pm, set, turn/2); id != 0 {
			return id, false
		}
	}
	for i := range set {
		if id := set[(try+i)%len(set)]; n.transport.Alive(id) {
			return id, try <= len(set)
		}
	}
	return n.outside(m, pm, set, try), false
}

// outside is one of the live members that are not in set, another one with each turn; 0: there are none.
func (n *Node) outside(m *member, pm *place.Map, set []uint64, turn int) uint64 {
	var ids []uint64
	for i := range pm.Nodes {
		x := &pm.Nodes[i]
		if x.Member() && x.ID != m.id && !slices.Contains(set, x.ID) && n.transport.Alive(x.ID) {
			ids = append(ids, x.ID)
		}
	}
	if len(ids) == 0 {
		return 0
	}
	return ids[turn%len(ids)]
}

// Local is httpd.Router: whether a request for the group is served here. Without a cluster it is, and gets unavailable.
func (n *Node) Local(group uint32) bool {
	m := n.member.Load()
	if m == nil {
		return true
	}
	id, _ := m.store.Leader(group)
	return id == m.id
}

// Forward is httpd.Router: it carries req to the leader of the group and appends the answer, without its first byte,
// to dst. CodeNotLeader: this node leads now, serve it here. CodeUnavailable: no leader within the bound, nothing was
// written. CodeOverloaded: too much waits for the leader; nothing was written. CodeTimeout: sent, outcome unknown; with
// again such a request is sent once more instead, as long as there is time, and unknown is true whatever comes of that.
func (n *Node) Forward(group uint32, req, dst []byte, again bool) (_ []byte, _ shard.Code, unknown bool) {
	m := n.member.Load()
	if m == nil {
		return dst, shard.CodeUnavailable, false
	}
	base := len(dst)
	deadline := n.opt.Now().Add(forwardWait)
	var changed <-chan struct{}
	for try := 0; ; try++ {
		left := deadline.Sub(n.opt.Now())
		if left < leastCall || n.ctx.Err() != nil {
			break
		}
		to, ask := n.leaderOf(m, group, try)
		if to == m.id {
			return dst, shard.CodeNotLeader, unknown
		}
		if to != 0 {
			wait := left
			if again {
				wait = min(left, repeatWait)
			}
			answer, err := n.transport.Call(to, KindHTTP, req, dst, wait)
			dst = answer[:base]
			switch {
			case err == nil && len(answer) > base && answer[base] == AnswerDone:
				n.hints.leader[group].Store(to)
				copy(answer[base:], answer[base+1:])
				return answer[:len(answer)-1], shard.CodeOK, unknown
			case err == nil:
				n.hints.leader[group].CompareAndSwap(to, 0)
				if ask {
					continue
				}
			default:
				if code, ends := failed(err, again, unknown); ends {
					return dst, code, unknown
				}
				unknown = unknown || !errors.Is(err, peer.ErrNotSent)
			}
		}
		n.pause(changed, min(left, retryPause))
		changed = m.store.LeaderChanged() // before the next look, so that nothing is missed in between
	}
	if unknown {
		return dst, shard.CodeTimeout, true
	}
	return dst, shard.CodeUnavailable, false
}

// failed says whether an attempt that failed with err is the last, and with what. unknown: an attempt before may have been carried out;
// then nobody may be told that nothing was written.
func failed(err error, again, unknown bool) (code shard.Code, ends bool) {
	switch {
	case errors.Is(err, peer.ErrOverloaded) && !unknown:
		return shard.CodeOverloaded, true
	case errors.Is(err, peer.ErrTooLarge):
		return shard.CodeTooLarge, true
	case errors.Is(err, peer.ErrNotSent):
		return shard.CodeOK, false
	}
	return shard.CodeTimeout, !again
}

// Await is httpd.Router: called after a local CodeNotLeader, it waits for another route, until deadline at most.
// false: time is up.
func (n *Node) Await(group uint32, deadline time.Time) bool {
	m := n.member.Load()
	for try := 0; ; try++ {
		left := deadline.Sub(n.opt.Now())
		if left <= 0 || n.ctx.Err() != nil {
			return false
		}
		if m == nil {
			n.pause(n.joined, min(left, retryPause))
			m = n.member.Load()
			continue
		}
		changed := m.store.LeaderChanged()
		id, _ := n.leaderOf(m, group, try)
		switch {
		case id == m.id && try == 0:
			n.pause(changed, min(left, awaitLeast))
			return true
		case id != 0:
			return true
		}
		n.pause(changed, min(left, retryPause))
	}
}

// Stream is httpd.Router: the context for a stream that is served from the local replica, which by then shows
// every write that was acknowledged before the call. CodeNotLeader: no replica here, use Remote.
func (n *Node) Stream(id []byte) (*shard.Context, shard.Code) {
	m := n.member.Load()
	if m == nil {
		return nil, shard.CodeUnavailable
	}
	if n.departed(m, m.machine.picture()) {
		return nil, shard.CodeUnavailable
	}
	group := shard.Of(id)
	if _, code := m.store.Replica(id); code == shard.CodeUnavailable {
		return nil, shard.CodeNotLeader
	}
	if leader, _ := m.store.Leader(group); leader == 0 && !wanted(m.machine.picture(), group, m.id) {
		return nil, shard.CodeNotLeader // what is left of a replica that has moved away
	}
	deadline := n.opt.Now().Add(forwardWait)
	index, code := n.barrier(m, group, deadline)
	if code != shard.CodeOK {
		return nil, code
	}
	if code := m.store.WaitApplied(group, index, deadline.Sub(n.opt.Now())); code != shard.CodeOK {
		return nil, shard.CodeNotLeader // this replica is behind; another one may not be
	}
	c, code := m.store.Replica(id)
	if code == shard.CodeUnavailable {
		code = shard.CodeNotLeader
	}
	return c, code
}

// barrier gets a read index of the group, from its leader.
func (n *Node) barrier(m *member, group uint32, deadline time.Time) (uint64, shard.Code) {
	var buf [4]byte
	req := binary.LittleEndian.AppendUint32(buf[:0], group)
	for try := 0; ; try++ {
		changed := m.store.LeaderChanged()
		left := deadline.Sub(n.opt.Now())
		if left <= 0 || n.ctx.Err() != nil {
			return 0, shard.CodeUnavailable
		}
		to, ask := n.leaderOf(m, group, try)
		switch to {
		case 0:
		case m.id:
			if index, code := m.store.Barrier(group); code != shard.CodeNotLeader {
				return index, code
			}
		default:
			answer, err := n.transport.Call(to, KindBarrier, req, nil, min(left, callWait))
			if err == nil && len(answer) == barrierSize && shard.Code(answer[0]) == shard.CodeOK {
				n.hints.leader[group].Store(to)
				return binary.LittleEndian.Uint64(answer[1:]), shard.CodeOK
			}
			n.hints.leader[group].CompareAndSwap(to, 0)
			if ask {
				continue
			}
		}
		n.pause(changed, min(left, retryPause))
	}
}

// barrierSize is the length of an answer to KindBarrier.
const barrierSize = 1 + 8
