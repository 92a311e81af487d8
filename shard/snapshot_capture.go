package shard

import (
	"fmt"
	"io"

	"fastpaca/jepsen/planted"
	"fastpaca/ring"
)

// Captured is the state of a shard at one index, ready to be written by another goroutine while Apply
// goes on. Messages are not copied: pages are immutable below what the captured view shows.
type Captured struct {
	info   SnapshotInfo
	lastMs int64
	id     uint32
	next   int // contexts before it are captured
	items  []capturedContext
}

type capturedContext struct {
	id        string
	createdMs int64
	view      ring.View[Ext]
	keys      []keyEntry
}

// Info names what the snapshot holds: shard, index, term.
func (c *Captured) Info() SnapshotInfo { return c.info }

// SetMeta stores opaque bytes, at most SnapshotMetaMax, in the snapshot's header. They are copied.
func (c *Captured) SetMeta(meta []byte) {
	if len(meta) > SnapshotMetaMax {
		panic(fmt.Sprintf("shard: %d bytes of snapshot meta data, the limit is %d", len(meta), SnapshotMetaMax))
	}
	c.info.Meta = append([]byte(nil), meta...)
}

// BeginSnapshot starts capturing the state as it is now, which is that after the entry at index and term.
// CaptureSome does the work. A capture that was under way is abandoned. O(1) but for one allocation.
func (m *Machine) BeginSnapshot(index, term uint64) {
	m.captures++
	m.capture = &Captured{
		info:   SnapshotInfo{Shard: m.shard, Index: index, Term: term},
		lastMs: m.lastMs,
		id:     m.captures,
		items:  make([]capturedContext, len(m.contexts)),
	}
}

// CaptureSome captures up to n contexts more. It returns nil while there are some left, and the complete
// snapshot with the last of them.
//
// Apply may run between the calls. It captures a context that it is about to change, unless that has been
// done (beforeChange), so that what is captured is the state at BeginSnapshot whenever CaptureSome comes
// to it. Contexts made later are not part of it: they stand behind in the order of creation.
func (m *Machine) CaptureSome(n int) *Captured {
	c := m.capture
	if c == nil {
		return nil
	}
	for ; n > 0 && c.next < len(c.items); c.next++ {
		if ctx := m.contexts[c.next]; ctx.captured != c.id {
			c.take(ctx)
			n--
		}
	}
	if c.next < len(c.items) {
		return nil
	}
	m.capture = nil
	return c
}

// beforeChange saves ctx for the snapshot that is being captured.
func (m *Machine) beforeChange(ctx *Context) {
	if c := m.capture; c != nil && int(ctx.ordinal) < len(c.items) && ctx.captured != c.id {
		c.take(ctx)
	}
}

func (c *Captured) take(ctx *Context) {
	ctx.captured = c.id
	item := &c.items[ctx.ordinal]
	item.id, item.createdMs = ctx.id, ctx.createdMs
	ctx.log.View(&item.view)
	if !planted.On(planted.KeysNotInSnapshot) {
		item.keys = ctx.keys.snapshot()
	}
}

// WriteTo writes the snapshot. Equal states give equal bytes, on every architecture. It can be called once,
// on any goroutine: it lets go of the captured pages as it writes them.
func (c *Captured) WriteTo(w io.Writer) (int64, error) {
	out := newChunkWriter(w, &c.info)
	e := stateEncoder{out: out}
	e.state(c)
	return out.finish(uint64(len(c.items)))
}
