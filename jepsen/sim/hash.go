package sim

import (
	"encoding/binary"
	"math/bits"
)

// digest is a 64-bit hash of everything that was added to it, in order: the folded multiplication of wyhash
// (github.com/wangyi-fudan/wyhash), eight bytes a step. It is the same on every machine, for traces to be compared. Two
// different histories have equal digests once in 2^64, and nobody here looks for a pair. The zero value is empty.
type digest uint64

const (
	digestOdd1 = 0xa0761d6478bd642f
	digestOdd2 = 0xe7037ed1a0b428db
)

// add returns the digest with b behind what it has. Where one add ends and the next begins counts, too.
func (d digest) add(b []byte) digest {
	h := fold(uint64(d)^digestOdd1, uint64(len(b))^digestOdd2)
	for ; len(b) >= 8; b = b[8:] {
		h = fold(h^binary.LittleEndian.Uint64(b), digestOdd2)
	}
	var last [8]byte
	copy(last[:], b)
	return digest(fold(h^binary.LittleEndian.Uint64(last[:]), digestOdd1))
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
