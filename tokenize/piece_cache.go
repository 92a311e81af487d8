package tokenize

import "sync/atomic"

// cacheBits is the size of a Counter's pieceCache: 2^cacheBits buckets, three pieces each, one line of memory
// each (256 KiB).
const cacheBits = 12

// pieceCache remembers how many tokens short pieces are that are not tokens themselves. A text has the same few
// thousand of them again and again, and merging one costs as much as ten lookups. It forgets: a bucket holds the
// three pieces that were stored in it last.
//
// It is a cache of a pure function, so no answer depends on what is in it, as long as a key is never seen with
// the number of another. That is what version is for, which is odd while a goroutine writes to the bucket, and
// never the same again after that (it has 64 bits). Only who makes it odd writes; a reader who finds the same
// even version before and after has read what one writer left, whole; any other gets no answer, and nobody
// waits: a goroutine that would have to goes without the cache. All words are atomic, hence in one order for all.
type pieceCache struct {
	buckets []cacheBucket
	shift   uint // of a 64-bit hash, to an index of buckets
}

type cacheBucket struct {
	version atomic.Uint64
	pieces  [3]struct{ lo, hi atomic.Uint64 } // a key, and the number of tokens in the upper half of its last byte
	_       uint64
}

// tokensShift: the last byte of a key is the length, of four bits, which leaves four for the number of tokens.
const tokensShift = 60

func newPieceCache(bits uint) pieceCache {
	return pieceCache{make([]cacheBucket, 1<<bits), 64 - bits}
}

// get is the number of tokens of the piece with this key, 0 if it is not known.
func (c *pieceCache) get(lo, hi uint64) int {
	b := &c.buckets[hashShort(lo, hi)>>c.shift]
	version := b.version.Load()
	for i := range b.pieces {
		p := &b.pieces[i]
		if p.lo.Load() != lo {
			continue
		}
		if h := p.hi.Load(); h<<4 == hi<<4 && b.version.Load() == version && version&1 == 0 {
			return int(h >> tokensShift)
		}
	}
	return 0
}

// put stores the number of tokens, 1 to 15, of the piece with this key in the place of the oldest.
func (c *pieceCache) put(lo, hi uint64, tokens int) {
	b := &c.buckets[hashShort(lo, hi)>>c.shift]
	version := b.version.Load()
	if version&1 != 0 || !b.version.CompareAndSwap(version, version+1) {
		return
	}
	p := &b.pieces[version/2%3]
	p.lo.Store(lo)
	p.hi.Store(hi | uint64(tokens)<<tokensShift)
	b.version.Store(version + 2)
}
