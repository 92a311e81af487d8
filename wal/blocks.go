package wal

import "fastpaca/wal/walfs"

// blocks is the memory that an encoder's buffer lies in: it begins where a block of the file does, and as a disk wants
// it (walfs.DirectAlign), so that what is written can be made whole blocks without a copy.
//
//	mem:  | written before | the encoder's buffer | zeros |
//	      block            start                          block
//
// A write of whole blocks needs nothing of what is on disk. A part of a block that is not in the page cache, as one of a segment that was
// made a while ago or was written past it, has the system read it first, and the writer wait for that.
type blocks struct {
	mem   []byte // whole blocks
	front int    // bytes of the first one that were written before
}

// grow returns buf with room for n more bytes.
func (m *blocks) grow(buf []byte, n int) []byte {
	used := m.front + len(buf)
	mem := walfs.Aligned(int(alignUp(int64(max(used+n, 2*len(m.mem))), blockBytes)))
	copy(mem, m.mem[:m.front])
	copy(mem[m.front:], buf)
	m.mem = mem
	return mem[m.front:used]
}

// whole returns what is written to whole blocks when buf is: what was written before, buf, zeros.
func (m *blocks) whole(buf []byte) []byte {
	end := m.front + len(buf)
	all := m.mem[:alignUp(int64(end), blockBytes)]
	clear(all[end:])
	return all
}

// padded returns buf with zeros up to the end of its last block.
func (m *blocks) padded(buf []byte) []byte { return m.whole(buf)[m.front:] }

// wrote returns the buffer for what comes behind buf, which has been written. keep bounds the memory that is kept.
func (m *blocks) wrote(buf []byte, keep int) []byte {
	end := m.front + len(buf)
	last := end &^ (blockBytes - 1)
	mem := m.mem
	if len(mem) > keep {
		mem = walfs.Aligned(blockBytes)
	}
	m.front = copy(mem, m.mem[last:end])
	m.mem = mem
	return mem[m.front:m.front]
}
