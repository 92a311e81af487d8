package shard

import "sync/atomic"

// table finds the ordinals of contexts by the hash of their ids: open addressing with linear probing over atomic words.
// One goroutine writes, any number read without a lock. Contexts are never removed (a tombstone is a state, and one
// whose state lies on disk keeps its place), so a probe that meets an empty slot is final. Growing builds a new array and
// publishes it; readers of the old one miss only contexts that were added after they started, which is as if they had
// come earlier.
//
// A slot holds the upper half of the hash, which the place in the table does not depend on before it has 2^24 slots, and
// the ordinal plus one; 0 is empty. Pointers to contexts stay out of it: a million contexts that are on disk are eight
// bytes each here, which the garbage collector does not look at.
type table struct {
	slots atomic.Pointer[[]atomic.Uint64]
	n     int // writer only
}

const tableMin = 8

// shardBits are spent on choosing the shard, hence equal within a table.
const shardBits = 8

// probe walks over the ordinals whose hash may be the one looked for.
type probe struct {
	slots []atomic.Uint64
	tag   uint64
	i     uint64
}

func (t *table) probe(hash uint64) probe {
	p := t.slots.Load()
	if p == nil {
		return probe{}
	}
	return probe{slots: *p, tag: hash >> 32, i: hash >> shardBits}
}

// next returns the next candidate. False: there are no more.
func (p *probe) next() (ordinal uint32, ok bool) {
	if len(p.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(p.slots) - 1)
	for {
		word := p.slots[p.i&mask].Load()
		if word == 0 {
			return 0, false
		}
		p.i++
		if word>>32 == p.tag {
			return uint32(word) - 1, true
		}
	}
}

// insert adds an ordinal. hashOf tells the hash of every ordinal in the table, for when it grows.
func (t *table) insert(ordinal uint32, hash uint64, hashOf func(ordinal uint32) uint64) {
	p := t.slots.Load()
	if p == nil || t.n >= len(*p)/4*3 {
		size := tableMin
		if p != nil {
			size = len(*p) * 2
		}
		grown := make([]atomic.Uint64, size)
		if p != nil {
			for i := range *p {
				if word := (*p)[i].Load(); word != 0 {
					old := uint32(word) - 1
					sit(grown, old, hashOf(old))
				}
			}
		}
		sit(grown, ordinal, hash)
		t.slots.Store(&grown)
	} else {
		sit(*p, ordinal, hash)
	}
	t.n++
}

func sit(slots []atomic.Uint64, ordinal uint32, hash uint64) {
	mask := uint64(len(slots) - 1)
	i := hash >> shardBits & mask
	for slots[i].Load() != 0 {
		i = (i + 1) & mask
	}
	slots[i].Store(hash>>32<<32 | uint64(ordinal+1))
}
