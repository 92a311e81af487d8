package shard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"fastpaca/ring"
)

// LoadMachine reads a snapshot. The machine continues exactly as the one that was captured would: the same
// commands lead to the same state, byte for byte. A damaged or foreign file is a *SnapshotError, never a
// panic, and costs no more memory than its bytes justify.
func LoadMachine(r io.Reader) (*Machine, SnapshotInfo, error) {
	c, err := newChunkReader(r)
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	m := NewMachine(c.info.Shard)
	m.index = c.info.Index
	d := stateDecoder{c: c}
	err = d.state(m, func() {
		ctx := d.context()
		switch {
		case d.err != nil:
		case m.Lookup([]byte(ctx.id)) != nil:
			d.fail("context %d has an id that occurs twice", d.n)
		default:
			ctx.watched = &m.watched
			m.contexts.add(ctx, ctx.hash, place{})
			m.table.insert(ctx.ordinal, ctx.hash, m.contexts.hashOf)
			m.bytes.Add(seatBytes + ctx.bytes())
		}
	})
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	m.sharing = d.sharing
	return m, c.info, nil
}

// stateDecoder is the inverse of stateEncoder. The first error sticks; after it every value is zero.
type stateDecoder struct {
	c   *chunkReader
	n   int // contexts before the one at hand
	err error

	sharing
	scratch []byte // values that span chunks
	blob    []byte // the last configuration, encoded
	last    *Config
}

// next returns the next n bytes, valid until the next call.
func (d *stateDecoder) next(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	if raw := d.c.raw; uint64(len(raw)) >= n {
		d.c.raw = raw[n:]
		return raw[:n:n]
	}
	d.scratch, d.err = d.c.grow(d.scratch[:0], n)
	return d.scratch
}

