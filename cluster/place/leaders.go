package place

import (
	"cmp"
	"slices"
)

// Leaders returns who should lead each shard, 0 where no member is eligible: even to within one among the
// eligible nodes wherever the sets allow it (exactly: no other assignment has a smaller sum of squares). Every
// node computes the same from the same map and the same eligible nodes.
//
// Each shard first takes the eligible member it prefers (rendezvous hashing: a change of the nodes or of one set
// changes few of these). Then load flows along chains a -> b -> c, each link a shard that b could lead in place
// of a, from a node to another that leads at least two fewer, until no chain is left. That is the classic
// augmenting path; a chain lowers the sum of squares, so it ends, and where none is left the sum is the least possible.
func Leaders(m *Map, eligible func(id uint64) bool) (leader [Shards]uint64) {
	var ids []uint64
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Member() && eligible(n.ID) {
			ids = append(ids, n.ID)
		}
	}
	f := flow{m: m, ids: ids, n: make([]int, len(ids))}
	for s := range f.lead {
		f.lead[s] = f.first(uint32(s))
		if f.lead[s] >= 0 {
			f.n[f.lead[s]]++
		}
	}
	for f.augment() {
	}
	for s, i := range f.lead {
		if i >= 0 {
			leader[s] = ids[i]
		}
	}
	return leader
}

// flow is an assignment of shards to the nodes ids, by position.
type flow struct {
	m    *Map
	ids  []uint64
	n    []int       // shards led
	lead [Shards]int // position of the leader, -1 nobody
}

// first is the eligible member that the shard prefers, by another throw of the dice than the replicas': the
// members of a set are by choice those with the highest scores.
func (f *flow) first(shard uint32) int {
	best := -1
	for i, id := range f.ids {
		if has(f.m.Replicas[shard], id) && (best < 0 || score(shard+Shards, id) > score(shard+Shards, f.ids[best])) {
			best = i
		}
	}
	return best
}

// augment finds the shortest chain from the fullest node it can to a node that leads at least two fewer, and
// moves one shard along each link. False: there is none.
func (f *flow) augment() bool {
	order := make([]int, len(f.ids))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(f.n[b], f.n[a]) })
	for _, start := range order {
		if f.augmentFrom(start) {
			return true
		}
	}
	return false
}

// augmentFrom searches breadth first.
func (f *flow) augmentFrom(start int) bool {
	from := make([]int, len(f.ids)) // the node before on the chain, -1 not reached
	via := make([]uint32, len(f.ids))
	for i := range from {
		from[i] = -1
	}
	from[start] = start
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		a := queue[0]
		for b := range f.ids {
			if from[b] >= 0 {
				continue
			}
			s, ok := f.link(a, b)
			if !ok {
				continue
			}
			from[b], via[b] = a, s
			if f.n[b]+2 <= f.n[start] {
				f.n[start]--
				f.n[b]++
				for x := b; x != start; x = from[x] {
					f.lead[via[x]] = x
				}
				return true
			}
			queue = append(queue, b)
		}
	}
	return false
}

// link is the shard led by a that b could lead and that prefers b most.
func (f *flow) link(a, b int) (shard uint32, ok bool) {
	best := uint64(0)
	for s := range uint32(Shards) {
		if f.lead[s] != a || !has(f.m.Replicas[s], f.ids[b]) {
			continue
		}
		if sc := score(s+Shards, f.ids[b]); !ok || sc > best {
			shard, best, ok = s, sc, true
		}
	}
	return shard, ok
}
