package history

import (
	"fmt"
	"math"
	"sort"

	"github.com/klauspost/compress/zstd"
)

// blockTarget is the raw size at which a block is cut: a page of 100 messages of some hundred bytes lies in one or
// two, and zstd has enough to work with.
const blockTarget = 64 << 10

// builder gathers consecutive messages of one context into a block.
type builder struct {
	id    []byte
	first uint64
	ends  []uint32
	text  []byte
	raw   []byte // scratch
	zip   []byte // scratch
}

func (b *builder) empty() bool { return len(b.ends) == 0 }

// next is the seq that continues the block.
func (b *builder) next() uint64 { return b.first + uint64(len(b.ends)) }

// fits reports whether message seq of context id may go into the block.
func (b *builder) fits(id []byte, seq uint64) bool {
	return b.empty() || string(b.id) == string(id) && b.next() == seq && len(b.text) < blockTarget
}

func (b *builder) add(id []byte, seq uint64, json []byte) {
	if b.empty() {
		b.id, b.first = append(b.id[:0], id...), seq
	} else {
		b.text = append(b.text, ',')
	}
	b.text = append(b.text, json...)
	b.ends = append(b.ends, uint32(len(b.text)))
}

// seal appends the block to dst and empties the builder.
func (b *builder) seal(dst []byte, enc *zstd.Encoder) []byte {
	b.raw = b.raw[:0]
	for _, end := range b.ends {
		b.raw = le.AppendUint32(b.raw, end)
	}
	b.raw = append(b.raw, b.text...)
	payload, codec := b.raw, byte(codecRaw)
	if b.zip = enc.EncodeAll(b.raw, b.zip[:0]); len(b.zip) < len(b.raw) {
		payload, codec = b.zip, codecZstd
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(len(payload)))
	dst = le.AppendUint32(dst, uint32(len(b.raw)))
	dst = le.AppendUint32(dst, uint32(len(b.ends)))
	dst = le.AppendUint64(dst, b.first)
	dst = append(dst, byte(len(b.id)), codec, 0, 0)
	dst = append(dst, b.id...)
	dst = append(dst, payload...)
	le.PutUint32(dst[at:], checksum(dst[at+4:]))
	b.ends, b.text = b.ends[:0], b.text[:0]
	return dst
}

// block is a decoded block. It refers to the memory it was parsed from.
type block struct {
	id    []byte
	first uint64
	count int
	raw   int
	ends  []byte // count times u32
	text  []byte
}

func (b *block) last() uint64 { return b.first + uint64(b.count) - 1 }

// end is where message i ends in the text.
func (b *block) end(i int) int { return int(le.Uint32(b.ends[4*i:])) }

func (b *block) start(i int) int {
	if i == 0 {
		return 0
	}
	return b.end(i-1) + 1
}

// run is the text of the messages from .. to, which the block must hold.
func (b *block) run(from, to uint64) []byte {
	return b.text[b.start(int(from-b.first)):b.end(int(to-b.first))]
}

// fitting is the last message such that from .. it takes at most room bytes, no later than to; from-1 if there is none.
func (b *block) fitting(from, to uint64, room int) uint64 {
	start := b.start(int(from - b.first))
	n := sort.Search(int(to-from)+1, func(i int) bool { return b.end(int(from-b.first)+i)-start > room })
	return from + uint64(n) - 1
}

// parseBlock checks and decodes one whole block. room is reused for the decompressed payload, and returned.
func parseBlock(b, room []byte, dec *zstd.Decoder) (blk block, _ []byte, problem string) {
	if len(b) < blockHeader || le.Uint32(b) != checksum(b[4:]) {
		return blk, room, "checksum of a block"
	}
	stored, raw, count := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
	idLen, codec := int(b[24]), b[25]
	if uint64(len(b)) != blockHeader+uint64(idLen)+stored || raw > maxRaw || count == 0 || 4*count > raw {
		return blk, room, "lengths of a block"
	}
	blk = block{id: b[blockHeader : blockHeader+idLen], first: le.Uint64(b[16:]), count: int(count), raw: int(raw)}
	if blk.first == 0 || blk.last() < blk.first || blk.last() == math.MaxUint64 {
		return blk, room, "seqs of a block" // what follows the last is a number, too
	}
	payload := b[blockHeader+idLen:]
	switch codec {
	case codecRaw:
	case codecZstd:
		if cap(room) < int(raw) {
			room = make([]byte, 0, raw)
		}
		out, err := dec.DecodeAll(payload, room[:0])
		if err != nil {
			return blk, room, fmt.Sprintf("a block does not decompress: %v", err)
		}
		payload, room = out, out
	default:
		return blk, room, fmt.Sprintf("a block has codec %d", codec)
	}
	if uint64(len(payload)) != raw {
		return blk, room, "a block decompresses to another size"
	}
	blk.ends, blk.text = payload[:4*count], payload[4*count:]
	at := -1 // each message ends behind the one before, and the last at the end
	for i := range blk.count {
		if end := blk.end(i); end <= at || end > len(blk.text) {
			return blk, room, "message bounds of a block"
		}
		at = blk.end(i)
	}
	if at != len(blk.text) {
		return blk, room, "message bounds of a block"
	}
	return blk, room, ""
}
