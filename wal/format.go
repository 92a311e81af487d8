package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
)

// The disk format, version 1. Everything here is pinned by golden files in testdata/ and may change only
// together with formatVersion. Integers are little-endian.
//
// A directory holds segments, NNNNNNNNNNNNNNNN.wal, named by their id in hex, whose ids have no gap, and
// spares, NNNNNNNNNNNNNNNN.spare, which are segments to be: pre-written with zeros or left over from an
// earlier life, their contents meaningless.
//
// A segment:
//
//	+--------+---------+--------------+--------+-------------------------------------+- - - -
//	| header | CARRY*  | CHECKPOINT   | PAD?   | ENTRY, STATE, SNAPSHOT, FORGET,     | zeros or
//	| 128 B  |         | one per group|        | MARK, PAD in the order of the log   | old bytes
//	+--------+---------+--------------+--------+-------------------------------------+- - - -
//	0        128       checkpointOff           preambleEnd (4 KiB multiple)
//	|<------------- preamble ----------------->|<------------- body ----------------->|
//
// The preamble is durable before the segment has its name, so a named segment with a bad preamble is
// never a torn one. The body ends where the next segment's header says (prevEnd); in the newest segment
// it ends at the first record that is not valid (see recoveryRule for what that means).
//
// Header:
//
//	 0  magic          "fpwal\r\n\x00"
//	 8  version        u32   1
//	12  groups         u32   number of CHECKPOINT records
//	16  id             u64   as in the name
//	24  salt           u64   random; seeds the checksums of this segment's records
//	32  prevSalt       u64   salt of segment id-1, 0 if this is the first: a chain, so that a file of
//	                         another log or another life under the right name is found out
//	40  prevEnd        u64   where the body of segment id-1 ends
//	48  segmentBytes   u64   size of the file when it was made
//	56  checkpointOff  u64
//	64  preambleEnd    u64
//	72  crc            u32   CRC32C of bytes 0..71
//	76  zeros to 128
//
// Record, at an offset that is a multiple of 8, so that no header straddles a sector:
//
//	 0  length         u32   payload bytes, without header and padding
//	 4  crc            u32   CRC32C of bytes 8..24+length, seeded with segment salt, offset and length
//	 8  durable        u64   position up to which the log was durable when this was written
//	16  kind           u8
//	17  entry kind     u8    ENTRY and CARRY: raft's kind; else 0
//	18  zero           u16
//	20  group          u32
//	24  payload
//	    0..7 bytes of padding, not covered by the checksum
//
// A position is segment id << 32 | offset: it orders the whole log.
//
// Payloads:
//
//	ENTRY       index u64, term u64, commit u64, data
//	CARRY       the same; a copy of a live entry, see doc.go, "Copying forward"
//	STATE       term u64, vote u64, commit u64
//	SNAPSHOT    index u64, term u64, floor u64, metadata
//	CHECKPOINT  term u64, vote u64, commit u64, index u64, term of index u64, last u64, floor u64, metadata
//	FORGET      nothing: the group's log is as if it never was, term and vote apart
//	MARK        nothing: its header carries the watermark
//	PAD         zeros
//
// floor is the position from which the group's entries count: whatever was written before it is dead.
const (
	formatVersion = 1
	formatMagic   = "fpwal\r\n\x00"

	headerBytes     = 128
	headerCRCOffset = 72

	recordHeader    = 24
	entryFixed      = 24
	stateFixed      = 24
	snapshotFixed   = 24
	checkpointFixed = 56

	alignBytes      = 8
	blockBytes      = 4096
	maxSegmentBytes = 4<<30 - blockBytes // an offset fits 32 bits
)

type recordKind uint8

const (
	kindEntry recordKind = iota + 1
	kindState
	kindSnapshot
	kindMark
	kindPad
	kindCarry
	kindCheckpoint
	kindForget
	kindEnd // one past the last
)

// kindInfo says of a kind how long its payload is, and in which part of a segment it may stand. The two
// parts share no kind but PAD, so that what is left of an abandoned preamble can never be taken for a body.
type kindInfo struct {
	name           string
	least, most    uint32
	preamble, body bool
}

// kinds is read only. Kind 0 has no room for any length: zeros are not a record.
var kinds = [256]kindInfo{
	0:              {least: 1},
	kindEntry:      {name: "ENTRY", least: entryFixed, most: maxSegmentBytes, body: true},
	kindState:      {name: "STATE", least: stateFixed, most: stateFixed, body: true},
	kindSnapshot:   {name: "SNAPSHOT", least: snapshotFixed, most: snapshotFixed + MaxMetaBytes, body: true},
	kindForget:     {name: "FORGET", body: true},
	kindMark:       {name: "MARK", body: true},
	kindPad:        {name: "PAD", most: 2 * blockBytes, preamble: true, body: true},
	kindCarry:      {name: "CARRY", least: entryFixed, most: maxSegmentBytes, preamble: true},
	kindCheckpoint: {name: "CHECKPOINT", least: checkpointFixed, most: checkpointFixed + MaxMetaBytes, preamble: true},
}

