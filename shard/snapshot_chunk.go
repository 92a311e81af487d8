package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/s2"
)

// A snapshot file, all integers little-endian:
//
//	header   magic "fastpaca" | version u32 = 1 | shard u32 | index u64 | term u64 | meta len u32 | meta | crc u32
//	chunk    raw len u32 (1 to 1 MiB) | stored len u32 | crc u32 | stored: a Snappy block
//	...
//	trailer  0 u32 | 24 u32 | crc u32 | contexts u64 | raw bytes u64 | raw crc u32 | 0 u32
//
// A chunk ends where its context ends, once it has chunkTarget bytes: reading one context means decompressing one chunk,
// and the encoder's window is no longer than that anyway. Only what is larger than chunkMax goes on in the next.
//
// Every crc is CRC-32C: the header's over what is before it, a chunk's and the trailer's over its two
// lengths and what follows the crc. The raw crc runs over all raw bytes of all chunks: replicas can compare
// it at one index. A file without its trailer is not a snapshot. snapshot_block.go says why our own
// encoder writes the blocks; s2.Decode reads them.
const (
	snapshotMagic   = "fastpaca"
	snapshotVersion = 1

	snapshotHeaderSize = 8 + 4 + 4 + 8 + 8 + 4
	chunkHeaderSize    = 12
	chunkMax           = 1 << chunkShift
	chunkTarget        = 64 << 10
	trailerSize        = 24

	// SnapshotMetaMax bounds the opaque meta bytes of a snapshot.
	SnapshotMetaMax = 64 << 10
)

// SnapshotInfo is the header of a snapshot.
type SnapshotInfo struct {
	Shard       uint32
	Index, Term uint64 // of the last log entry that is in it
	Meta        []byte // opaque: what the runtime stored with it, for example the membership

	Contexts uint64 // from the trailer
	RawBytes uint64 // size before compression
	RawCRC   uint32 // of the state itself: equal on every replica at this index
}

// SnapshotError says why a snapshot cannot be loaded.
type SnapshotError struct {
	Offset int64 // in the file, of the header, chunk or trailer that is wrong
	Reason string
}

func (e *SnapshotError) Error() string {
	return fmt.Sprintf("the snapshot is damaged at offset %d: %s; remove the file if an older snapshot and its log are there, "+
		"else restore the data directory from a backup or a replica", e.Offset, e.Reason)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunkWriter cuts a stream of raw bytes into chunks.
type chunkWriter struct {
	w       io.Writer
	encoder blockEncoder
	raw     []byte
	stored  []byte
	written int64
	total   uint64
	crc     uint32
	err     error
}

func newChunkWriter(w io.Writer, info *SnapshotInfo) *chunkWriter {
	c := &chunkWriter{w: w}
	b := make([]byte, 0, snapshotHeaderSize+len(info.Meta)+4)
	b = append(b, snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, snapshotVersion)
	b = binary.LittleEndian.AppendUint32(b, info.Shard)
	b = binary.LittleEndian.AppendUint64(b, info.Index)
	b = binary.LittleEndian.AppendUint64(b, info.Term)
	b = appendBytes(b, info.Meta)
	c.put(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
	return c
}

func (c *chunkWriter) put(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.written += int64(n)
	c.err = err
}

// write adds raw bytes.
func (c *chunkWriter) write(b []byte) {
	for len(b) > 0 {
		n := min(len(b), chunkMax-len(c.raw))
		c.raw = append(c.raw, b[:n]...)
		b = b[n:]
		if len(c.raw) == chunkMax {
			c.flush()
		}
	}
}

// place ends the chunk if it is long enough and returns where in the file what is written next begins, in the form of
// place.at. Called between contexts.
func (c *chunkWriter) place() uint64 {
	if len(c.raw) >= chunkTarget {
		c.flush()
	}
	return uint64(c.written)<<chunkShift | uint64(len(c.raw))
}

// rawBytes is how many raw bytes were written.
func (c *chunkWriter) rawBytes() uint64 { return c.total + uint64(len(c.raw)) }

func (c *chunkWriter) flush() {
	if len(c.raw) == 0 || c.err != nil {
		c.raw = c.raw[:0]
		return
	}
	c.crc = crc32.Update(c.crc, castagnoli, c.raw)
	c.total += uint64(len(c.raw))
	block := c.encoder.encode(c.room(maxBlockLen(len(c.raw))), c.raw)
	c.seal(len(c.raw), len(block))
	c.raw = c.raw[:0]
}

// room returns an empty slice behind the room for a chunk's header, with a capacity of at least n.
func (c *chunkWriter) room(n int) []byte {
	if cap(c.stored) < chunkHeaderSize+n {
		c.stored = make([]byte, 0, chunkHeaderSize+n)
	}
	return c.stored[chunkHeaderSize:chunkHeaderSize]
}

// seal writes the chunk whose stored bytes are in place behind room for its header.
func (c *chunkWriter) seal(raw, stored int) {
	b := c.stored[:chunkHeaderSize+stored]
	binary.LittleEndian.PutUint32(b, uint32(raw))
	binary.LittleEndian.PutUint32(b[4:], uint32(stored))
	binary.LittleEndian.PutUint32(b[8:], chunkCRC(b))
	c.put(b)
}

// chunkCRC is over a chunk without the field that holds it.
func chunkCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, b[chunkHeaderSize:])
}

