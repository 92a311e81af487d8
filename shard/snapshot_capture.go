package shard

import (
	"fmt"
	"io"

	"fastpaca/jepsen/planted"
	"fastpaca/ring"
)

// Captured is the state of a shard at one index, ready to be written by another goroutine while Apply
// goes on. Messages are not copied: pages are immutable below what the captured view shows. Of contexts that are on
// disk only, the records are copied as they lie there.
type Captured struct {
	info   SnapshotInfo
	lastMs int64
	id     uint32
	next   int // contexts before it are captured
	items  []capturedContext
	marks  []captureMark
	files  recordFiles // that marks refer to
}

// capturedContext is the state of a context in memory. The zero value stands for one on disk.
type capturedContext struct {
	id        string
	createdMs int64
	view      ring.View[Ext]
	keys      []keyEntry
}

// captureMark tells later whether a context is still what was captured. The zero value: not captured yet.
type captureMark struct {
	ctx     *Context // nil: was on disk only
	changes uint32   // Context.changes
	was     place    // of the same state; nowhere, if it was in memory only
	now     place    // in what was written
}

func (k *captureMark) taken() bool { return k.ctx != nil || k.was.known() }

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
		items:  make([]capturedContext, m.contexts.len()),
		marks:  make([]captureMark, m.contexts.len()),
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
		if !c.marks[c.next].taken() {
			m.take(c, uint32(c.next))
			n--
		}
	}
	if c.next < len(c.items) {
		return nil
	}
	m.capture = nil
	return c
}

// beforeChange is called before ctx changes: it saves ctx for the snapshot that is being captured, and what is on disk is
// not its state any more.
func (m *Machine) beforeChange(ctx *Context) {
	if c := m.capture; c != nil && int(ctx.ordinal) < len(c.items) && !c.marks[ctx.ordinal].taken() {
		m.take(c, ctx.ordinal)
	}
	ctx.home = place{}
	ctx.changes++
}

// take captures the context with this ordinal.
func (m *Machine) take(c *Captured, ordinal uint32) {
	mark := &c.marks[ordinal]
	ctx := m.contexts.live(ordinal).Load()
	if ctx == nil {
		p := &m.parking
		p.mu.Lock()
		if ctx = m.contexts.live(ordinal).Load(); ctx == nil {
			mark.was = m.contexts.seat(ordinal).place
			c.files.hold(&p.files, mark.was)
		}
		p.mu.Unlock()
	}
	if ctx != nil {
		*mark = captureMark{ctx: ctx, changes: ctx.changes, was: ctx.home}
		c.items[ordinal] = ctx.captured()
	}
}

// hold sees to it that f has the file of p that all has.
func (f *recordFiles) hold(all *recordFiles, p place) {
	if f.of(p) == nil {
		if p.at&parkedBit != 0 {
			f.parked = all.parked.retain()
		} else {
			f.snapshot = all.snapshot.retain()
		}
	}
}

// captured is the state of c as it is now. Writer only.
func (c *Context) captured() capturedContext {
	item := capturedContext{id: c.id, createdMs: c.createdMs}
	c.log.View(&item.view)
	if !planted.On(planted.KeysNotInSnapshot) {
		item.keys = c.keys.snapshot()
	}
	return item
}

// EndSnapshot makes the snapshot file f, which c was written to and which is durable, the place of everything that is on
// disk only and of everything that is unchanged since. The file before is let go of, and so is the parking file, unless
// something was parked meanwhile. f is the machine's from now on. It returns the name of a parking file that may be
// removed, or "".
func (m *Machine) EndSnapshot(c *Captured, f *recordFile) (unused string) {
	p := &m.parking
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.files
	p.files.snapshot = f
	parked := false
	for i := range m.contexts.len() {
		live, seat := m.contexts.live(uint32(i)).Load(), m.contexts.seat(uint32(i))
		k := &captureMark{} // of what is younger than the snapshot
		if i < len(c.marks) {
			k = &c.marks[i]
		}
		switch {
		case live != nil && (live == k.ctx && live.changes == k.changes || k.was.known() && live.home == k.was):
			live.home = k.now
		case live != nil:
			live.home = place{} // if in the parking file, then it is not worth keeping the file for that
		case k.was.known() && k.was == seat.place:
			seat.place = k.now
		case seat.at&parkedBit != 0:
			parked = true // since the capture
		default:
			panic("shard: a context is in a snapshot that another one replaces: this is a bug, please report it")
		}
	}
	old.snapshot.release()
	if p.scratch != nil && !parked {
		unused = p.scratch.path
		p.files.parked, p.scratch = nil, nil
		old.parked.release()
	}
	return unused
}

// WriteTo writes the snapshot. Equal states give equal bytes, on every architecture. It can be called once,
// on any goroutine: it lets go of the captured pages as it writes them.
func (c *Captured) WriteTo(w io.Writer) (int64, error) {
	defer c.files.release()
	out := newChunkWriter(w, &c.info)
	var e stateEncoder
	if err := e.state(c, out); err != nil {
		return out.written, err
	}
	return out.finish(uint64(len(c.items)))
}
