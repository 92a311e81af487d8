package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// record is one decoded record. data points into the bytes it was decoded from.
type record struct {
	kind    recordKind
	ekind   uint8
	group   uint32
	size    int // on disk, padding included
	durable position
	words   [maxWords]uint64 // as many as the kind has; the rest is old
	data    []byte
}

// verdict is what decodeRecord found.
type verdict uint8

const (
	valid verdict = iota
	short         // the record goes on after the bytes given
	bad
)

// decodeRecord reads the record at the front of b, which stands at offset off of a segment whose usable
// bytes end at limit. size is what the record takes, padding included; for short it is how many bytes are
// needed to go on, for bad 0. It never reads past b and never allocates. r is changed in any case.
func decodeRecord(b []byte, l life, off, limit int64, r *record) (v verdict, size int) {
	if l.version == 1 {
		return decodeRecordV1(b, l, off, limit, r)
	}
	if off+recordHead > limit {
		return bad, 0
	}
	if len(b) < recordHead {
		return short, recordHead
	}
	le := binary.LittleEndian
	first, second := le.Uint64(b), le.Uint64(b[8:])
	length, tag := uint32(first>>32), uint32(second>>16)
	kind := recordKind(tag & 15)
	sum := l.at(off, length)
	if uint16(sum>>32) != uint16(second) || kind == 0 || kind >= kindEnd || length < recordHead {
		return bad, 0
	}
	n := alignUp(int64(length), alignBytes)
	if off+n > limit {
		return bad, 0
	}
	if int64(len(b)) < n {
		return short, int(n)
	}
	if crc32.Update(uint32(sum), castagnoli, b[8:length]) != uint32(first) {
		return bad, 0
	}
	r.kind, r.ekind, r.size = kind, 0, int(n)
	r.group = uint32(second>>32) & 0xffff
	r.durable = l.watermark(off, second>>48)
	info := &kinds[kind]
	at := recordHead
	if tag&tagEntryKind == 0 && info.words == tagWords && len(b) >= recordFront {
		// Nearly all records; a call would be felt.
		r.words[0], at = word(b, at, tag>>5&7)
		r.words[1], at = word(b, at, tag>>8&7)
		r.words[2], at = word(b, at, tag>>11&7)
	} else if tag&tagEntryKind != 0 || info.words > 0 {
		at = r.fields(b, tag, info.words)
	}
	if at > int(length) || int(length)-at > int(info.data) {
		return bad, 0 // what has the right checksum is like this only if another program wrote it
	}
	if kind == kindEntry || kind == kindCarry {
		r.words[2] = r.words[0] - unzigzag(r.words[2])
	}
	r.data = b[at:length:length]
	return valid, int(n)
}

// fields decodes what is between the head and data, and returns where data begins. If b is no record, it may go on
// behind it, into nonsense: the caller looks at where it ends.
func (r *record) fields(b []byte, tag uint32, words int) int {
	if len(b) < recordFront { // near the end of what was read
		b = append(make([]byte, 0, recordFront), b...)[:recordFront]
	}
	at := recordHead
	if tag&tagEntryKind != 0 {
		r.ekind = b[at]
		at++
	}
	if words == 0 {
		return at
	}
	for w := range tagWords {
		r.words[w], at = word(b, at, tag>>(5+3*w)&7)
	}
	for w := tagWords; w < words; w++ {
		if at+8 > len(b) {
			return math.MaxInt
		}
		r.words[w], at = word(b, at, 7)
	}
	return at
}

// word decodes a word of a width at b[at], and returns where it ends.
func word(b []byte, at int, bytesLess1 uint32) (v uint64, end int) {
	return binary.LittleEndian.Uint64(b[at:]) & (^uint64(0) >> ((56 - 8*bytesLess1) & 63)), at + int(bytesLess1) + 1
}

// tagEntryKind says that there is an entry kind.
const tagEntryKind = 1 << 4

// Coarse distances are in units of 256 KiB.
const (
	coarse      = 1 << 15
	coarseShift = 18
)

// watermark decodes unmarked for a record at off.
func (l life) watermark(off int64, unmarked uint64) position {
	d := int64(unmarked) * alignBytes
	if unmarked >= coarse {
		d = int64(unmarked-coarse) << coarseShift
	}
	return makePosition(l.id, max(off-d, 0))
}

// unmarked encodes a distance. A coarse one promises less than is true, which is what is safe.
func unmarked(d int64) uint16 {
	if d < coarse*alignBytes {
		return uint16(d / alignBytes)
	}
	return coarse | uint16((d+1<<coarseShift-1)>>coarseShift)
}

// zigzag makes small differences, taken modulo 2^64, small in either direction.
func zigzag(d uint64) uint64   { return d<<1 ^ -(d >> 63) }
func unzigzag(z uint64) uint64 { return z>>1 ^ -(z & 1) }

func (r *record) entry() (commit uint64, e Entry) {
	return r.words[2], Entry{Index: r.words[0], Term: r.words[1], Kind: r.ekind, Data: r.data}
}

func (r *record) state() HardState {
	return HardState{Term: r.words[0], Vote: r.words[1], Commit: r.words[2]}
}

// cut is what a SNAPSHOT says, or that part of a CHECKPOINT.
type cut struct {
	index, term uint64
	floor       position
	meta        []byte
}

func (r *record) snapshot() cut {
	return cut{index: r.words[0], term: r.words[1], floor: position(r.words[2]), meta: r.data}
}

func (r *record) checkpoint() (hs HardState, c cut, last uint64) {
	c = cut{index: r.words[3], term: r.words[4], floor: position(r.words[6]), meta: r.data}
	return r.state(), c, r.words[5]
}
