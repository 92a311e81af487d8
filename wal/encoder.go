package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// encoder appends records to a buffer that will be written at a known place. It allocates only while the
// buffer grows.
type encoder struct {
	buf     []byte
	start   int64 // offset of buf[0] in the segment
	life    life
	durable position // in this segment
	blocks  blocks   // what buf is a part of
}

func (e *encoder) offset() int64 { return e.start + int64(len(e.buf)) }

// put appends a record: words, data, and so many zeros behind it.
func (e *encoder) put(kind recordKind, ekind uint8, group uint32, data []byte, zeros int, words ...uint64) {
	off := e.offset()
	b := e.grow(recordHead + 1 + 8*len(words) + len(data) + zeros + alignBytes)
	le := binary.LittleEndian
	tag := uint16(kind)
	i := recordHead
	if ekind != 0 {
		tag |= tagEntryKind
		b[i] = ekind
		i++
	}
	for w, v := range words {
		le.PutUint64(b[i:], v)
		if w >= tagWords {
			i += 8
			continue
		}
		more := (bits.Len64(v|1) - 1) / 8 // bytes less 1
		tag |= uint16(more) << (5 + 3*w)
		i += more + 1
	}
	i += copy(b[i:], data)
	if zeros > 0 {
		clear(b[i : i+zeros])
		i += zeros
	}
	le.PutUint64(b[i:], 0) // the padding, and more
	length := i
	le.PutUint16(b[10:], tag)
	le.PutUint16(b[12:], uint16(group))
	le.PutUint16(b[14:], unmarked(off-e.durable.offset()))
	e.life.seal(b[:length], off)
	e.buf = e.buf[:len(e.buf)+int(alignUp(int64(length), alignBytes))]
}

// seal fills in what makes the record b, without padding, valid at off.
func (l life) seal(b []byte, off int64) {
	sum := l.at(off, uint32(len(b)))
	le := binary.LittleEndian
	le.PutUint32(b[4:], uint32(len(b)))
	le.PutUint16(b[8:], uint16(sum>>32))
	le.PutUint32(b, crc32.Update(uint32(sum), castagnoli, b[8:]))
}

// grow makes room for n bytes behind the buffer, with anything in them, and returns them.
func (e *encoder) grow(n int) []byte {
	at := len(e.buf)
	if cap(e.buf)-at < n {
		e.buf = e.blocks.grow(e.buf, n)
	}
	return e.buf[at : at+n]
}

func (e *encoder) entry(kind recordKind, group uint32, commit uint64, en *Entry) {
	e.put(kind, en.Kind, group, en.Data, 0, en.Index, en.Term, zigzag(en.Index-commit))
}

func (e *encoder) state(group uint32, hs HardState) {
	e.put(kindState, 0, group, nil, 0, hs.Term, hs.Vote, hs.Commit)
}

func (e *encoder) snapshot(group uint32, c cut) {
	e.put(kindSnapshot, 0, group, c.meta, 0, c.index, c.term, uint64(c.floor))
}

func (e *encoder) checkpoint(group uint32, hs HardState, c cut, last uint64) {
	e.put(kindCheckpoint, 0, group, c.meta, 0, hs.Term, hs.Vote, hs.Commit, c.index, c.term, last, uint64(c.floor))
}

func (e *encoder) forget(group uint32) { e.put(kindForget, 0, group, nil, 0) }

func (e *encoder) mark() { e.put(kindMark, 0, 0, nil, 0) }

// padTo fills up to the next multiple of to, unless that lies beyond limit.
func (e *encoder) padTo(to, limit int64) {
	gap := alignUp(e.offset(), to) - e.offset()
	if gap == 0 {
		return
	}
	if gap < recordHead {
		gap += to
	}
	if e.offset()+gap > limit {
		return
	}
	e.pad(int(gap))
}

// pad appends a PAD record that takes gap bytes: a multiple of 8, at least recordHead and at most 2 blocks.
func (e *encoder) pad(gap int) { e.put(kindPad, 0, 0, nil, gap-recordHead) }
