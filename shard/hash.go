package shard

import (
	"encoding/binary"
	"math/bits"
)

// Shards is the number of consensus groups that contexts are spread over. It is part of the data format:
// changing it would move every context.
const Shards = 256

// Of names the shard that owns a context id. The function is fixed for ever (TestHashIsPinned).
func Of(id []byte) uint32 { return uint32(hash64(id) % Shards) }

const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// hash64 is xxHash64 with seed 0 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md). It places
// contexts: the low 8 bits choose the shard, the bits above them the slot in the shard's table. It is
// written out here, and not taken from a library, because no upgrade may ever change it.
func hash64(b []byte) uint64 {
	n := uint64(len(b))
	var h uint64
	if len(b) >= 32 {
		seed := uint64(0)
		v1, v2, v3, v4 := seed+prime1, seed, seed, seed-prime1
		v1 += prime2
		v2 += prime2
		for len(b) >= 32 {
			v1 = round64(v1, binary.LittleEndian.Uint64(b))
			v2 = round64(v2, binary.LittleEndian.Uint64(b[8:]))
			v3 = round64(v3, binary.LittleEndian.Uint64(b[16:]))
			v4 = round64(v4, binary.LittleEndian.Uint64(b[24:]))
			b = b[32:]
		}
		h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
		h = merge64(h, v1)
		h = merge64(h, v2)
		h = merge64(h, v3)
		h = merge64(h, v4)
	} else {
		h = prime5
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h ^= round64(0, binary.LittleEndian.Uint64(b))
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(b)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h ^= uint64(c) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}

func round64(acc, lane uint64) uint64 {
	return bits.RotateLeft64(acc+lane*prime2, 31) * prime1
}

func merge64(h, v uint64) uint64 {
	return (h^round64(0, v))*prime1 + prime4
}
