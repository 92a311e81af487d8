package cluster

import (
	"context"

	"fastpaca/cluster/place"
	"fastpaca/shard"
)

// handOverPause is between two looks at what is still led here: about what an election by transfer takes.
const handOverPause = retryPause

// HandOver gives the leaderships of this node to others, until ctx ends at most: those that are left then, their groups
// elect anew after some ticks. Call it before the listener closes. Leaderships that come back, because the others do not
// know that this node leaves, are handed over again until Close.
func (n *Node) HandOver(ctx context.Context) {
	n.leaving.Store(true)
	m := n.member.Load()
	if m == nil {
		return
	}
	for ctx.Err() == nil && n.ctx.Err() == nil && n.handOver(m) > 0 {
		n.pause(ctx.Done(), handOverPause)
	}
}

// handOver starts to hand over what can be, and returns how many groups that are.
func (n *Node) handOver(m *member) (left int) {
	var st shard.MemberStatus
	for g := range uint32(place.Group + 1) {
		if id, _ := m.store.Leader(g); id != m.id {
			continue
		}
		m.store.Member(g, &st)
		to := successor(&st, m.id)
		if to == 0 {
			continue
		}
		left++
		// Refused: the next look shows why, or that it is led elsewhere.
		if st.Transferee == 0 && m.store.Transfer(g, to) == nil {
			n.moves.transfers.Add(1)
		}
	}
	return left
}

// successor is the voter besides self that has most of the log; 0: none is alive and close.
func successor(st *shard.MemberStatus, self uint64) (best uint64) {
	match := uint64(0)
	for i := range st.Peers {
		if p := &st.Peers[i]; p.ID != self && p.Match >= match && caughtUp(st, p.ID) {
			best, match = p.ID, p.Match
		}
	}
	return best
}
