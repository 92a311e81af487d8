package tokenize

import "math/bits"

// noToken is no token's id.
const noToken = 1<<32 - 1

// pairTable tells what two neighbouring tokens merge to, by their ids.
//
// Byte-pair encoding merges neighbours whose bytes together are those of a token t. Whenever that happens
// the two are the ones that t's own last merge joins: no merge so far crossed the borders of t's bytes, so
// those between were merged as if they were alone, and alone they pass only one state of two parts. So there
// is one entry per token, and no bytes are hashed or compared. (Every token of both vocabularies is what its
// own bytes merge to; vocabgen refuses any other.)
//
// Ids have 18 bits, so an entry is one word. Most lookups are for pairs that do not merge: a filter of one
// bit per possible hash, small enough for the second-level cache, answers nine in ten of them.
type pairTable struct {
	bytes  [256]uint32 // token of a single byte
	two    []uint32    // token of two bytes, first byte in the low bits; noToken if none
	slots  []uint64    // left 18 bits, right 18 bits, token 18 bits; 0 is free; open addressing
	filter []uint64
	shift  uint // of a 64-bit hash, to an index of slots
	tokens int
}

const (
	pairMul    = 0xD6E8FEB86659FD93
	filterBits = 21
)

func newPairTable(v *vocabulary) pairTable {
	slotBits := uint(bits.Len(uint(v.size()))) + 1 // at most half full
	t := pairTable{
		two:    make([]uint32, 1<<16),
		slots:  make([]uint64, 1<<slotBits),
		filter: make([]uint64, 1<<filterBits/64),
		shift:  64 - slotBits,
		tokens: v.size(),
	}
	for i := range t.two {
		t.two[i] = noToken
	}
	for id := range uint32(v.size()) {
		token := v.token(id)
		if id < 256 {
			t.bytes[token[0]] = id
			continue
		}
		if len(token) == 2 {
			t.two[int(token[0])|int(token[1])<<8] = id
		}
		key := uint64(v.split[id].left)<<18 | uint64(v.split[id].right)
		hash := key * pairMul
		bit := hash >> (64 - filterBits)
		t.filter[bit/64] |= 1 << (bit % 64)
		slot := hash >> t.shift
		for t.slots[slot] != 0 {
			slot = (slot + 1) & uint64(len(t.slots)-1)
		}
		t.slots[slot] = key<<18 | uint64(id)
	}
	return t
}

// merged is the token that left and right merge to, noToken if they do not.
func (t *pairTable) merged(left, right uint32) uint32 {
	key := uint64(left)<<18 | uint64(right)
	hash := key * pairMul
	bit := hash >> (64 - filterBits)
	if t.filter[bit/64]>>(bit%64)&1 == 0 {
		return noToken
	}
	for slot := hash >> t.shift; ; slot = (slot + 1) & uint64(len(t.slots)-1) {
		e := t.slots[slot]
		if e>>18 == key && e != 0 {
			return uint32(e & (1<<18 - 1))
		}
		if e == 0 {
			return noToken
		}
	}
}
