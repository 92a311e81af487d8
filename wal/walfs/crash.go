package walfs

import (
	"math/rand/v2"
	"slices"
)

// CrashOptions choose what a crash does to what was not synced.
type CrashOptions struct {
	// Keep is the share, 0 to 100, of unsynced blocks and changes of names that survive. 0 loses all,
	// 100 keeps all (a process that died on a machine that did not).
	Keep int
	// Tear is the share of the lost blocks that are torn: sectors of them are old, new or garbage.
	Tear int
	// WholeBlocks lets a torn block lose bytes that were not written, durable ones included: a device
	// without power-safe overwrite. Otherwise only bytes inside written ranges change.
	WholeBlocks bool
}

// Crash returns what power loss leaves: a new file system on which only the durable is certain. m is not
// changed, and files open on it go on working on it. rng is the only source of chance.
func (m *Mem) Crash(rng *rand.Rand, o CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make(map[string]*inode, len(m.durable))
	for name, n := range m.durable {
		names[name] = n
	}
	for _, c := range m.pending {
		if rng.IntN(100) < o.Keep {
			c.apply(names)
		}
	}
	out := NewMem()
	out.capacity = m.capacity
	for d := range m.dirs {
		out.dirs[d] = true
	}
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	slices.Sort(order) // map order must not decide what the seed draws
	done := map[*inode]*inode{}
	for _, name := range order {
		n := names[name]
		if done[n] == nil {
			done[n] = n.crash(rng, o)
		}
		out.names[name], out.durable[name] = done[n], done[n]
	}
	return out
}

func (n *inode) crash(rng *rand.Rand, o CrashOptions) *inode {
	size := n.synced.size
	if n.resized && rng.IntN(100) < o.Keep {
		size = n.now.size
	}
	left := n.synced.clone()
	left.resize(size, &n.synced) // a size that reached the disk before its blocks reads as zeros
	for from := int64(0); from < size; from += BlockBytes {
		to := min(from+BlockBytes, size)
		if !n.dirtyIn(from, to) && to <= n.synced.size {
			continue
		}
		n.crashBlock(&left, from, to, rng, o)
	}
	return &inode{now: left, synced: left.clone()}
}

// crashBlock decides the fate of one block with unsynced bytes.
func (n *inode) crashBlock(left *image, from, to int64, rng *rand.Rand, o CrashOptions) {
	if rng.IntN(100) < o.Keep {
		if have := min(to, n.now.size) - from; have > 0 {
			b := left.own(int(from/BlockBytes), &n.synced)
			n.now.read(b[:have], from)
		}
		return
	}
	if rng.IntN(100) >= o.Tear {
		return
	}
	b := left.own(int(from/BlockBytes), &n.synced)
	for s := from; s < to; s += SectorBytes {
		e := min(s+SectorBytes, to)
		fate := rng.IntN(3)
		for i := s; i < e; i++ {
			if !o.WholeBlocks && !n.dirtyIn(i, i+1) {
				continue
			}
			switch {
			case fate == 0:
			case fate == 1 && i < n.now.size:
				b[i-from] = n.now.at(i)
			case fate == 2:
				b[i-from] = byte(rng.Uint32())
			}
		}
	}
}

func (n *inode) dirtyIn(from, to int64) bool {
	for _, d := range n.dirty {
		if d.from < to && from < d.to {
			return true
		}
	}
	return false
}
