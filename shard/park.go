package shard

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// parkBatchBytes of contexts in memory are written to the parking file at a time, parkBatchMax contexts at most: some
// milliseconds of one processor, and less than the log's writer could notice.
const (
	parkBatchBytes = 1 << 20
	parkBatchMax   = 1024
)

// Sweep looks at the next n contexts, as the hand of a clock goes around: one that was touched since the last time is left
// alone until the next; any other leaves memory, at once if a record of its state is on disk already. It returns whether
// there is enough to write to begin a batch.
func (m *Machine) Sweep(n int) (due bool) {
	p := &m.parking
	total := uint32(m.contexts.len())
	for n = min(n, int(total)); n > 0; n-- {
		if p.cursor >= total {
			p.cursor, due = 0, true // what little there is, once around
		}
		c := m.contexts.live(p.cursor).Load()
		p.cursor++
		switch {
		case c == nil || c.idle:
		case c.touched.Load():
			c.touched.Store(false)
		case !m.parkable(c):
		case c.home.known():
			m.parkAt(c, c.home)
		case len(p.idle) < parkBatchMax:
			c.idle = true
			p.idle = append(p.idle, c)
			p.idleBytes += c.bytes()
		}
	}
	return len(p.idle) > 0 && (due || p.idleBytes >= parkBatchBytes || len(p.idle) == parkBatchMax)
}

// ParkBatch is contexts that are about to leave memory.
type ParkBatch struct {
	file  *scratchFile // holds a reference
	fresh bool         // file was made for this batch
	items []capturedContext
	marks []captureMark
}

// BeginPark captures what the sweep has found. nil: nothing is left of it. The contexts stay where they are until EndPark.
func (m *Machine) BeginPark() *ParkBatch {
	p := &m.parking
	b := &ParkBatch{}
	for i, c := range p.idle {
		p.idle[i] = nil
		c.idle = false
		if m.parkable(c) && !c.home.known() {
			b.items = append(b.items, c.captured())
			b.marks = append(b.marks, captureMark{ctx: c, changes: c.changes})
		}
	}
	p.idle, p.idleBytes = p.idle[:0], 0
	if len(b.items) == 0 {
		return nil
	}
	if b.file = p.scratch; b.file != nil {
		b.file.retain()
	}
	return b
}

// Write appends the records of b to its parking file, which create makes if there is none. Any goroutine; one batch of a
// machine at a time.
func (b *ParkBatch) Write(create func() (*scratchFile, error)) (err error) {
	if b.file == nil {
		if b.file, err = create(); err != nil {
			return err
		}
		b.fresh = true
	}
	e := stateEncoder{out: &b.file.buf}
	for i := range b.items {
		item, now := &b.items[i], &b.marks[i].now
		*now = b.file.begin()
		e.context(item)
		b.file.end(now)
		now.setBehind(&item.view.Header)
		*item = capturedContext{}
		if err := b.file.flush(writeChunk); err != nil {
			return err
		}
	}
	return b.file.flush(0)
}

// EndPark takes what is unchanged of b out of memory. b must be of this machine, and written. It returns how many
// contexts that were.
func (m *Machine) EndPark(b *ParkBatch) (parked int) {
	p := &m.parking
	if b.fresh {
		p.mu.Lock()
		p.scratch, p.files.parked = b.file, b.file.retain()
		p.mu.Unlock()
	}
	if p.scratch != b.file {
		return 0 // a snapshot has made the file superfluous
	}
	for i := range b.marks {
		k := &b.marks[i]
		if k.ctx.changes == k.changes && m.parkable(k.ctx) {
			m.parkAt(k.ctx, k.now)
			parked++
		}
	}
	return parked
}

// scratchBytes is the size of the parking file.
func (m *Machine) scratchBytes() int64 {
	if m.parking.scratch == nil {
		return 0
	}
	return m.parking.scratch.size.Load()
}

// rawBuffer gathers what an encoder writes.
type rawBuffer struct{ b []byte }

func (r *rawBuffer) write(b []byte) { r.b = append(r.b, b...) }

// begin makes room for the header of the next record.
func (f *scratchFile) begin() place {
	at := uint64(f.off) + uint64(len(f.buf.b))
	f.buf.b = append(f.buf.b, make([]byte, parkHeader)...)
	return place{at: parkedBit | at}
}

// end fills in the header of the record that began at p.
func (f *scratchFile) end(p *place) {
	off := int64(p.at &^ parkedBit)
	b := f.buf.b[off-f.off:]
	p.size = uint64(len(b) - parkHeader)
	binary.LittleEndian.PutUint64(b[8:], p.size)
	binary.LittleEndian.PutUint32(b, parkCRC(b, off))
}

// parkSyncEvery bounds the unsynced bytes of a parking file. Nothing relies on them after a crash, but the log's own
// fdatasync must not inherit a big flush (ANCHORS E.1).
const parkSyncEvery = 1 << 20

// writeChunk is how much is gathered before it is written.
const writeChunk = 256 << 10

// scratchFile is a parking file being written.
type scratchFile struct {
	*recordFile
	buf      rawBuffer
	off      int64 // where buf goes
	unsynced int
	size     atomic.Int64 // off, for others
}

// flush writes what was gathered, if it is more than keep bytes. After an error the same place is written again: nothing
// points there.
func (f *scratchFile) flush(keep int) error {
	if len(f.buf.b) <= keep {
		return nil
	}
	b := f.buf.b
	f.buf.b = f.buf.b[:0]
	if _, err := f.f.WriteAt(b, f.off); err != nil {
		return fmt.Errorf("writing parking file %s at offset %d: %w", f.path, f.off, err)
	}
	f.off += int64(len(b))
	f.size.Store(f.off)
	if cap(b) > 2*parkBatchBytes {
		f.buf.b = nil
	}
	if f.unsynced += len(b); f.unsynced < parkSyncEvery {
		return nil
	}
	f.unsynced = 0
	if err := f.f.Sync(); err != nil {
		return &parkSyncError{fmt.Errorf("sync of parking file %s: %w", f.path, err)}
	}
	return nil
}

// parkSyncError is a sync that failed.
type parkSyncError struct{ err error }

func (e *parkSyncError) Error() string { return e.err.Error() }
func (e *parkSyncError) Unwrap() error { return e.err }
