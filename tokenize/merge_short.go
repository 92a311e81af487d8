package tokenize

import "math/bits"

// shortPiece is the length in bytes up to which a scan over all pairs is faster than a queue.
const (
	shortPiece = 1 << positionBits

	positionBits = 5
)

// mergeShort is the number of tokens of a piece of 1 to shortPiece bytes: byte-pair merging by the
// definition, the pair with the lowest rank first, the leftmost of equals. It makes at most 31 merges, each
// with a scan of at most 32 words.
//
// A part is known by its first byte's position: alive has a bit for each, token its id, and pair what it and
// the next part merge to, with the position below it so that the least word is the pair to merge.
func (t *pairTable) mergeShort(piece []byte) int {
	const (
		never    = 1<<32 - 1
		position = shortPiece - 1
	)
	var token, pair [shortPiece]uint32
	n := len(piece)
	alive := ^uint32(0) >> (shortPiece - n)
	for i := 0; i+1 < n; i++ {
		token[i] = t.bytes[piece[i]]
		pair[i] = never
		if m := t.two[int(piece[i])|int(piece[i+1])<<8]; m != noToken {
			pair[i] = m<<positionBits | uint32(i)
		}
	}
	token[n-1] = t.bytes[piece[n-1]]
	pair[n-1] = never

	for {
		least := uint32(never)
		for _, p := range pair[:n] {
			least = min(least, p)
		}
		if least == never {
			return bits.OnesCount32(alive)
		}
		i, merged := least&position, least>>positionBits
		gone := i + 1 + uint32(bits.TrailingZeros32(alive>>(i+1)))
		alive &^= 1 << gone
		pair[gone&position] = never
		token[i] = merged

		pair[i] = never
		if after := alive >> (i + 1); after != 0 {
			next := i + 1 + uint32(bits.TrailingZeros32(after))
			if m := t.merged(merged, token[next&position]); m != noToken {
				pair[i] = m<<positionBits | i
			}
		}
		if before := alive & (1<<i - 1); before != 0 {
			prev := uint32(bits.Len32(before) - 1)
			pair[prev&position] = never
			if m := t.merged(token[prev&position], merged); m != noToken {
				pair[prev&position] = m<<positionBits | prev
			}
		}
	}
}