func (k recordKind) String() string { return kinds[k].name }

// position is a place in the log: segment id << 32 | offset. It orders records across segments.
type position uint64

func makePosition(id uint64, off int64) position { return position(id<<32 | uint64(off)) }

func (p position) segment() uint64 { return uint64(p) >> 32 }
func (p position) offset() int64   { return int64(p & 0xffffffff) }
func (p position) String() string  { return fmt.Sprintf("%x:%d", p.segment(), p.offset()) }

func alignUp(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }

// recordSize is what a record with this payload takes on disk.
func recordSize(payload int) int {
	return int(alignUp(recordHeader+int64(payload), alignBytes))
}

// castagnoli is hardware CRC32C: 28 GB/s from 1 KiB on (ANCHORS D.2). Read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seed makes the checksums of one segment's records differ from those of every other segment, and of
// every other offset in this one: a record that moved, or was left over by the file's earlier life, fails
// with the odds of a random one, 2^-32. The mixer is that of splitmix64.
type seed uint64

func (s seed) at(off int64, length uint32) uint32 {
	x := uint64(s) ^ (uint64(off)<<32 | uint64(length))
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32(x ^ x>>31)
}

func makeSeed(id, salt uint64) seed { return seed(salt ^ id*0x9e3779b97f4a7c15) }

// header is a segment's header, decoded.
type header struct {
	groups        uint32
	id, salt      uint64
	prevSalt      uint64
	prevEnd       int64
	segmentBytes  int64
	checkpointOff int64
	preambleEnd   int64
}

func (h *header) seed() seed { return makeSeed(h.id, h.salt) }

func (h *header) encode(b []byte) {
	b = b[:headerBytes]
	clear(b)
	le := binary.LittleEndian
	copy(b, formatMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], h.groups)
	le.PutUint64(b[16:], h.id)
	le.PutUint64(b[24:], h.salt)
	le.PutUint64(b[32:], h.prevSalt)
	le.PutUint64(b[40:], uint64(h.prevEnd))
	le.PutUint64(b[48:], uint64(h.segmentBytes))
	le.PutUint64(b[56:], uint64(h.checkpointOff))
	le.PutUint64(b[64:], uint64(h.preambleEnd))
	le.PutUint32(b[headerCRCOffset:], crc32.Checksum(b[:headerCRCOffset], castagnoli))
}

// decode fills h from b and returns what is wrong with it, or "".
func (h *header) decode(b []byte) (reason string) {
	if len(b) < headerBytes {
		return "the file is shorter than a segment header"
	}
	le := binary.LittleEndian
	if string(b[:8]) != formatMagic {
		return "this is not a segment of the log (bad magic)"
	}
	if v := le.Uint32(b[8:]); v != formatVersion {
		return fmt.Sprintf("format version is %d, this program reads %d", v, formatVersion)
	}
	if le.Uint32(b[headerCRCOffset:]) != crc32.Checksum(b[:headerCRCOffset], castagnoli) {
		return "the checksum of the segment header is wrong"
	}
	u63 := func(off int) int64 { return int64(le.Uint64(b[off:]) &^ (1 << 63)) }
	*h = header{
		groups: le.Uint32(b[12:]), id: le.Uint64(b[16:]), salt: le.Uint64(b[24:]), prevSalt: le.Uint64(b[32:]),
		prevEnd: u63(40), segmentBytes: u63(48), checkpointOff: u63(56), preambleEnd: u63(64),
	}
	switch {
	case h.groups < 1 || h.groups > MaxGroups,
		h.segmentBytes > maxSegmentBytes,
		h.prevEnd > maxSegmentBytes || h.prevEnd%alignBytes != 0,
		h.checkpointOff < headerBytes || h.checkpointOff%alignBytes != 0,
		h.preambleEnd < h.checkpointOff || h.preambleEnd > h.segmentBytes || h.preambleEnd%blockBytes != 0:
		return "the segment header makes no sense"
	}
	return ""
}