// own is next in memory of its own; nil for nothing.
func (d *stateDecoder) own(n uint64) []byte {
	b := d.next(n)
	if len(b) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

func (d *stateDecoder) u8() uint8 {
	if b := d.next(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *stateDecoder) u16() uint16 {
	if b := d.next(2); len(b) == 2 {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *stateDecoder) u32() uint32 {
	if b := d.next(4); len(b) == 4 {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *stateDecoder) u64() uint64 {
	if b := d.next(8); len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// fail records the first reason.
func (d *stateDecoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = d.c.fail(fmt.Sprintf(format, args...))
	}
}

// state reads all of a snapshot. one is to read a context, however it likes, and to fail if that fails.
func (d *stateDecoder) state(m *Machine, one func()) error {
	m.lastMs = int64(d.u64())
	n := d.u32()
	for d.n = 0; uint32(d.n) < n && d.err == nil; d.n++ {
		one()
	}
	if d.err != nil {
		return d.err
	}
	switch end, err := d.c.atEnd(); {
	case err != nil:
		return err
	case !end:
		return d.c.fail("bytes follow the last context")
	case d.c.info.Contexts != uint64(n):
		return d.c.fail(fmt.Sprintf("it holds %d contexts, its trailer says %d", n, d.c.info.Contexts))
	}
	return nil
}

// context reads one context, all of it and checked. It is nil if d.err is not.
func (d *stateDecoder) context() *Context {
	id := d.next(uint64(d.u16()))
	if d.err != nil {
		return nil
	}
	if len(id) == 0 {
		d.fail("context %d has no id", d.n)
		return nil
	}
	ctx := &Context{id: string(id), hash: hash64(id)}
	ctx.createdMs = int64(d.u64())
	flags := d.u8()
	if flags&^stateFlags != 0 || flags&stateCutCalls != 0 && flags&stateHead == 0 {
		d.fail("context %q has flags %#x", ctx.id, flags)
		return nil
	}
	var h ring.Header
	for _, field := range [...]*uint64{&h.Version, &h.Last, &h.LiveFrom, &h.Used, &h.Archived} {
		*field = d.u64()
	}
	h.UpdatedMs = int64(d.u64())

	ext := Ext{Config: d.configuration(), Tombstoned: flags&stateTombstoned != 0}
	ext.Metadata = d.own(uint64(d.u32()))
	ext.CompactionCount = d.u64()
	ext.Compactions = d.compactions()
	if flags&stateHead != 0 {
		ext.Head = d.head()
		if ext.Head != nil {
			ext.Head.CutCalls = flags&stateCutCalls != 0
			if d.err == nil { // or the summary may be longer than the head
				ext.summaryBytes = summaryBytes(ext.Head)
			}
		}
	}
	if flags&stateKeys != 0 {
		ctx.keys = d.keys()
	}
	for n := d.u32(); n > 0 && d.err == nil; n-- {
		d.page(ctx)
	}
	if d.err != nil {
		return nil
	}
	if h.Last != ctx.log.Last() || h.Archived > h.Last || h.Version >= versionMax {
		d.fail("context %q at version %d ends at seq %d, archived %d, but its pages at %d", ctx.id, h.Version, h.Last, h.Archived, ctx.log.Last())
		return nil
	}
	p := &ext
	if extBytes(p) == 0 && p.CompactionCount == 0 {
		p = d.plainExt(p.Config)
	}
	if err := ctx.log.FinishRestore(h, p); err != nil {
		d.fail("context %q: %v", ctx.id, err)
		return nil
	}
	if !d.window(ctx) {
		return nil
	}
	return ctx
}

// configuration shares what equals the configuration before.
func (d *stateDecoder) configuration() *Config {
	blob := d.next(uint64(d.u32()))
	if d.err != nil {
		return nil
	}
	if d.last != nil && bytes.Equal(blob, d.blob) {
		return d.last
	}
	r := reader{b: blob}
	c := &Config{TokenBudget: r.u64(), RatioPPB: r.u64()}
	if !c.Policy.decode(&r) || r.bad || len(r.b) > 0 || c.TokenBudget == 0 || c.RatioPPB == 0 || c.RatioPPB > RatioOne {
		d.fail("context %d has a configuration that cannot be", d.n)
		return nil
	}
	c.Policy = c.Policy.clone()
	d.blob = append(d.blob[:0], blob...)
	d.last = d.intern(c)
	return d.last
}

func (d *stateDecoder) compactions() []Compaction {
	n := int(d.u16())
	if n > compactionsKept {
		d.fail("context %d has %d compactions", d.n, n)
	}
	if n == 0 || d.err != nil {
		return nil
	}
	list := make([]Compaction, n)
	for i := range list {
		list[i] = Compaction{Version: d.u64(), From: d.u64(), To: d.u64(), Used: d.u64()}
	}
	return list
}

// head reads a head. Messages that are in the log get their bytes in resolve.
func (d *stateDecoder) head() *ring.Head {
	h := &ring.Head{Tokens: d.u64(), Summary: int(d.u32()), SummaryFrom: d.u64(), SummaryTo: d.u64()}
	for n := d.u32(); n > 0 && d.err == nil; n-- {
		h.Holes = append(h.Holes, d.u64())
	}
	n := d.u32()
	h.Msgs = make([]ring.HeadMsg, 0, min(n, 1024))
	tokens := uint64(0)
	for ; n > 0 && d.err == nil; n-- {
		m := ring.HeadMsg{Seq: d.u64(), Tokens: d.u32(), Flags: d.u16()}
		inLog := d.u8()
		jsonLen, auxLen := uint64(d.u32()), uint64(d.u32())
		switch {
		case inLog == 0 && jsonLen > 0:
			b := d.own(jsonLen + auxLen)
			if d.err != nil {
				return nil
			}
			m.JSON = b[:jsonLen:jsonLen]
			if auxLen > 0 {
				m.Aux = b[jsonLen:]
			}
		case inLog == 1 && jsonLen == 0 && auxLen == 0 && m.Seq > 0:
		default:
			d.fail("context %d has a head that cannot be", d.n)
		}
		if d.err == nil && !validHeadMsg(&m) {
			d.fail("context %d has a head message that cannot be", d.n)
		}
		tokens += uint64(m.Tokens)
		h.Msgs = append(h.Msgs, m)
	}
	if len(h.Msgs) == 0 {
		h.Msgs = nil
	}
	if h.Summary < 0 || h.Summary > len(h.Msgs) || h.Tokens != tokens {
		d.fail("context %d has a head that does not add up", d.n)
	}
	return h
}

func validHeadMsg(m *ring.HeadMsg) bool {
	const tools = ring.FlagToolCall | ring.FlagToolResult
	if m.Flags&^(ring.FlagSystem|tools) != 0 {
		return false
	}
	if m.JSON == nil {
		return true // its aux comes from the log, which is checked
	}
	if len(m.Aux) == 0 {
		return m.Flags&tools == 0
	}
	n, flags, ok := ring.ScanAux(m.Aux)
	return ok && n == len(m.Aux) && m.Flags&tools == flags
}

// window gives the messages of the head that are in the log their bytes there, and checks that the window
// is one that Apply could have left.
func (d *stateDecoder) window(ctx *Context) bool {
	var v ring.View[Ext]
	ctx.log.Pending(&v)
	used := v.Cum(v.Last) - v.Cum(v.LiveFrom-1)
	if h := v.Ext.Head; h != nil {
		used += h.Tokens
		before := uint64(0)
		for i := range h.Msgs {
			m := &h.Msgs[i]
			if i < h.Summary {
				if m.Seq != 0 {
					d.fail("context %q: its summary has a message of the log", ctx.id)
					return false
				}
				continue
			}
			if m.Seq <= before || m.Seq >= v.LiveFrom {
				d.fail("context %q: message %d of its head is out of order", ctx.id, m.Seq)
				return false
			}
			before = m.Seq
			if m.JSON == nil && !fromLog(&v, m) {
				d.fail("context %q: message %d of its head is not in its log", ctx.id, m.Seq)
				return false
			}
		}
		for i, hole := range h.Holes {
			if hole <= v.LiveFrom || hole > v.Last || i > 0 && hole <= h.Holes[i-1] {
				d.fail("context %q: seq %d cannot be missing in its window", ctx.id, hole)
				return false
			}
			used -= v.Cum(hole) - v.Cum(hole-1)
		}
	}
	if used != v.Used {
		d.fail("context %q: its window has %d tokens, the snapshot says %d", ctx.id, used, v.Used)
		return false
	}
	return true
}

func fromLog(v *ring.View[Ext], m *ring.HeadMsg) bool {
	json, aux, meta := v.Message(m.Seq)
	const kept = ring.FlagSystem | ring.FlagToolCall | ring.FlagToolResult
	if json == nil || meta.Flags&kept != m.Flags || meta.Tokens != m.Tokens {
		return false
	}
	m.JSON, m.Aux = json, aux
	return true
}

func (d *stateDecoder) keys() *keyRing {
	n := int(d.u16())
	if n == 0 || n > keyRingMax {
		d.fail("context %d remembers %d idempotency keys", d.n, n)
		return nil
	}
	r := &keyRing{}
	for range n {
		var e keyEntry
		copy(e.key[:], d.next(16))
		copy(e.bodyHash[:], d.next(16))
		e.version, e.firstSeq, e.count = d.u64(), d.u64(), d.u32()
		if d.err != nil {
			return nil
		}
		r.add(e)
	}
	return r
}

func (d *stateDecoder) page(ctx *Context) {
	head := d.next(pageImageHeader)
	if d.err != nil {
		return
	}
	size := binary.LittleEndian.Uint32(head)
	front, slots := uint64(binary.LittleEndian.Uint32(head[4:])), uint64(binary.LittleEndian.Uint32(head[8:]))*pageSlotSize
	if front+slots > uint64(size) {
		d.fail("context %q has a page of %d bytes with %d in it", ctx.id, size, front+slots)
		return
	}
	b := d.next(front + slots)
	if d.err != nil {
		return
	}
	if err := ctx.log.RestorePage(ring.PageImage{Size: size, Front: b[:front:front], Slots: b[front:]}); err != nil {
		d.fail("context %q: %v", ctx.id, err)
	}
}

// versionMax leaves room below ring's 48 bits for every append that can still come.
const versionMax = 1 << 47

// pageSlotSize is ring's.
const pageSlotSize = 32
