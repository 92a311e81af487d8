package shard

import "sync/atomic"

// table finds contexts by id: open addressing with linear probing over atomic pointers. One goroutine
// writes, any number read without a lock. Contexts are never removed (a tombstone is a state), so a
// probe that meets an empty slot is final. Growing builds a new array and publishes it; readers of the
// old one miss only contexts that were added after they started, which is as if they had come earlier.
type table struct {
	slots atomic.Pointer[[]atomic.Pointer[Context]]
	n     int // writer only
}

const tableMin = 8

// shardBits are spent on choosing the shard, hence equal within a table.
const shardBits = 8

func (t *table) lookup(id []byte, hash uint64) *Context {
	p := t.slots.Load()
	if p == nil {
		return nil
	}
	slots := *p
	mask := uint64(len(slots) - 1)
	for i := hash >> shardBits & mask; ; i = (i + 1) & mask {
		c := slots[i].Load()
		if c == nil || c.hash == hash && c.id == string(id) {
			return c
		}
	}
}

// insert adds c, whose id must not be in the table.
func (t *table) insert(c *Context) {
	p := t.slots.Load()
	if p == nil || t.n >= len(*p)/4*3 {
		size := tableMin
		if p != nil {
			size = len(*p) * 2
		}
		grown := make([]atomic.Pointer[Context], size)
		if p != nil {
			for i := range *p {
				if old := (*p)[i].Load(); old != nil {
					place(grown, old)
				}
			}
		}
		place(grown, c)
		t.slots.Store(&grown)
	} else {
		place(*p, c)
	}
	t.n++
}

func place(slots []atomic.Pointer[Context], c *Context) {
	mask := uint64(len(slots) - 1)
	i := c.hash >> shardBits & mask
	for slots[i].Load() != nil {
		i = (i + 1) & mask
	}
	slots[i].Store(c)
}
