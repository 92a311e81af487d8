package shard

import (
	"bytes"
	"encoding/binary"

	"fastpaca/ring"
)

// The raw bytes of a snapshot (snapshot_chunk.go has the file around them), all integers little-endian:
//
//	last time i64 | contexts u32 | context ...                in order of creation
//
//	context:
//	  id len u16 | id | created i64 | flags u8
//	  version u64 | last u64 | live from u64 | used u64 | archived u64 | updated i64
//	  config len u32 | budget u64 | ratio u64 | policy as in a put command
//	  metadata len u32 | metadata
//	  compactions ever u64 | kept u16 | kept times (version u64 | from u64 | to u64 | used u64)
//	  head, with stateHead:
//	    tokens u64 | summary u32 | summary from u64 | summary to u64
//	    holes u32 | holes times seq u64
//	    messages u32 | messages times
//	      (seq u64 | tokens u32 | flags u16 | in log u8 | json len u32 | aux len u32 | json | aux)
//	      in log = 1: both are those of seq in the pages; the lengths are 0
//	  keys, with stateKeys: n u16 | n times (key [16] | body hash [16] | version u64 | first u64 | count u32)
//	  pages u32 | pages times ring's encoded page image
//
// Pages are stored as they lie in memory, so that loading copies and checks, but parses and builds nothing.
const (
	stateTombstoned = 1 << iota
	stateHead
	stateCutCalls
	stateKeys

	stateFlags = stateKeys<<1 - 1
)

// rawWriter takes what the encoder makes.
type rawWriter interface{ write(b []byte) }

// stateEncoder encodes contexts.
type stateEncoder struct {
	out rawWriter
	b   []byte // the part of a context before its pages
}

// state writes c to out, and notes where each context lies then.
func (e *stateEncoder) state(c *Captured, out *chunkWriter) error {
	e.out = out
	e.b = binary.LittleEndian.AppendUint64(e.b[:0], uint64(c.lastMs))
	e.b = binary.LittleEndian.AppendUint32(e.b, uint32(len(c.items)))
	out.write(e.b)
	r := acquireRecords()
	defer releaseRecords(r)
	for i := range c.items {
		item, mark := &c.items[i], &c.marks[i]
		mark.now.at = out.place()
		before := out.rawBytes()
		if item.view.Ext != nil {
			e.context(item)
		} else if err := r.copyTo(out, c.files.of(mark.was), mark.was); err != nil {
			return err
		}
		mark.now.size = out.rawBytes() - before
		if item.view.Ext != nil {
			mark.now.setBehind(&item.view.Header)
		} else if mark.was.behind() {
			mark.now.size |= behindBit
		}
		c.items[i] = capturedContext{} // its pages may go as soon as they are written
		if out.err != nil {
			return out.err
		}
	}
	return nil
}

func (e *stateEncoder) context(c *capturedContext) {
	v, x := &c.view, c.view.Ext
	flags := byte(0)
	if x.Tombstoned {
		flags |= stateTombstoned
	}
	if x.Head != nil {
		flags |= stateHead
		if x.Head.CutCalls {
			flags |= stateCutCalls
		}
	}
	if len(c.keys) > 0 {
		flags |= stateKeys
	}
	b := e.b[:0]
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.id)))
	b = append(b, c.id...)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.createdMs))
	b = append(b, flags)
	for _, n := range [...]uint64{v.Version, v.Last, v.LiveFrom, v.Used, v.Archived, uint64(v.UpdatedMs)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}

	b = append(b, 0, 0, 0, 0)
	at := len(b)
	b = binary.LittleEndian.AppendUint64(b, x.Config.TokenBudget)
	b = binary.LittleEndian.AppendUint64(b, x.Config.RatioPPB)
	b = appendPolicy(b, &x.Config.Policy)
	binary.LittleEndian.PutUint32(b[at-4:], uint32(len(b)-at))

	b = appendBytes(b, x.Metadata)
	b = binary.LittleEndian.AppendUint64(b, x.CompactionCount)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(x.Compactions)))
	for _, k := range x.Compactions {
		for _, n := range [...]uint64{k.Version, k.From, k.To, k.Used} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	if x.Head != nil {
		b = e.head(b, v, x.Head)
	}
	if len(c.keys) > 0 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(c.keys)))
		for i := range c.keys {
			k := &c.keys[i]
			b = append(b, k.key[:]...)
			b = append(b, k.bodyHash[:]...)
			b = binary.LittleEndian.AppendUint64(b, k.version)
			b = binary.LittleEndian.AppendUint64(b, k.firstSeq)
			b = binary.LittleEndian.AppendUint32(b, k.count)
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(v.Pages()))
	e.out.write(b)
	e.b = b[:0]
	for i := range v.Pages() {
		p := v.Page(i)
		var h [pageImageHeader]byte
		binary.LittleEndian.PutUint32(h[0:], p.Size)
		binary.LittleEndian.PutUint32(h[4:], uint32(len(p.Front)))
		binary.LittleEndian.PutUint32(h[8:], uint32(p.Count()))
		e.out.write(h[:])
		e.out.write(p.Front)
		e.out.write(p.Slots)
	}
}

func (e *stateEncoder) head(b []byte, v *ring.View[Ext], h *ring.Head) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.Tokens)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Summary))
	b = binary.LittleEndian.AppendUint64(b, h.SummaryFrom)
	b = binary.LittleEndian.AppendUint64(b, h.SummaryTo)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.Holes)))
	for _, seq := range h.Holes {
		b = binary.LittleEndian.AppendUint64(b, seq)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.Msgs)))
	for i := range h.Msgs {
		m := &h.Msgs[i]
		b = binary.LittleEndian.AppendUint64(b, m.Seq)
		b = binary.LittleEndian.AppendUint32(b, m.Tokens)
		b = binary.LittleEndian.AppendUint16(b, m.Flags)
		json, aux := m.JSON, m.Aux
		inLog := byte(0)
		// Compared by content, not by address: whether a replica keeps a reference or a copy must not show.
		if lj, la, _ := v.Message(m.Seq); m.Seq > 0 && bytes.Equal(lj, json) && bytes.Equal(la, aux) {
			inLog, json, aux = 1, nil, nil
		}
		b = append(b, inLog)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(json)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(aux)))
		b = append(b, json...)
		b = append(b, aux...)
		if len(b) > chunkMax { // a head of many megabytes goes out piece by piece
			e.out.write(b)
			b = b[:0]
		}
	}
	return b
}

// pageImageHeader is ring's: size u32 | front len u32 | count u32.
const pageImageHeader = 12
