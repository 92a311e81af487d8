package history

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The file format, version 1, pinned by testdata/v1.hist. Integers are little-endian, CRCs are CRC32C.
//
//	+--------+--------+------------+-----+--------+
//	| header | block* | index page*| top | footer |
//	| 64 B   |        |            |     | 64 B   |
//	+--------+--------+------------+-----+--------+
//
// Header:
//
//	 0  magic       "fphist\r\n"
//	 8  version     u32   1
//	12  shard       u32
//	16  from        u64   first generation that the file covers
//	24  to          u64   last generation
//	32  zeros
//	60  crc         u32   of bytes 0..59
//
// Block, consecutive messages of one context:
//
//	 0  crc         u32   of bytes 4..end
//	 4  stored      u32   bytes of payload as stored
//	 8  raw         u32   bytes of payload after decompression
//	12  count       u32   messages
//	16  first       u64   seq of the first
//	24  idLen       u8
//	25  codec       u8    0: as it is, 1: zstd
//	26  zero        u16
//	28  context id, payload
//
// The payload is count times u32 (where each message ends in the text), then the text: the messages' JSON as the API
// gives it, separated by commas, so that a run of messages is one slice of it.
//
// Index page: crc u32 of the rest | count u32 | entries in the order of (context id, seq):
//
//	idLen u8 | id | first uvarint | count uvarint | offset of the block uvarint | its length uvarint
//
// Top: crc u32 of the rest | pages u32 | for each page: offset uvarint | length uvarint | key of its first entry
// (idLen u8 | id | first uvarint).
//
// Footer:
//
//	 0  magic       "fphist\r\f"
//	 8  topOffset   u64
//	16  topLength   u64
//	24  blocks      u64
//	32  messages    u64
//	40  rawBytes    u64   of all payloads
//	48  zeros
//	60  crc         u32   of bytes 0..59
const (
	formatVersion = 1
	headMagic     = "fphist\r\n"
	footMagic     = "fphist\r\f"

	headerBytes = 64
	footerBytes = 64
	blockHeader = 28

	codecRaw  = 0
	codecZstd = 1

	// maxRaw bounds the payload of a block, which is one message or about blockTarget: a message is at most the 8 MiB of a
	// request's body, which FASTPACA_MAX_BODY_BYTES may raise.
	maxRaw   = 256 << 20
	maxIndex = 1 << 28 // longest top: some million pages
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// DamagedError says that a file does not hold what was written. Nothing is answered from the damaged part.
type DamagedError struct {
	Path   string
	Offset int64
	Reason string
	of     *file // which of the files that had this name
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("history file %s is damaged at offset %d: %s; restore it from a backup or a replica", e.Path, e.Offset, e.Reason)
}

func appendHeader(dst []byte, shard uint32, from, to uint64) []byte {
	var b [headerBytes]byte
	copy(b[:], headMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], shard)
	le.PutUint64(b[16:], from)
	le.PutUint64(b[24:], to)
	le.PutUint32(b[60:], checksum(b[:60]))
	return append(dst, b[:]...)
}

func checkHeader(b []byte, shard uint32, from, to uint64) string {
	switch {
	case string(b[:8]) != headMagic:
		return "not a history file"
	case le.Uint32(b[60:]) != checksum(b[:60]):
		return "checksum of the header"
	case le.Uint32(b[8:]) != formatVersion:
		return fmt.Sprintf("format version %d, this program reads %d", le.Uint32(b[8:]), formatVersion)
	case le.Uint32(b[12:]) != shard || le.Uint64(b[16:]) != from || le.Uint64(b[24:]) != to:
		return "the name and the header differ: the file was renamed"
	}
	return ""
}

// footer is the end of a file.
type footer struct {
	topOffset, topLength      uint64
	blocks, messages, rawSize uint64
}

func (f *footer) append(dst []byte) []byte {
	var b [footerBytes]byte
	copy(b[:], footMagic)
	for i, v := range [...]uint64{f.topOffset, f.topLength, f.blocks, f.messages, f.rawSize} {
		le.PutUint64(b[8+8*i:], v)
	}
	le.PutUint32(b[60:], checksum(b[:60]))
	return append(dst, b[:]...)
}

func (f *footer) parse(b []byte) string {
	if string(b[:8]) != footMagic || le.Uint32(b[60:]) != checksum(b[:60]) {
		return "the end of the file is missing or its checksum is wrong"
	}
	for i, v := range [...]*uint64{&f.topOffset, &f.topLength, &f.blocks, &f.messages, &f.rawSize} {
		*v = le.Uint64(b[8+8*i:])
	}
	return ""
}

// key orders blocks: by context, then by the seq of the first message.
type key struct {
	id    string
	first uint64
}

func (k key) less(o key) bool { return k.id < o.id || k.id == o.id && k.first < o.first }

func appendKey(dst []byte, k key) []byte {
	dst = append(dst, byte(len(k.id)))
	dst = append(dst, k.id...)
	return binary.AppendUvarint(dst, k.first)
}

// entry is the place of a block.
type entry struct {
	key
	count  uint64
	offset uint64
	length uint64
}

func (e *entry) last() uint64 { return e.first + e.count - 1 }

// pageRef is the place of an index page and the key of its first entry.
type pageRef struct {
	key
	offset, length uint64
}

func appendEntry(dst []byte, e *entry) []byte {
	dst = appendKey(dst, e.key)
	dst = binary.AppendUvarint(dst, e.count)
	dst = binary.AppendUvarint(dst, e.offset)
	return binary.AppendUvarint(dst, e.length)
}

// cursor reads what the append functions write. bad is sticky.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes() []byte {
	if len(c.b) == 0 || len(c.b)-1 < int(c.b[0]) {
		c.bad, c.b = true, nil
		return nil
	}
	n := int(c.b[0])
	s := c.b[1 : 1+n]
	c.b = c.b[1+n:]
	return s
}
