package tokenize

import (
	"encoding/binary"
	"math/bits"
)

// maxShort is the length in bytes up to which a piece is its own key, in two words.
const maxShort = 15

// pieceTable answers whether a piece is a token.
//
// Tokens of up to 15 bytes (97% of o200k_base) are keys of two words: the bytes, zeros behind them, and the
// length in the last byte, which is never zero. Four keys are a bucket, one line of the cache; a key that
// finds its bucket full goes to another one. Those of a bucket are inserted by rank, so that the frequent ones are at its
// front. With three quarters of the places taken an absent key costs 1.7 lines.
//
// Longer tokens are few: slots hold id+1, and the bytes are compared.
type pieceTable struct {
	short []shortBucket
	shift uint // of a 64-bit hash, to an index of short

	long      []uint32 // index+1 into longStart; 0 is free
	longShift uint
	longStart []uint32
	longText  []byte
}

type (
	shortPlace  struct{ lo, hi uint64 }
	shortBucket [4]shortPlace
)

func newPieceTable(v *vocabulary) pieceTable {
	nShort, nLong := 0, 0
	for id := range v.size() {
		if len(v.token(uint32(id))) <= maxShort {
			nShort++
		} else {
			nLong++
		}
	}
	shortBits := uint(0)
	for 4<<shortBits*4/5 < nShort { // 4 keys to a bucket, at most 4/5 of the places taken
		shortBits++
	}
	longBits := uint(bits.Len(uint(2 * nLong)))
	t := pieceTable{
		short:     make([]shortBucket, 1<<shortBits),
		shift:     64 - shortBits,
		long:      make([]uint32, 1<<longBits),
		longShift: 64 - longBits,
		longStart: make([]uint32, 1, nLong+1),
	}
	// Tokens are put in by the region of the table that their first bucket lies in, so that one region at a time is in
	// the cache: in the order of ranks this takes four times as long, a twentieth of a restart.
	var regions [1 << regionBits][]shortPlace
	for i := range regions {
		regions[i] = make([]shortPlace, 0, nShort>>regionBits+nShort>>(regionBits+2))
	}
	for id := range v.size() {
		token := v.token(uint32(id))
		if len(token) > maxShort {
			t.addLong(token)
			continue
		}
		lo, hi := shortKey(token)
		r := &regions[hashShort(lo, hi)>>(64-regionBits)]
		*r = append(*r, shortPlace{lo, hi})
	}
	for _, region := range regions {
		for _, k := range region {
			t.addShort(k.lo, k.hi)
		}
	}
	return t
}

// regionBits: the table is filled in 2^regionBits regions, of 32 KiB for the larger vocabulary.
const regionBits = 7

// shortKey is the key of a piece of at most maxShort bytes.
func shortKey(p []byte) (lo, hi uint64) {
	var b [16]byte
	copy(b[:], p)
	b[15] = byte(len(p))
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
}

// shortKeyAt is shortKey of text[i:i+n], without a copy where 16 bytes can be read.
func shortKeyAt(text []byte, i, n int) (lo, hi uint64) {
	if i+16 > len(text) {
		return shortKey(text[i : i+n])
	}
	window, mask := (*[16]byte)(text[i:]), &keyMask[n&31]
	return binary.LittleEndian.Uint64(window[:8]) & mask.lo,
		binary.LittleEndian.Uint64(window[8:])&mask.hi | uint64(n)<<56
}

// keyMask[n] keeps the first n bytes of 16.
var keyMask = func() (t [32]struct{ lo, hi uint64 }) {
	for n := range t {
		for b := range min(n, 8) {
			t[n].lo |= 0xFF << (8 * b)
		}
		for b := range min(max(n-8, 0), 8) {
			t[n].hi |= 0xFF << (8 * b)
		}
	}
	return t
}()

// hashShort mixes a key by one multiplication over both words: the high bits, which are used, depend on all
// of lo and hi. Nothing but speed depends on it being good.
func hashShort(lo, hi uint64) uint64 {
	a, b := bits.Mul64(lo^0x9E3779B97F4A7C15, hi^0xE7037ED1A0B428DB)
	return (a ^ b) * 0x9FB21C651E98DF25
}

// probe is where to look for a key: the first bucket, and how far the next one is (an odd step, so that it
// comes round to all of them).
func (t *pieceTable) probe(lo, hi uint64) (bucket, step uint64) {
	hash := hashShort(lo, hi)
	return hash >> t.shift, hash | 1
}

func (t *pieceTable) addShort(lo, hi uint64) {
	for h, step := t.probe(lo, hi); ; h = (h + step) & uint64(len(t.short)-1) {
		for i := range t.short[h] {
			if t.short[h][i].hi == 0 {
				t.short[h][i].lo, t.short[h][i].hi = lo, hi
				return
			}
		}
	}
}

func (t *pieceTable) hasShort(lo, hi uint64) bool {
	for h, step := t.probe(lo, hi); ; h = (h + step) & uint64(len(t.short)-1) {
		b := &t.short[h]
		if b[0].lo == lo && b[0].hi == hi || b[1].lo == lo && b[1].hi == hi ||
			b[2].lo == lo && b[2].hi == hi || b[3].lo == lo && b[3].hi == hi {
			return true
		}
		if b[3].hi == 0 {
			return false
		}
	}
}

// hashLong takes a piece of at least 16 bytes eight at a time, the last eight wherever they are.
func hashLong(p []byte) uint64 {
	h := uint64(len(p)) * 0x9E3779B97F4A7C15
	for i := 0; i+8 <= len(p); i += 8 {
		h = (h ^ binary.LittleEndian.Uint64(p[i:])) * 0x9FB21C651E98DF25
		h ^= h >> 32
	}
	return (h ^ binary.LittleEndian.Uint64(p[len(p)-8:])) * 0xE7037ED1A0B428DB
}

func (t *pieceTable) addLong(token []byte) {
	t.longText = append(t.longText, token...)
	t.longStart = append(t.longStart, uint32(len(t.longText)))
	h := hashLong(token) >> t.longShift
	for t.long[h] != 0 {
		h = (h + 1) & uint64(len(t.long)-1)
	}
	t.long[h] = uint32(len(t.longStart) - 1)
}

// hasLong is O(len(p)), and O(1) for a piece longer than every token.
func (t *pieceTable) hasLong(p []byte) bool {
	if len(p) > 255 {
		return false
	}
	for h := hashLong(p) >> t.longShift; ; h = (h + 1) & uint64(len(t.long)-1) {
		i := t.long[h]
		if i == 0 {
			return false
		}
		if string(t.longText[t.longStart[i-1]:t.longStart[i]]) == string(p) {
			return true
		}
	}
}