// record is one decoded record. payload points into the bytes it was decoded from.
type record struct {
	kind    recordKind
	ekind   uint8
	group   uint32
	durable position
	payload []byte
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
// needed to go on, for bad 0. It never reads past b and never allocates.
func decodeRecord(b []byte, s seed, off, limit int64, r *record) (v verdict, size int) {
	if off+recordHeader > limit {
		return bad, 0
	}
	if len(b) < recordHeader {
		return short, recordHeader
	}
	le := binary.LittleEndian
	length := le.Uint32(b)
	kind := recordKind(b[16])
	info := &kinds[kind]
	if kind >= kindEnd || length < info.least || length > info.most || le.Uint16(b[18:]) != 0 {
		return bad, 0
	}
	n := alignUp(recordHeader+int64(length), alignBytes)
	if off+n > limit {
		return bad, 0
	}
	if int64(len(b)) < n {
		return short, int(n)
	}
	if crc32.Update(s.at(off, length), castagnoli, b[8:recordHeader+length]) != le.Uint32(b[4:]) {
		return bad, 0
	}
	r.kind = kind
	r.ekind = b[17]
	r.group = le.Uint32(b[20:])
	r.durable = position(le.Uint64(b[8:]))
	r.payload = b[recordHeader : recordHeader+length : recordHeader+length]
	return valid, int(n)
}

// word returns the i-th u64 of the payload.
func (r *record) word(i int) uint64 { return binary.LittleEndian.Uint64(r.payload[8*i:]) }

func (r *record) entry() (commit uint64, e Entry) {
	return r.word(2), Entry{Index: r.word(0), Term: r.word(1), Kind: r.ekind, Data: r.payload[entryFixed:]}
}

func (r *record) state() HardState {
	return HardState{Term: r.word(0), Vote: r.word(1), Commit: r.word(2)}
}

// cut is the payload of a SNAPSHOT, or that part of a CHECKPOINT.
type cut struct {
	index, term uint64
	floor       position
	meta        []byte
}

func (r *record) snapshot() cut {
	return cut{index: r.word(0), term: r.word(1), floor: position(r.word(2)), meta: r.payload[snapshotFixed:]}
}

func (r *record) checkpoint() (hs HardState, c cut, last uint64) {
	c = cut{index: r.word(3), term: r.word(4), floor: position(r.word(6)), meta: r.payload[checkpointFixed:]}
	return r.state(), c, r.word(5)
}

// encoder appends records to a buffer that will be written at a known place. It allocates only while the
// buffer grows.
type encoder struct {
	buf     []byte
	start   int64 // offset of buf[0] in the segment
	seed    seed
	durable position
}

func (e *encoder) offset() int64 { return e.start + int64(len(e.buf)) }

// begin reserves a record and returns it whole; end seals it when the payload is filled in.
func (e *encoder) begin(kind recordKind, ekind uint8, group uint32, payload int) []byte {
	at, n := len(e.buf), recordSize(payload)
	if cap(e.buf)-at < n {
		e.buf = append(e.buf[:cap(e.buf)], make([]byte, at+n-cap(e.buf))...)
	}
	e.buf = e.buf[:at+n]
	b := e.buf[at:]
	le := binary.LittleEndian
	le.PutUint64(b[n-8:], 0) // the padding; what else it hits is written below or by the caller
	le.PutUint32(b, uint32(payload))
	le.PutUint64(b[8:], uint64(e.durable))
	b[16], b[17] = byte(kind), ekind
	le.PutUint16(b[18:], 0)
	le.PutUint32(b[20:], group)
	return b
}

func (e *encoder) end(b []byte) {
	le := binary.LittleEndian
	length := le.Uint32(b)
	off := e.offset() - int64(len(b))
	le.PutUint32(b[4:], crc32.Update(e.seed.at(off, length), castagnoli, b[8:recordHeader+length]))
}

func (e *encoder) words(kind recordKind, ekind uint8, group uint32, tail []byte, words ...uint64) {
	b := e.begin(kind, ekind, group, 8*len(words)+len(tail))
	p := b[recordHeader:]
	for i, w := range words {
		binary.LittleEndian.PutUint64(p[8*i:], w)
	}
	copy(p[8*len(words):], tail)
	e.end(b)
}

func (e *encoder) entry(kind recordKind, group uint32, commit uint64, en *Entry) {
	e.words(kind, en.Kind, group, en.Data, en.Index, en.Term, commit)
}

func (e *encoder) state(group uint32, hs HardState) {
	e.words(kindState, 0, group, nil, hs.Term, hs.Vote, hs.Commit)
}

func (e *encoder) snapshot(group uint32, c cut) {
	e.words(kindSnapshot, 0, group, c.meta, c.index, c.term, uint64(c.floor))
}

func (e *encoder) checkpoint(group uint32, hs HardState, c cut, last uint64) {
	e.words(kindCheckpoint, 0, group, c.meta, hs.Term, hs.Vote, hs.Commit, c.index, c.term, last, uint64(c.floor))
}

func (e *encoder) forget(group uint32) { e.words(kindForget, 0, group, nil) }

func (e *encoder) mark() { e.words(kindMark, 0, 0, nil) }

// padTo fills up to the next multiple of to, unless that lies beyond limit.
func (e *encoder) padTo(to, limit int64) {
	gap := alignUp(e.offset(), to) - e.offset()
	if gap == 0 {
		return
	}
	if gap < recordHeader {
		gap += to
	}
	if e.offset()+gap > limit {
		return
	}
	b := e.begin(kindPad, 0, 0, int(gap)-recordHeader)
	clear(b[recordHeader:])
	e.end(b)
}

// File names.
const (
	segmentSuffix = ".wal"
	spareSuffix   = ".spare"
)

func segmentPath(dir string, id uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", id, segmentSuffix))
}

func sparePath(dir string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", n, spareSuffix))
}

// parseName splits a file name into its number and suffix.
func parseName(name string) (n uint64, suffix string, ok bool) {
	if len(name) < 16 {
		return 0, "", false
	}
	for _, c := range []byte(name[:16]) {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, "", false
		}
	}
	suffix = name[16:]
	return n, suffix, suffix == segmentSuffix || suffix == spareSuffix
}