// finish writes what is left and the trailer.
func (c *chunkWriter) finish(contexts uint64) (int64, error) {
	c.flush()
	b := c.room(trailerSize)
	b = binary.LittleEndian.AppendUint64(b, contexts)
	b = binary.LittleEndian.AppendUint64(b, c.total)
	b = binary.LittleEndian.AppendUint32(b, c.crc)
	binary.LittleEndian.AppendUint32(b, 0)
	c.seal(0, trailerSize)
	return c.written, c.err
}

// chunkReader is the inverse of chunkWriter. Its memory is bounded by the size of a chunk, whatever the
// file says.
type chunkReader struct {
	r      io.Reader
	info   SnapshotInfo
	offset int64 // of the chunk that is read next
	at     int64 // of the chunk that raw came from
	stored []byte
	buf    []byte
	raw    []byte // not consumed yet
	whole  []byte // the chunk that raw is the end of
	total  uint64
	crc    uint32
	done   bool
}

// from makes c read chunks from r, which begins with the one at offset in the file. It keeps its memory.
func (c *chunkReader) from(r io.Reader, offset int64) {
	*c = chunkReader{r: r, offset: offset, at: offset, stored: c.stored, buf: c.buf}
}

// place is where what is read next begins, in the form of place.at. At the end of the state it is the trailer's.
func (c *chunkReader) place() (uint64, error) {
	for len(c.raw) == 0 && !c.done {
		if err := c.more(); err != nil {
			return 0, err
		}
	}
	return uint64(c.at)<<chunkShift | uint64(len(c.whole)-len(c.raw)), nil
}

// consumed is how many raw bytes were taken.
func (c *chunkReader) consumed() uint64 { return c.total - uint64(len(c.raw)) }

// skip leaves the next n raw bytes out.
func (c *chunkReader) skip(n uint64) error {
	for n > uint64(len(c.raw)) {
		n -= uint64(len(c.raw))
		if err := c.more(); err != nil {
			return err
		}
		if c.done {
			return c.fail("the state ends in the middle of a context")
		}
	}
	c.raw = c.raw[n:]
	return nil
}

// newChunkReader reads the header.
func newChunkReader(r io.Reader) (*chunkReader, error) {
	c := &chunkReader{r: r}
	b := make([]byte, snapshotHeaderSize, snapshotHeaderSize+64)
	if err := c.read(b); err != nil {
		return nil, err
	}
	if string(b[:8]) != snapshotMagic {
		return nil, c.fail("it does not begin like a snapshot")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != snapshotVersion {
		return nil, c.fail(fmt.Sprintf("it has format version %d, this build knows %d", v, snapshotVersion))
	}
	metaLen := binary.LittleEndian.Uint32(b[32:])
	if metaLen > SnapshotMetaMax {
		return nil, c.fail("its meta data are longer than can be")
	}
	b = append(b, make([]byte, metaLen+4)...)
	if err := c.read(b[snapshotHeaderSize:]); err != nil {
		return nil, err
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, c.fail("the checksum of the header does not match")
	}
	c.info = SnapshotInfo{
		Shard: binary.LittleEndian.Uint32(b[12:]),
		Index: binary.LittleEndian.Uint64(b[16:]),
		Term:  binary.LittleEndian.Uint64(b[24:]),
		Meta:  body[snapshotHeaderSize:],
	}
	c.offset = int64(len(b))
	c.at = c.offset
	return c, nil
}

func (c *chunkReader) fail(reason string) error {
	return &SnapshotError{Offset: c.at, Reason: reason}
}

func (c *chunkReader) read(b []byte) error {
	switch _, err := io.ReadFull(c.r, b); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return c.fail("the file ends too early")
	case err != nil:
		return fmt.Errorf("reading a snapshot: %w", err)
	}
	return nil
}

