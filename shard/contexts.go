package shard

import (
	"sync/atomic"

	"fastpaca/ring"
)

// contextList is the contexts of a shard in the order of their creation. A context's place in it, its ordinal, is its
// for ever. One goroutine adds; any may read.
type contextList struct {
	dir atomic.Pointer[[]*contextChunk] // the writer appends behind what readers know
	n   atomic.Uint32
}

// chunkContexts make a chunk of 2 KiB. Shards with a handful of contexts, of which a node has 256, waste little, and a
// million contexts are some sixteen thousand objects for the garbage collector.
const chunkContexts = 64

// contextChunk is a run of contexts. The pointers come first: the collector looks no further.
type contextChunk struct {
	live [chunkContexts]atomic.Pointer[Context] // nil: its state is on disk only
	seat [chunkContexts]seat
}

// seat is what stays in memory of a context whose state is on disk: 24 bytes, and its pointer and its slot in the
// table.
type seat struct {
	hash  uint64 // immutable
	place        // of the state on disk while there is none in memory; under parking.mu
}

// place is where the encoded state of a context lies. The zero value is nowhere.
type place struct {
	at   uint64 // see recordFile
	size uint64 // in bytes, and behindBit
}

// behindBit marks the state of a context that has messages which are in no archive.
const behindBit = 1 << 63

func (p place) known() bool  { return p.at != 0 }
func (p place) bytes() int64 { return int64(p.size &^ behindBit) }
func (p place) behind() bool { return p.size&behindBit != 0 }

// setBehind marks a place whose record says h.
func (p *place) setBehind(h *ring.Header) {
	if h.Last > h.Archived {
		p.size |= behindBit
	}
}

// len is the number of contexts.
func (l *contextList) len() int { return int(l.n.Load()) }

func (l *contextList) chunk(ordinal uint32) *contextChunk {
	return (*l.dir.Load())[ordinal/chunkContexts]
}

// live returns where the context with this ordinal is, or nil is while it is on disk.
func (l *contextList) live(ordinal uint32) *atomic.Pointer[Context] {
	return &l.chunk(ordinal).live[ordinal%chunkContexts]
}

func (l *contextList) seat(ordinal uint32) *seat {
	return &l.chunk(ordinal).seat[ordinal%chunkContexts]
}

func (l *contextList) hashOf(ordinal uint32) uint64 { return l.seat(ordinal).hash }

// add puts a context behind all others; c is nil for one that lies at p. Writer only.
func (l *contextList) add(c *Context, hash uint64, p place) (ordinal uint32) {
	ordinal = l.n.Load()
	var chunks []*contextChunk
	if d := l.dir.Load(); d != nil {
		chunks = *d
	}
	if int(ordinal) == len(chunks)*chunkContexts {
		chunks = append(chunks, new(contextChunk))
		l.dir.Store(&chunks)
	}
	ch := chunks[ordinal/chunkContexts]
	ch.seat[ordinal%chunkContexts] = seat{hash, p}
	if c != nil {
		c.ordinal = ordinal
		ch.live[ordinal%chunkContexts].Store(c)
	}
	l.n.Store(ordinal + 1) // last: whoever counts it finds it complete
	return ordinal
}

// each calls f for every context, with nil for those on disk, until f returns false. Any goroutine; what is added
// meanwhile may be missed.
func (l *contextList) each(f func(ordinal uint32, c *Context) bool) {
	for i := range l.n.Load() {
		if !f(i, l.live(i).Load()) {
			return
		}
	}
}
