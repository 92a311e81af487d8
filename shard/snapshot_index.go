package shard

import (
	"bufio"
	"encoding/binary"
	"io"

	"fastpaca/ring"
)

// indexMachine makes a machine of the snapshot file f without building its contexts: each of them is on disk only, and is
// built when somebody touches it. The whole file is read and its checksums are verified; what is in the contexts only if
// verify is true, which is for files from elsewhere: what this node wrote and reads back unchanged needs no second look, and a
// context that cannot be built is refused by name when its time comes. f is the machine's afterwards, and released
// otherwise.
func indexMachine(f *recordFile, size int64, verify bool) (_ *Machine, _ SnapshotInfo, err error) {
	defer func() {
		if err != nil {
			f.release()
		}
	}()
	c, err := newChunkReader(bufio.NewReaderSize(io.NewSectionReader(f.f, 0, size), int(min(size, 1<<20))))
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	m := NewMachine(c.info.Shard)
	m.index = c.info.Index
	m.parking.files.snapshot = f
	d := stateDecoder{c: c}
	err = d.state(m, func() {
		at, err := c.place()
		if err != nil {
			d.err = err
			return
		}
		before := c.consumed()
		var o outline
		if verify {
			if ctx := d.context(); d.err == nil {
				o = outline{hash: ctx.hash, first: ctx.log.First()}
				o.Last, o.Archived = ctx.log.Last(), ctx.archived()
			}
		} else {
			d.outline(&o)
		}
		if d.err != nil {
			return
		}
		p := place{at: at, size: c.consumed() - before}
		p.setBehind(&o.Header)
		ordinal := m.contexts.add(nil, o.hash, p)
		m.table.insert(ordinal, o.hash, m.contexts.hashOf)
		m.bytes.Add(seatBytes)
		m.parking.count.Add(1)
		m.parking.bytes.Add(p.bytes())
		if o.first > 1 && o.first-1 > o.Archived {
			m.parking.spilled = append(m.parking.spilled, ordinal)
		}
	})
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	return m, c.info, nil
}

// outline is what indexing needs to know of a context.
type outline struct {
	hash  uint64
	first uint64 // oldest seq in the record, 0 if there are no messages
	ring.Header
}

// outline passes over a context. Everything but lengths is left unchecked.
func (d *stateDecoder) outline(o *outline) {
	id := d.next(uint64(d.u16()))
	if d.err == nil && len(id) == 0 {
		d.fail("context %d has no id", d.n)
	}
	o.hash = hash64(id)
	d.skip(8)
	flags := d.u8()
	if flags&^stateFlags != 0 {
		d.fail("context %d has flags %#x", d.n, flags)
	}
	d.skip(8)
	o.Last = d.u64()
	d.skip(8 + 8)
	o.Archived = d.u64()
	d.skip(8)
	d.skip(uint64(d.u32())) // configuration
	d.skip(uint64(d.u32())) // metadata
	d.skip(8)
	d.skip(uint64(d.u16()) * (4 * 8)) // compactions
	if flags&stateHead != 0 {
		d.skip(8 + 4 + 8 + 8)
		d.skip(uint64(d.u32()) * 8) // holes
		for n := d.u32(); n > 0 && d.err == nil; n-- {
			b := d.next(8 + 4 + 2 + 1 + 4 + 4)
			if d.err == nil {
				d.skip(uint64(binary.LittleEndian.Uint32(b[15:])) + uint64(binary.LittleEndian.Uint32(b[19:])))
			}
		}
	}
	if flags&stateKeys != 0 {
		d.skip(uint64(d.u16()) * (16 + 16 + 8 + 8 + 4))
	}
	for n := d.u32(); n > 0 && d.err == nil; n-- {
		head := d.next(pageImageHeader)
		if d.err != nil {
			return
		}
		rest := uint64(binary.LittleEndian.Uint32(head[4:])) + uint64(binary.LittleEndian.Uint32(head[8:]))*pageSlotSize
		if o.first == 0 && rest >= 8 {
			o.first = d.u64()
			rest -= 8
		}
		d.skip(rest)
	}
}

func (d *stateDecoder) skip(n uint64) {
	if d.err == nil {
		d.err = d.c.skip(n)
	}
}