// more reads the next chunk into raw. At the trailer it sets done.
func (c *chunkReader) more() error {
	c.at, c.raw, c.whole = c.offset, nil, nil
	if c.done {
		return c.fail("the state goes on after the trailer")
	}
	if cap(c.stored) < chunkHeaderSize {
		c.stored = make([]byte, chunkHeaderSize, 4<<10)
	}
	head := c.stored[:chunkHeaderSize]
	if err := c.read(head); err != nil {
		return err
	}
	raw, stored := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if raw > chunkMax || int64(stored) > int64(maxBlockLen(chunkMax)) || raw == 0 && stored != trailerSize {
		return c.fail("a chunk has lengths that cannot be")
	}
	if need := chunkHeaderSize + int(stored); cap(c.stored) < need {
		c.stored = append(make([]byte, 0, need), head...)
	}
	b := c.stored[:chunkHeaderSize+int(stored)]
	if err := c.read(b[chunkHeaderSize:]); err != nil {
		return err
	}
	if chunkCRC(b) != binary.LittleEndian.Uint32(b[8:]) {
		return c.fail("the checksum of a chunk does not match")
	}
	c.offset += int64(len(b))
	if raw == 0 {
		return c.trailer(b[chunkHeaderSize:])
	}
	body := b[chunkHeaderSize:]
	if n, err := s2.DecodedLen(body); err != nil || n != int(raw) {
		return c.fail("a chunk does not decompress to the length that it claims")
	}
	if cap(c.buf) < int(raw) {
		c.buf = make([]byte, raw)
	}
	out, err := s2.Decode(c.buf[:cap(c.buf)], body)
	if err != nil {
		return c.fail("a chunk does not decompress: " + err.Error())
	}
	c.raw, c.whole = out, out
	c.total += uint64(raw)
	c.crc = crc32.Update(c.crc, castagnoli, out)
	return nil
}

func (c *chunkReader) trailer(b []byte) error {
	c.done = true
	c.info.Contexts = binary.LittleEndian.Uint64(b)
	c.info.RawBytes = binary.LittleEndian.Uint64(b[8:])
	c.info.RawCRC = binary.LittleEndian.Uint32(b[16:])
	if c.info.RawBytes != c.total || c.info.RawCRC != c.crc {
		return c.fail("the trailer does not match what was read: chunks are missing or in the wrong order")
	}
	return nil
}

// fill copies the next len(dst) raw bytes.
func (c *chunkReader) fill(dst []byte) error {
	for len(dst) > 0 {
		if len(c.raw) == 0 {
			if err := c.more(); err != nil {
				return err
			}
			if c.done {
				return c.fail("the state ends in the middle of a context")
			}
		}
		n := copy(dst, c.raw)
		dst, c.raw = dst[n:], c.raw[n:]
	}
	return nil
}

// grow appends the next n raw bytes to dst, never allocating much more than has really been read.
func (c *chunkReader) grow(dst []byte, n uint64) ([]byte, error) {
	for n > 0 {
		step := int(min(n, chunkMax))
		from := len(dst)
		dst = append(dst, make([]byte, step)...)
		if err := c.fill(dst[from:]); err != nil {
			return nil, err
		}
		n -= uint64(step)
	}
	return dst, nil
}

// atEnd says whether the trailer comes next, and reads it then.
func (c *chunkReader) atEnd() (bool, error) {
	for len(c.raw) == 0 && !c.done {
		if err := c.more(); err != nil {
			return false, err
		}
	}
	return len(c.raw) == 0, nil
}
