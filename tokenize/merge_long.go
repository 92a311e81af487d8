package tokenize

import (
	"math/bits"
	"slices"
)

// Long pieces are merged by a queue of buckets, one per rank, in time linear in their length. It can be that
// simple because a merge only ever makes candidates of a higher rank than its own (a token's rank is above
// those of its parts: the parser of the vocabulary insists). So ranks are gone through once, upwards, and
// all merges of one rank are done together. Among those only neighbours of equal parts can be in each
// other's way ("aaa"); there the whole run is merged from its left end.
//
// And they are merged window by window, so that the memory for it does not grow with the piece. A sequence
// of tokens is the encoding of its text if and only if each two neighbours in it are that of theirs (see A.
// Neubeck and H. van Antwerpen, "So many tokens, so little time", GitHub, 2024). Hence the tokens of a window
// up to some border, followed by those of the next window, begun at that border, are right for the whole if
// the next window starts with the very token that follows the border in the first: then all neighbours are
// neighbours in one of the two. Only the cut at a window's end can have disturbed its tokens, and as a rule it
// does over a few bytes, so the border is put a margin before it. Where that was not enough, all is done again
// with windows of twice the size.

const (
	windowSize   = 32 << 10 // bytes merged at once
	windowMargin = 1 << 10  // bytes at the end of a window that are merged again with the next
)

// merger is the scratch for long pieces: 5 bytes per token of the vocabulary, 20 per byte of a window.
// Between uses all buckets are empty.
type merger struct {
	table  *pairTable
	parts  []part
	first  []int32      // per token: 1 + the position of the first part of its bucket, 0 if it is empty
	level0 [4096]uint64 // a bit per token whose bucket is not empty
	level1 [64]uint64   // a bit per word of level0 that is not 0
	merges int          // made so far, for the test that their number is linear
}

// part is one token of the encoding so far, at the position of its first byte.
type part struct {
	token      uint32
	pair       uint32 // what it and the next part merge to; it is in that bucket unless noToken
	up, down   int32  // the bucket's list: 1 + position, 0 for none
	size, prev uint8  // bytes of this part, and of the one before it (0 at the start of the window)
}

func newMerger(t *pairTable) *merger {
	return &merger{table: t, first: make([]int32, t.tokens)}
}

// count is the number of tokens of a piece that is not empty.
func (m *merger) count(piece []byte, window, margin int) int {
	for {
		if tokens, ok := m.countWindows(piece, window, margin); ok {
			return tokens
		}
		window *= 2
	}
}

// countWindows is count, unless some window's end has disturbed more than the margin before it.
func (m *merger) countWindows(piece []byte, window, margin int) (total int, ok bool) {
	expected := uint32(noToken)
	for {
		n := min(window, len(piece))
		m.merge(piece[:n])
		if expected != noToken && m.parts[0].token != expected {
			return 0, false
		}
		if n == len(piece) {
			tokens, _ := m.tokensTo(n)
			return total + tokens, true
		}
		tokens, border := m.tokensTo(n - margin)
		if border <= 0 || border >= n { // not with a margin longer than any token
			return 0, false
		}
		expected = m.parts[border].token
		total += tokens
		piece = piece[border:]
	}
}

// tokensTo is the number of tokens before the first one that starts at limit or later, and where that starts.
func (m *merger) tokensTo(limit int) (tokens, border int) {
	for border < limit {
		border += int(m.parts[border].size)
		tokens++
	}
	return tokens, border
}

// merge leaves the encoding of text in parts.
func (m *merger) merge(text []byte) {
	n := len(text)
	m.parts = slices.Grow(m.parts[:0], n)[:n]
	t := m.table
	for i := n - 1; i >= 0; i-- { // backwards: a bucket's last comer is its first
		p := &m.parts[i]
		*p = part{token: t.bytes[text[i]], pair: noToken, size: 1, prev: 1}
		if i+1 < n {
			m.enqueue(i, t.two[int(text[i])|int(text[i+1])<<8])
		}
	}
	m.parts[0].prev = 0

	for w1 := range m.level1 {
		for m.level1[w1] != 0 {
			w0 := w1*64 + bits.TrailingZeros64(m.level1[w1])
			merged := uint32(w0*64 + bits.TrailingZeros64(m.level0[w0]))
			m.mergeAt(int(m.first[merged])-1, merged)
		}
	}
}

// mergeAt merges the part at i and the next, of which merged is made; if they are equal, all of the run of
// equal parts that they are in, two by two from its left end.
func (m *merger) mergeAt(i int, merged uint32) {
	token := m.parts[i].token
	if m.parts[i+int(m.parts[i].size)].token != token {
		m.mergeOne(i, merged)
		return
	}
	for m.parts[i].prev != 0 && m.parts[i-int(m.parts[i].prev)].token == token {
		i -= int(m.parts[i].prev)
	}
	for i < len(m.parts) && m.parts[i].token == token && m.parts[i].pair == merged {
		m.mergeOne(i, merged)
		i += int(m.parts[i].size)
	}
}

func (m *merger) mergeOne(i int, merged uint32) {
	m.merges++
	p := &m.parts[i]
	gone := i + int(p.size)
	m.dequeue(i)
	m.dequeue(gone)
	p.token = merged
	p.size += m.parts[gone].size
	if next := i + int(p.size); next < len(m.parts) {
		m.parts[next].prev = p.size
		m.enqueue(i, m.table.merged(merged, m.parts[next].token))
	}
	if p.prev != 0 {
		prev := i - int(p.prev)
		m.dequeue(prev)
		m.enqueue(prev, m.table.merged(m.parts[prev].token, merged))
	}
}

// enqueue puts the part at i into the bucket of what it and the next merge to, if they do.
func (m *merger) enqueue(i int, merged uint32) {
	if merged == noToken {
		return
	}
	p := &m.parts[i]
	p.pair = merged
	p.up = 0
	p.down = m.first[merged]
	if p.down != 0 {
		m.parts[p.down-1].up = int32(i + 1)
	} else {
		m.level0[merged/64] |= 1 << (merged % 64)
		m.level1[merged/4096] |= 1 << (merged / 64 % 64)
	}
	m.first[merged] = int32(i + 1)
}

// dequeue takes the part at i out of its bucket, if it is in one.
func (m *merger) dequeue(i int) {
	p := &m.parts[i]
	bucket := p.pair
	if bucket == noToken {
		return
	}
	p.pair = noToken
	if p.down != 0 {
		m.parts[p.down-1].up = p.up
	}
	if p.up != 0 {
		m.parts[p.up-1].down = p.down
		return
	}
	m.first[bucket] = p.down
	if p.down == 0 {
		m.level0[bucket/64] &^= 1 << (bucket % 64)
		if m.level0[bucket/64] == 0 {
			m.level1[bucket/4096] &^= 1 << (bucket / 64 % 64)
		}
	}
}
