package s3

import (
	"crypto/sha256"

	"fastpaca/archive"
)

const (
	// blockBytes is how much NDJSON goes into one block, unless a row is longer: what a reader of one row must read and
	// unpack. Larger blocks compress little better.
	blockBytes = 64 << 10
	// objectBytes is how much NDJSON goes into one object, unless a row is longer. It bounds what is lost when an upload
	// fails.
	objectBytes = 16 << 20
)

// writer cuts rows into blocks and objects.
type writer struct {
	codec   *codec
	objects []object

	data  []byte // of the object being written
	raw   int    // NDJSON in it
	block []byte // NDJSON of the block being written
	open  []*extent
}

type object struct {
	id   id
	data []byte
}

// add takes the rows of one partition, sorted, and returns their extents, complete after finish and resolve. Until then
// extent.object holds the number of the object.
func (w *writer) add(rows []archive.Row) table {
	t := make(table, 0, len(rows)) // never grows: open points into it
	for i := range rows {
		r := &rows[i]
		if e := w.last(t); e != nil && e.context == r.Context && e.to+1 == r.Seq {
			e.to = r.Seq
		} else {
			t = append(t, extent{context: r.Context, from: r.Seq, to: r.Seq})
			w.open = append(w.open, &t[len(t)-1])
		}
		w.block = appendLine(w.block, r)
		if len(w.block) >= blockBytes {
			w.endBlock()
		}
	}
	return t
}

// last returns the last extent of t if it is in the block being written, or nil.
func (w *writer) last(t table) *extent {
	if len(t) == 0 || len(w.open) == 0 || w.open[len(w.open)-1] != &t[len(t)-1] {
		return nil
	}
	return &t[len(t)-1]
}

func (w *writer) endBlock() {
	if len(w.block) == 0 {
		return
	}
	off := len(w.data)
	w.data = w.codec.enc.EncodeAll(w.block, w.data)
	for _, e := range w.open {
		number(e, len(w.objects))
		e.off, e.len = uint32(off), uint32(len(w.data)-off)
	}
	w.raw += len(w.block)
	w.block, w.open = w.block[:0], w.open[:0]
	if w.raw >= objectBytes {
		w.endObject()
	}
}

func (w *writer) endObject() {
	if len(w.data) == 0 {
		return
	}
	sum := sha256.Sum256(w.data)
	o := object{data: w.data}
	copy(o.id[:], sum[:])
	w.objects = append(w.objects, o)
	w.data, w.raw = nil, 0
}

// finish ends the last object.
func (w *writer) finish() {
	w.endBlock()
	w.endObject()
}

// number notes which object an extent is in, before its id is known.
func number(e *extent, n int) { e.object = id{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }

// resolve replaces the numbers of objects by their ids.
func (w *writer) resolve(t table) {
	for i := range t {
		x := &t[i].object
		*x = w.objects[int(x[0])|int(x[1])<<8|int(x[2])<<16|int(x[3])<<24].id
	}
}
