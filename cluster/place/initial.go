package place

import (
	"cmp"
	"slices"
)

// score is how much shard prefers node id (rendezvous hashing): the nodes with the highest scores hold it. Two
// rounds of the finalizer of splitmix64 over both numbers. It decides how clusters are founded, so it is fixed
// for ever, as hashes on disk are; a test pins it.
func score(shard uint32, id uint64) uint64 { return mix(mix(id) ^ uint64(shard)) }

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Initial places the shards on the nodes ids (ascending, not empty) of a new cluster: three replicas each, or as
// many as there are nodes; no node holds more than one replica more than another.
//
// It is rendezvous hashing with bounded load: each shard takes the nodes it prefers, then replicas move from the
// fullest to the emptiest node until none is over. Where the number of nodes changes later, Rebalance goes on from
// the placement there is and moves only what must move; Initial is for the founding.
func Initial(ids []uint64) (sets [Shards][]uint64) {
	order := make([]uint64, len(ids))
	l := newLoads(ids)
	for s := range sets {
		copy(order, ids)
		slices.SortFunc(order, func(a, b uint64) int {
			return cmp.Or(cmp.Compare(score(uint32(s), b), score(uint32(s), a)), cmp.Compare(a, b))
		})
		sets[s] = slices.Clone(order[:min(Replicas, len(order))])
		slices.Sort(sets[s])
		l.add(sets[s], 1)
	}
	for {
		s, from, to, ok := l.spread(&sets, func(uint32) bool { return true })
		if !ok {
			return sets
		}
		sets[s] = with(sets[s], from, to)
		l.moved(from, to)
	}
}

// loads counts replicas per node.
type loads struct {
	ids []uint64 // ascending: the nodes that count
	n   []int
}

func newLoads(ids []uint64) *loads { return &loads{ids: ids, n: make([]int, len(ids))} }

// of returns a node's count; 0 for one that does not count.
func (l *loads) of(id uint64) int {
	if i, ok := slices.BinarySearch(l.ids, id); ok {
		return l.n[i]
	}
	return 0
}

func (l *loads) add(set []uint64, by int) {
	for _, id := range set {
		if i, ok := slices.BinarySearch(l.ids, id); ok {
			l.n[i] += by
		}
	}
}

func (l *loads) moved(from, to uint64) {
	l.add([]uint64{from}, -1)
	l.add([]uint64{to}, 1)
}

// spread finds the next replica to move from a fuller to an emptier node; ok false: the placement is even, or
// what could move may not.
//
// A move needs a difference of two or more, so that the sum of the squares of the counts falls with every move: no
// sequence of moves comes back to where it was, and it ends. It ends even: while node a has more replicas than b,
// some shard is on a and not on b. And it moves the least possible onto a node that joins: only moves to the
// emptiest node are made, and the others, even before, stay within one of each other.
func (l *loads) spread(sets *[Shards][]uint64, movable func(shard uint32) bool) (shard uint32, from, to uint64, ok bool) {
	order := make([]int, len(l.ids))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l.n[a], l.n[b]) })
	for _, b := range order {
		for i := len(order) - 1; i >= 0; i-- {
			a := order[i]
			if l.n[a] < l.n[b]+2 {
				break
			}
			if s, ok := preferred(sets, l.ids[a], l.ids[b], movable); ok {
				return s, l.ids[a], l.ids[b], true
			}
		}
	}
	return 0, 0, 0, false
}

// preferred is the shard on a and not on b that prefers b most.
func preferred(sets *[Shards][]uint64, a, b uint64, movable func(shard uint32) bool) (shard uint32, ok bool) {
	best := uint64(0)
	for s := range uint32(Shards) {
		if !has(sets[s], a) || has(sets[s], b) || !movable(s) {
			continue
		}
		if sc := score(s, b); !ok || sc > best {
			shard, best, ok = s, sc, true
		}
	}
	return shard, ok
}
