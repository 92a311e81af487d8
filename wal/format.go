package wal

import (
	"fmt"
	"hash/crc32"
	"path/filepath"
)

// The disk format, version 2. Everything here is pinned by golden files in testdata/ and may change only
// together with formatVersion. Integers are little-endian. Segments of version 1 are read and never written:
// record_v1.go.
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
//	 8  version        u32   2
//	12  groups         u32   number of CHECKPOINT records
//	16  id             u64   as in the name
//	24  salt           u64   random; binds the records to this segment
//	32  prevSalt       u64   salt of segment id-1, 0 if this is the first: a chain, so that a file of
//	                         another log or another life under the right name is found out
//	40  prevEnd        u64   where the body of segment id-1 ends
//	48  segmentBytes   u64   size of the file when it was made
//	56  checkpointOff  u64
//	64  preambleEnd    u64
//	72  crc            u32   CRC32C of bytes 0..71
//	76  zeros to 128
//
// Record, at an offset that is a multiple of 8:
//
//	 0  crc            u32   CRC32C from byte 8 up to the end of data, begun with the low 32 bits of life.at
//	 4  length         u32   of the record, without padding
//	 8  check          u16   the next 16 bits of life.at: whether a record of this length may begin here
//	10  tag            u16   bits 0..3   kind
//	                         bit  4      an entry kind follows (ENTRY, CARRY); without it, it is 0
//	                         bits 5..13  bytes of the first three words, less 1: three bits each
//	12  group          u16
//	14  unmarked       u16   how far before the record the log was durable when it was written: in units of 8
//	                         bytes or, with bit 15, of 256 KiB, and then rounded up
//	16  entry kind     u8    or nothing
//	    words          the first three as the tag says, any more u64
//	    data
//	    0..7 bytes of padding, not covered by the checksum
//
// The width of a word is in the tag and not, as a varint's, in a bit of each byte: decoding it takes no branch,
// and recovery is bound by the processor. check costs nothing, since life.at is computed anyhow, and is what makes
// it cheap to search garbage for records (tail.go): one place in 2^16 goes on to the checksum of what follows.
//
// A position is segment id << 32 | offset: it orders the whole log. unmarked counts within the segment, which was
// durable up to its preamble before it had records; the watermark is the record's position less it.
//
// Words and data:
//
//	ENTRY       index, term, index-commit, data
//	CARRY       the same; a copy of a live entry, see doc.go, "Copying forward"
//	STATE       term, vote, commit
//	SNAPSHOT    index, term, floor, metadata
//	CHECKPOINT  term, vote, commit, index, term of index, last, floor, metadata
//	FORGET      nothing: the group's log is as if it never was, term and vote apart
//	MARK        nothing: it carries the watermark
//	PAD         data: zeros
//
// floor is the position from which the group's entries count: whatever was written before it is dead. index-commit
// is signed (zigzag): most entries are written a few indexes ahead of the commit index, a follower that catches up
// writes them behind it.
const (
	formatVersion = 2
	formatMagic   = "fpwal\r\n\x00"

	headerBytes     = 128
	headerCRCOffset = 72

	recordHead  = 16                              // no record is shorter
	recordFront = recordHead + 1 + 8*tagWords + 7 // from where a word is loaded, 8 bytes are loaded

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

// kindInfo says of a kind how many words it has, how much data, and in which part of a segment it may stand. The
// two parts share no kind but PAD, so that what is left of an abandoned preamble can never be taken for a body.
type kindInfo struct {
	name           string
	words          int
	data           uint32 // at most
	preamble, body bool
}

// Words of variable width, and of any kind at most. A kind has none, or at least the former.
const (
	tagWords = 3
	maxWords = 7
)

// kinds is read only. Those without a name are no kinds.
var kinds = [256]kindInfo{
	kindEntry:      {name: "ENTRY", words: tagWords, data: maxSegmentBytes, body: true},
	kindState:      {name: "STATE", words: tagWords, body: true},
	kindSnapshot:   {name: "SNAPSHOT", words: tagWords, data: MaxMetaBytes, body: true},
	kindForget:     {name: "FORGET", body: true},
	kindMark:       {name: "MARK", body: true},
	kindPad:        {name: "PAD", data: 2 * blockBytes, preamble: true, body: true},
	kindCarry:      {name: "CARRY", words: tagWords, data: maxSegmentBytes, preamble: true},
	kindCheckpoint: {name: "CHECKPOINT", words: maxWords, data: MaxMetaBytes, preamble: true},
}

func (k recordKind) String() string { return kinds[k].name }

// recordBound is the most that a record with so much data takes on disk, wherever it stands.
func recordBound(k recordKind, data int) int {
	return int(alignUp(int64(recordHead+1+8*kinds[k].words+data), alignBytes))
}

// position is a place in the log: segment id << 32 | offset. It orders records across segments.
type position uint64

func makePosition(id uint64, off int64) position { return position(id<<32 | uint64(off)) }

func (p position) segment() uint64 { return uint64(p) >> 32 }
func (p position) offset() int64   { return int64(p & 0xffffffff) }
func (p position) String() string  { return fmt.Sprintf("%x:%d", p.segment(), p.offset()) }

func alignUp(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }

// castagnoli is hardware CRC32C: 28 GB/s from 1 KiB on (ANCHORS D.2). Read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// life is one segment's, under one salt. It makes the checksums of its records differ from those of every other
// segment, every earlier life of the file, and every other offset in this one: a record that moved, or was left
// over, fails with the odds of a random one, 2^-32 (and 2^-16 to be looked at).
type life struct {
	mix     uint64
	id      uint64
	version uint32
}

func makeLife(version uint32, id, salt uint64) life {
	return life{mix: salt ^ id*0x9e3779b97f4a7c15, id: id, version: version}
}

// at mixes in where a record stands and its length, as splitmix64 does.
func (l life) at(off int64, length uint32) uint64 {
	x := l.mix ^ (uint64(off)<<32 | uint64(length))
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
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
