package walfs

import (
	"bytes"
	"slices"
)

// image is a file's bytes in blocks, so that what is durable, what processes see and what a crash leaves can share
// what they have in common: a simulated machine that loses power copies pointers, not its disk. nil is a block of zeros.
//
// A block is written only by the inode that made it, and only until its first Sync: from then on others may have it.
// Bytes of the last block that lie past size are zero.
type image struct {
	size   int64
	blocks []*block
}

type block [BlockBytes]byte

var zeroBlock block // never written

// blocksFor is how many blocks hold size bytes.
func blocksFor(size int64) int { return int((size + BlockBytes - 1) / BlockBytes) }

// read copies what lies at off, within size.
func (c *image) read(p []byte, off int64) {
	for len(p) > 0 {
		i, in := off/BlockBytes, off%BlockBytes
		n := min(len(p), int(BlockBytes-in))
		if b := c.blocks[i]; b != nil {
			copy(p[:n], b[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// at returns one byte, within size.
func (c *image) at(off int64) byte {
	if b := c.blocks[off/BlockBytes]; b != nil {
		return b[off%BlockBytes]
	}
	return 0
}

// own returns block i for writing: a copy of it, unless it is nobody else's. shared is the image that may have it.
func (c *image) own(i int, shared *image) *block {
	b := c.blocks[i]
	switch {
	case b == nil:
		b = new(block)
	case i < len(shared.blocks) && shared.blocks[i] == b:
		fresh := *b
		b = &fresh
	default:
		return b
	}
	c.blocks[i] = b
	return b
}

// write puts p at off, within size.
func (c *image) write(p []byte, off int64, shared *image) {
	for len(p) > 0 {
		i, in := int(off/BlockBytes), off%BlockBytes
		n := min(len(p), int(BlockBytes-in))
		if c.blocks[i] != nil || !bytes.Equal(p[:n], zeroBlock[:n]) {
			copy(c.own(i, shared)[in:], p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// resize cuts, or adds zeros.
func (c *image) resize(size int64, shared *image) {
	n := blocksFor(size)
	if size < c.size {
		clear(c.blocks[n:])
		c.blocks = c.blocks[:n]
		if in := size % BlockBytes; in > 0 && c.blocks[n-1] != nil {
			clear(c.own(n-1, shared)[in:])
		}
	} else {
		c.blocks = append(c.blocks, make([]*block, n-len(c.blocks))...)
	}
	c.size = size
}

// clone returns the same bytes, in the same blocks. Neither c nor the clone may write them from now on.
func (c *image) clone() image { return image{c.size, slices.Clone(c.blocks)} }
