package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// Records of segments of version 1, which differs in nothing else. Integers are little-endian.
//
//	 0  length         u32   payload bytes, without header and padding
//	 4  crc            u32   CRC32C of bytes 8..24+length, from the low 32 bits of life.at
//	 8  durable        u64   position up to which the log was durable when this was written
//	16  kind           u8    no FORGET
//	17  entry kind     u8    ENTRY and CARRY: raft's kind; else 0
//	18  zero           u16
//	20  group          u32
//	24  payload        words u64 (ENTRY and CARRY: index, term, commit), data
//	    0..7 bytes of padding, not covered by the checksum
const recordHeaderV1 = 24

func decodeRecordV1(b []byte, l life, off, limit int64, r *record) (v verdict, size int) {
	if off+recordHeaderV1 > limit {
		return bad, 0
	}
	if len(b) < recordHeaderV1 {
		return short, recordHeaderV1
	}
	le := binary.LittleEndian
	length := le.Uint32(b)
	kind := recordKind(b[16])
	info := &kinds[kind]
	words := 8 * uint32(info.words)
	if kind == 0 || kind > kindCheckpoint || length < words || length-words > info.data || le.Uint16(b[18:]) != 0 {
		return bad, 0
	}
	end := recordHeaderV1 + int64(length)
	n := alignUp(end, alignBytes)
	if off+n > limit {
		return bad, 0
	}
	if int64(len(b)) < n {
		return short, int(n)
	}
	if crc32.Update(uint32(l.at(off, length)), castagnoli, b[8:end]) != le.Uint32(b[4:]) {
		return bad, 0
	}
	r.kind, r.ekind, r.size = kind, b[17], int(n)
	r.group = le.Uint32(b[20:])
	r.durable = position(le.Uint64(b[8:]))
	p := b[recordHeaderV1:end:end]
	for w := range info.words {
		r.words[w] = le.Uint64(p[8*w:])
	}
	r.data = p[words:]
	return valid, int(n)
}

// maybeRecordV1 is maybeRecord: the watermark lies in this segment or where the one before ended.
func maybeRecordV1(b []byte, h *header, off int64) bool {
	durable := position(binary.LittleEndian.Uint64(b[8:]))
	return durable >= makePosition(h.id-1, h.prevEnd) && durable <= makePosition(h.id, off)
}
