package shard

import (
	"cmp"
	"fmt"
	"slices"

	"fastpaca/ring"
)

// tails knows which contexts hold more messages in memory than they should, so that nobody has to look at all of
// them. The zero value, with keep 0, bounds nothing.
//
// Where a message lies, in memory, in a history file, in an archive, is this replica's own affair: it is no part of the
// state that equal logs make equal, and no answer to a client depends on it.
type tails struct {
	keep  uint64     // messages that every context keeps in memory (FASTPACA_TAIL_KEEP)
	over  []*Context // hold at least twice that, each once
	bytes int64      // about what could leave memory
}

// note is called when the tail of ctx has grown by so many bytes.
func (t *tails) note(ctx *Context, grown int64) {
	switch {
	case t.keep == 0:
	case ctx.overTail:
		t.bytes += grown
	case ctx.log.Last() >= ctx.log.First()+2*t.keep:
		ctx.overTail = true
		t.over = append(t.over, ctx)
		t.bytes += ctx.log.Bytes() / 2
	}
}

// forget is called when ctx leaves memory as a whole, which the list would keep it in.
func (t *tails) forget(ctx *Context) {
	if !ctx.overTail {
		return
	}
	ctx.overTail = false
	if i := slices.Index(t.over, ctx); i >= 0 {
		t.over = slices.Delete(t.over, i, i+1)
	}
	if t.bytes = max(t.bytes-ctx.log.Bytes()/2, 0); len(t.over) == 0 {
		t.bytes = 0
	}
}

// KeepTail bounds the tails: from now on contexts with twice n messages in memory are given to BeginSpill. Call it
// before the first Apply.
func (m *Machine) KeepTail(n uint64) {
	m.tails.keep = n
	m.contexts.each(func(_ uint32, ctx *Context) bool {
		if ctx != nil {
			m.tails.note(ctx, 0)
		}
		return true
	})
}

// SpillBytes is about how many bytes BeginSpill would take.
func (m *Machine) SpillBytes() int64 { return m.tails.bytes }

// Spill is what is to leave memory, in the order of context ids. It holds on to the pages until it is dropped.
type Spill struct {
	runs []spillRun
}

// spillRun is whole pages of one context, the oldest in memory.
type spillRun struct {
	ctx  *Context
	view ring.View[Ext]
	to   uint64 // last message that goes
}

// BeginSpill takes note of what can leave memory now: of every context over its bound the oldest whole pages, down to
// keep messages, but never what is in its window. The messages stay where they are until EndSpill. nil: nothing can.
func (m *Machine) BeginSpill() *Spill {
	t := &m.tails
	sp := &Spill{}
	for i, ctx := range t.over {
		t.over[i] = nil
		ctx.overTail = false
		if !m.inMemory(ctx) {
			continue
		}
		r := spillRun{ctx: ctx}
		ctx.log.View(&r.view)
		if r.to = pagesBefore(&r.view, min(r.view.Last-min(r.view.Last, t.keep)+1, r.view.LiveFrom)); r.to > 0 {
			sp.runs = append(sp.runs, r)
		}
	}
	t.over, t.bytes = t.over[:0], 0
	if len(sp.runs) == 0 {
		return nil
	}
	slices.SortFunc(sp.runs, func(a, b spillRun) int { return cmp.Compare(a.ctx.id, b.ctx.id) })
	return sp
}

// pagesBefore is the last message of the last page that ends before seq, 0 if there is none. The newest page stays.
func pagesBefore(v *ring.View[Ext], seq uint64) (last uint64) {
	for i := 1; i < v.Pages(); i++ {
		first := v.Page(i).FirstSeq()
		if first > seq {
			break
		}
		last = first - 1
	}
	return last
}

// Each calls f for every message of the spill that no archive has, in the order of (context id, seq). json is valid during the
// call. Any goroutine.
func (sp *Spill) Each(f func(id []byte, seq uint64, json []byte) error) error {
	for i := range sp.runs {
		r := &sp.runs[i]
		id := []byte(r.ctx.id)
		for seq := max(r.view.First, r.view.Archived+1); seq <= r.to; seq++ {
			json, _, _ := r.view.Message(seq)
			if err := f(id, seq, json); err != nil {
				return fmt.Errorf("context %q, seq %d: %w", r.ctx.id, seq, err)
			}
		}
	}
	return nil
}

// AbortSpill takes sp back: its messages stay in memory, and are offered again. sp must be of this machine.
func (m *Machine) AbortSpill(sp *Spill) {
	for i := range sp.runs {
		if ctx := sp.runs[i].ctx; m.inMemory(ctx) {
			m.tails.note(ctx, 0)
		}
	}
}

// EndSpill lets the messages of sp go from memory. They must be durable elsewhere, and sp of this machine.
func (m *Machine) EndSpill(sp *Spill) {
	for i := range sp.runs {
		r := &sp.runs[i]
		if !m.inMemory(r.ctx) {
			continue // it left as a whole, these messages included
		}
		r.ctx.home = place{} // what lies there holds more
		r.ctx.changes++
		before := r.ctx.log.Bytes()
		r.ctx.log.EvictBefore(r.to + 1)
		r.ctx.log.Pending(&m.view)
		r.ctx.log.Publish(m.view.Header, nil)
		m.bytes.Add(r.ctx.log.Bytes() - before)
		m.tails.note(r.ctx, 0)
	}
	m.view = ring.View[Ext]{}
}
