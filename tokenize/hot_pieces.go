package tokenize

import "sync/atomic"

// hotBits is the size of hotPieces: 2^hotBits words of 8 bytes, 32 KiB.
const hotBits = 12

// hotMax is the length up to which a piece and its length are one word.
const hotMax = 7

// hotPieces remembers short tokens that were looked up lately. Half of any text is a few hundred words, but they lie all
// over pieceTable's 4 MiB, each on a page of its own: what a lookup there costs is a walk of the page tables. Here they lie on
// a few pages. A slot holds a whole key, so that a hit is certain; whoever comes last has the slot.
type hotPieces [1 << hotBits]atomic.Uint64

// slot is where the piece with this key would be, and what would be there; nil for a piece longer than hotMax.
func (h *hotPieces) slot(lo, hi uint64) (slot *atomic.Uint64, word uint64) {
	if hi>>56 > hotMax {
		return nil, 0
	}
	word = lo | hi // bytes 0 to 6, and the length in byte 7
	return &h[word*0x9E3779B97F4A7C15>>(64-hotBits)], word
}
