package shard

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"

	"fastpaca/wal/walfs"
)

// The encoded state of a context, its record, is what a snapshot says of it (snapshot_state.go). It lies in one of two
// files of its shard:
//
//   - the newest snapshot file, where it begins at a byte of a chunk and may go on in the chunks behind it;
//   - the parking file, for contexts that left memory since. It is scratch: named anew in every life of the process, and
//     removed by the next start, which has all of it in the snapshot and the log.
//
// A parking file, version 1, is records one behind the other, integers little-endian:
//
//	crc u32 | zero u32 | length of the record u64 | record
//
// The crc is CRC-32C over the record's offset in the file (u64), its length, and itself: bytes that were written to another
// place, or that an earlier use of the place has left, do not pass.
//
// place.at tells the two apart and says where in the file:
//
//	snapshot:      offset of the chunk << 20 | offset in its raw bytes
//	parking file:  parkedBit | offset of the crc
const (
	parkedBit  = 1 << 63
	parkHeader = 16
	chunkShift = 20 // chunkMax is 1 << chunkShift
)

// recordFile is an open file with records. Whoever reads from it holds a reference; the last one closes it. The name may be
// gone by then.
type recordFile struct {
	f    walfs.File
	path string
	refs atomic.Int32
}

func newRecordFile(f walfs.File, path string) *recordFile {
	r := &recordFile{f: f, path: path}
	r.refs.Store(1)
	return r
}

func (f *recordFile) retain() *recordFile {
	if f != nil {
		f.refs.Add(1)
	}
	return f
}

func (f *recordFile) release() {
	if f != nil && f.refs.Add(-1) == 0 {
		_ = f.f.Close() // read only, or scratch
	}
}

// RecordError says that the state of a context cannot be read back from disk.
type RecordError struct {
	Path   string
	Parked bool // in a parking file, which the next start does without
	Err    error
}

func (e *RecordError) Error() string {
	if e.Parked {
		return fmt.Sprintf("the parking file %s cannot be read: %v; start the node again: it has everything in its snapshots and its log",
			e.Path, e.Err)
	}
	return fmt.Sprintf("the snapshot %s cannot be read: %v", e.Path, e.Err)
}

// Unwrap returns what is wrong with it.
func (e *RecordError) Unwrap() error { return e.Err }

// recordReader reads records. Those that lie in one chunk of a snapshot are decompressed once if they are read one after
// the other.
type recordReader struct {
	file *recordFile // of the chunk in c; nil: none
	pos  filePos
	buf  *bufio.Reader
	c    chunkReader
	d    stateDecoder
	room []byte // a record of a parking file
}

// recordBuffer is about a chunk as it is stored: most records come with one read.
const recordBuffer = chunkTarget

var recordReaders = sync.Pool{New: func() any {
	r := &recordReader{buf: bufio.NewReaderSize(nil, recordBuffer)}
	r.d.c = &r.c
	return r
}}

// acquireRecords returns a reader of records; give it back with releaseRecords.
func acquireRecords() *recordReader { return recordReaders.Get().(*recordReader) }

// recordsRetain is the most memory that a reader takes back into the pool: a context may be a gigabyte.
const recordsRetain = 4 << 20

func releaseRecords(r *recordReader) {
	r.file, r.pos.f = nil, nil
	if cap(r.room)+cap(r.d.scratch)+cap(r.c.buf)+cap(r.c.stored) > recordsRetain {
		return
	}
	recordReaders.Put(r)
}

// filePos reads a file from some offset on.
type filePos struct {
	f   walfs.File
	off int64
}

func (p *filePos) Read(b []byte) (int, error) {
	n, err := p.f.ReadAt(b, p.off)
	p.off += int64(n)
	if n > 0 {
		return n, nil // the end shows with the next call
	}
	return n, err
}

// seek places r at the record at p.
func (r *recordReader) seek(f *recordFile, p place) error {
	r.d.err = nil
	if p.at&parkedBit != 0 {
		return r.parked(f, p)
	}
	chunk, off := int64(p.at>>chunkShift), int(p.at&(chunkMax-1))
	if r.file != f || r.c.at != chunk {
		r.file = nil
		r.pos = filePos{f.f, chunk}
		r.buf.Reset(&r.pos)
		r.c.from(r.buf, chunk)
		if err := r.c.more(); err != nil {
			return &RecordError{Path: f.path, Err: err}
		}
		r.file = f
	}
	if off >= len(r.c.whole) {
		return &RecordError{Path: f.path, Err: r.c.fail("a record begins behind its chunk")}
	}
	r.c.raw = r.c.whole[off:]
	return nil
}

// parked places r at a record of a parking file: all of it is read.
func (r *recordReader) parked(f *recordFile, p place) error {
	r.file = nil
	off, size := int64(p.at&^parkedBit), int(p.bytes())
	if cap(r.room) < parkHeader+size {
		r.room = make([]byte, parkHeader+size)
	}
	b := r.room[:parkHeader+size]
	if n, err := f.f.ReadAt(b, off); n < len(b) {
		return &RecordError{Path: f.path, Parked: true, Err: fmt.Errorf("%d bytes at offset %d: %w", len(b), off, err)}
	}
	if binary.LittleEndian.Uint64(b[8:]) != uint64(size) || binary.LittleEndian.Uint32(b) != parkCRC(b, off) {
		return &RecordError{Path: f.path, Parked: true, Err: fmt.Errorf("the checksum of the record at offset %d does not match", off)}
	}
	r.c.from(nothing{}, off)
	r.c.raw, r.c.done = b[parkHeader:], true
	return nil
}

// nothing is an empty file.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// parkCRC is the checksum of the record b, header included, at offset off.
func parkCRC(b []byte, off int64) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(off))
	return crc32.Update(crc32.Checksum(at[:], castagnoli), castagnoli, b[4:])
}

// context builds the context of the record at p.
func (r *recordReader) context(f *recordFile, p place, ordinal uint32) (*Context, error) {
	if err := r.seek(f, p); err != nil {
		return nil, err
	}
	r.d.n = int(ordinal)
	ctx := r.d.context()
	if r.d.err != nil {
		r.file = nil
		return nil, &RecordError{Path: f.path, Parked: p.at&parkedBit != 0, Err: r.d.err}
	}
	ctx.ordinal, ctx.home = ordinal, p
	return ctx, nil
}

// copyTo gives the record at p to w.
func (r *recordReader) copyTo(w rawWriter, f *recordFile, p place) error {
	if err := r.seek(f, p); err != nil {
		return err
	}
	for left := p.bytes(); left > 0; {
		if len(r.c.raw) == 0 {
			if err := r.c.more(); err != nil {
				r.file = nil
				return &RecordError{Path: f.path, Err: err}
			}
			continue
		}
		b := r.c.raw[:min(int64(len(r.c.raw)), left)]
		w.write(b)
		r.c.raw = r.c.raw[len(b):]
		left -= int64(len(b))
	}
	return nil
}
