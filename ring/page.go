package ring

import (
	"encoding/binary"
	"math"
)

// A page is one allocation without pointers, so that a million messages are not a million objects for the garbage
// collector (ANCHORS D.3). Messages grow from the front, slots from the back:
//
//	0      16                           front        size-32n    size-64  size-32    size
//	+------+-----------+-----------+----+------------+----------+--------+----------+
//	|header| message 0 | message 1 | .. |    free    | slot n-1 |   ..   |  slot 0  |
//	+------+-----------+-----------+----+------------+----------+--------+----------+
//
//	header:   firstSeq u64 | baseCum u64      seq of message 0, tokens of all messages before it
//	message:  JSON | ',' | aux                aux may be empty (aux.go)
//	slot:     start u32 | len u32 | live u32 | used u32 | cum u64 | version u48 | flags u16
//
// All integers are little endian. start is the offset of the JSON in the page and len its length; the ',' behind it is
// not counted. cum is the number of tokens of all messages of the context through this one. live and used are set in
// the last message of a version only (FlagEnd): the number of messages from the start of the window through this one
// (seq + 1 - liveFrom) and the tokens of the window after this version, both saturating.
//
// Messages without aux lie back to back with their commas, so that a run of them is served by one copy.
//
// Snapshots store pages as they are: the layout is pinned by testdata/page.golden and changes only with a new version
// of the snapshot.
type page []byte

const (
	pageHeader = 16
	slotSize   = 32

	// minPage and maxPage bound the size of a page in bytes; a message that needs more gets a page of its own size.
	minPage = 1 << 10
	maxPage = 64 << 10

	// MaxMessage bounds what one Reserve may ask for, in bytes. Offsets are 32 bits wide.
	MaxMessage = 1 << 30

	// SlotSize is what the log keeps about each message beside its bytes.
	SlotSize = slotSize

	maxVersion = 1<<48 - 1
)

// Flags of a message, as stored in its slot.
const (
	FlagSystem     = 1 << iota // role is system: given by the writer
	FlagToolCall               // has a tool call: derived from aux
	FlagToolResult             // has a tool result: derived from aux
	FlagCut                    // the policy cut the window at this version; only with FlagEnd
	FlagEnd                    // last message of its version
	FlagAux                    // aux bytes follow the JSON

	flagsAll = FlagAux<<1 - 1
)

var le = binary.LittleEndian

// newPage returns an empty page of size bytes whose first message will be firstSeq.
func newPage(size int, firstSeq, baseCum uint64) page {
	p := make(page, size)
	le.PutUint64(p[0:], firstSeq)
	le.PutUint64(p[8:], baseCum)
	return p
}

func (p page) first() uint64 { return le.Uint64(p[0:]) }
func (p page) base() uint64  { return le.Uint64(p[8:]) }

// slot returns the slot of the i-th message of the page.
func (p page) slot(i int) slot {
	end := len(p) - i*slotSize
	return slot(p[end-slotSize : end : end])
}

// slot is the 32 bytes of facts about one message.
type slot []byte

func (s slot) start() uint32   { return le.Uint32(s[0:]) }
func (s slot) len() uint32     { return le.Uint32(s[4:]) }
func (s slot) live() uint32    { return le.Uint32(s[8:]) }
func (s slot) used() uint32    { return le.Uint32(s[12:]) }
func (s slot) cum() uint64     { return le.Uint64(s[16:]) }
func (s slot) version() uint64 { return le.Uint64(s[24:]) & maxVersion }
func (s slot) flags() uint16   { return le.Uint16(s[30:]) }

func (s slot) put(start, length uint32, cum, version uint64, flags uint16) {
	_ = s[slotSize-1]
	le.PutUint32(s[0:], start)
	le.PutUint32(s[4:], length)
	le.PutUint64(s[8:], 0)
	le.PutUint64(s[16:], cum)
	le.PutUint64(s[24:], version|uint64(flags)<<48)
}

func (s slot) seal(live, used uint64, flags uint16) {
	le.PutUint32(s[8:], saturate(live))
	le.PutUint32(s[12:], saturate(used))
	le.PutUint16(s[30:], s.flags()|flags)
}

func saturate(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// pageSize returns the size of the next page, in bytes, for a tail whose pages have held bytes by now and a message
// that needs need bytes with its comma and slot.
//
// The page is to have a twelfth of what is there, between minPage and maxPage: that bounds the free space at the end to
// 8% and still reaches 64 KiB after some 60 pages. It is then made to measure for a whole number of messages like
// this one, since those of a context are often of one kind, and rounded up to a size class, so that nothing is lost to
// rounding. The first page of a tail is different: it grows in place (extend).
func pageSize(held uint64, need int) int {
	target := int(min(max(held/12, minPage), maxPage)) - pageHeader
	size := pageHeader + need*max((target+need/2)/need, 1)
	if pageHeader+need <= maxPage {
		size = min(size, maxPage)
	}
	return classUp(size)
}

// classUp rounds size up to a size class of Go's allocator. The classes are a table of ours because the size of a page
// is part of the state of a replica and must not change with the toolchain.
func classUp(size int) int {
	classes := [...]int{
		1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3456, 4096, 4864, 5376, 6144, 6784, 8192,
		9472, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 20480, 21760, 24576, 27264, 28672, 32768,
	}
	for _, c := range classes {
		if size <= c {
			return c
		}
	}
	const step = 8 << 10 // above the classes the allocator hands out whole pages of 8 KiB
	return (size + step - 1) / step * step
}
