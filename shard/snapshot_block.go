package shard

import (
	"encoding/binary"
	"math/bits"
)

// blockEncoder compresses chunks into the Snappy block format (https://github.com/google/snappy,
// format_description.txt), which s2.Decode reads. It differs from s2.Encode in what it looks for: matches
// of at least 8 bytes only. Those remove the JSON around the texts and the empty halves of the slots, and
// leave the texts alone, whose many matches of four to seven bytes are what makes decoding slow.
//
// Measured here on pages of 200-byte chat messages, one thread's CPU time: decoding 1.6 GB/s of raw state
// at 49% of its size, against 0.8 GB/s at 40% with s2.Encode. Loading is what a restart waits for;
// writing happens in the background.
//
// It also makes the bytes of a snapshot ours: the same on every architecture and with every version of
// the library, so that golden files can pin them.
type blockEncoder struct {
	table [1 << blockTableBits]uint32
}

const (
	blockTableBits = 14
	blockMatchMin  = 8
	blockWindow    = 1 << 16 // copies reach back less than this
	blockCopyMax   = 64      // longest copy element
)

func blockHash(x uint64) uint64 { return x * prime1 >> (64 - blockTableBits) }

// maxBlockLen bounds what encode makes of n bytes: a length of at most 4 bytes, and for every run of
// literals, each but the last of which precedes a copy that saves 5 bytes or more, at most 4.
func maxBlockLen(n int) int { return n + n/8 + 16 }

// encode appends the block of src, at most chunkMax bytes, to dst.
func (e *blockEncoder) encode(dst, src []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(src)))
	clear(e.table[:])
	emitted := 0
	end := len(src) - 2*blockMatchMin // matches are looked for where whole words can be loaded
	for i := 1; i < end; {
		x := binary.LittleEndian.Uint64(src[i:])
		slot := &e.table[blockHash(x)]
		c := int(*slot) // 0: none, which is why i starts at 1
		*slot = uint32(i)
		if c == 0 || i-c >= blockWindow || binary.LittleEndian.Uint64(src[c:]) != x {
			i += 1 + (i-emitted)>>7 // go faster through what does not compress
			continue
		}
		from, match := i, c
		for from > emitted && match > 0 && src[from-1] == src[match-1] {
			from--
			match--
		}
		to := i + blockMatchMin + common(src[i+blockMatchMin:], src[c+blockMatchMin:])
		dst = appendLiterals(dst, src[emitted:from])
		dst = appendCopy(dst, from-match, to-from)
		for j := i + 1; j < min(to, end); j += blockMatchMin {
			e.table[blockHash(binary.LittleEndian.Uint64(src[j:]))] = uint32(j)
		}
		emitted, i = to, to
	}
	return appendLiterals(dst, src[emitted:])
}

// common returns how many bytes a and b begin with that are equal. a is not longer than b.
func common(a, b []byte) int {
	n := 0
	for len(a)-n >= 8 {
		if d := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); d != 0 {
			return n + bits.TrailingZeros64(d)>>3
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

func appendLiterals(dst, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	switch n := len(b) - 1; {
	case n < 60:
		dst = append(dst, byte(n)<<2)
	case n < 1<<8:
		dst = append(dst, 60<<2, byte(n))
	case n < 1<<16:
		dst = append(dst, 61<<2, byte(n), byte(n>>8))
	default: // a chunk has less than 2^24 bytes
		dst = append(dst, 62<<2, byte(n), byte(n>>8), byte(n>>16))
	}
	return append(dst, b...)
}

func appendCopy(dst []byte, offset, n int) []byte {
	for n > 0 {
		step := min(n, blockCopyMax)
		dst = append(dst, byte(step-1)<<2|2, byte(offset), byte(offset>>8))
		n -= step
	}
	return dst
}
