//go:build !race

package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func allocs(t *testing.T, what string, f func()) {
	t.Helper()
	require.Zero(t, testing.AllocsPerRun(200, f), what)
}

func TestReadsDoNotAllocate(t *testing.T) {
	var l Log[ext]
	fill(&l, 5000, 300, 10)
	var v View[ext]
	l.View(&v)
	buf := make([]byte, 0, 64<<10)
	plain := Window{LiveFrom: 2000, Used: v.Cum(v.Last) - v.Cum(1999)}
	summary := Replace(&v, plain, []HeadMsg{{Tokens: 5, JSON: []byte("{}")}, {Tokens: 5, JSON: []byte("{}")}})

	allocs(t, "View and 50 messages", func() {
		l.View(&v)
		buf = v.AppendMessages(buf[:0], v.Last-49, v.Last)
	})
	require.NoError(t, checkMessages(buf, 4951, 5000))
	allocs(t, "Fit, Append and Segments", func() {
		l.View(&v)
		for _, w := range []Window{plain, summary} {
			for _, ceiling := range []uint64{0, 7, 505, 1 << 40} {
				p := Fit(&v, w, min(ceiling, w.Used))
				if p.Messages < 100 {
					buf = p.Append(buf[:0])
				}
				if p.Len() > 0 && len(p.Segments()) == 0 {
					panic("no segments")
				}
			}
		}
	})
	allocs(t, "Message, Slot, Cum, AfterVersion", func() {
		v.Message(77)
		v.Slot(4000)
		v.Cum(1234)
		v.AfterVersion(3333)
		v.MessagesLen(10, 20)
	})
	allocs(t, "CutNewest without head", func() { CutNewest(&v, plain, 100) })
}

func TestToolWindowsDoNotAllocate(t *testing.T) {
	var l Log[ext]
	for range 300 {
		add(&l, 1, 0, nil, []Part{{Kind: PartCall, ID: l.Last() + 1}}, []Part{{Kind: PartResult, ID: l.Last() + 1}})
	}
	var v View[ext]
	l.View(&v)
	w := Window{LiveFrom: 1, Used: v.Cum(v.Last)}
	buf := make([]byte, 0, 64<<10)
	// Up to 32 calls in what is served.
	allocs(t, "Fit with tool messages", func() {
		for ceiling := uint64(850); ceiling < 880; ceiling += 10 { // cuts at each place of an exchange
			p := Fit(&v, w, ceiling)
			buf = p.Append(buf[:0])
		}
	})
	cut := CutNewest(&v, w, 10)
	require.True(t, cut.Head.CutCalls)
	allocs(t, "Extend after a cut call", func() { Extend(&v, cut, v.Last-2) })
}

// An append in steady state, with eviction: pages are the only allocation.
func TestAppendDoesNotAllocate(t *testing.T) {
	var l Log[ext]
	fill(&l, 20_000, 300, 10)
	var v View[ext]
	version := uint64(20_000)
	msg := message(nil, 1, 200)
	e := &ext{}
	w := Window{LiveFrom: 1, Used: l.Cum()}
	allocs(t, "append", func() { // 200 times 240 bytes: no more than one page
		version++
		b := append(l.Reserve(len(msg)), msg...)
		seq := l.Commit(len(b), 0, Meta{Tokens: 10, Version: version})
		l.Pending(&v)
		w = CutNewest(&v, Extend(&v, w, seq), 100)
		l.SealVersion(w.LiveFrom, w.Used, true)
		l.Publish(Header{Version: version, LiveFrom: w.LiveFrom, Used: w.Used}, e)
	})
}
