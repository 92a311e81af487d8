package ring

import (
	"fmt"
	"testing"
)

var sizes = []int{100, 1_000_000}

func benchLog(b *testing.B, n int) *Log[ext] {
	b.Helper()
	var l Log[ext]
	version := uint64(0)
	for range n {
		version++
		buf := l.Reserve(300)[:300]
		for i := range buf {
			buf[i] = 'x'
		}
		l.Commit(300, 0, Meta{Tokens: 60, Version: version})
		l.SealVersion(1, l.Cum(), false)
	}
	l.Publish(Header{Version: version, LiveFrom: 1, Used: l.Cum()}, nil)
	return &l
}

// A window read: the same at 100 and at 1,000,000 messages of history.
func BenchmarkView50(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := benchLog(b, n)
			var v View[ext]
			buf := make([]byte, 0, 64<<10)
			b.SetBytes(50 * 301)
			b.ReportAllocs()
			for b.Loop() {
				l.View(&v)
				buf = v.AppendMessages(buf[:0], v.Last-49, v.Last)
			}
		})
	}
}

// The copy alone: what View50 can be compared with.
func BenchmarkCopyFloor(b *testing.B) {
	src := make([]byte, 50*301)
	buf := make([]byte, 0, 64<<10)
	b.SetBytes(50 * 301)
	for b.Loop() {
		buf = append(buf[:0], src...)
	}
	_ = buf
}

func BenchmarkView(b *testing.B) {
	l := benchLog(b, 100)
	var v View[ext]
	for b.Loop() {
		l.View(&v)
	}
}

// Fit that has to search: the window is the whole log, the ceiling lets 50 messages through.
func BenchmarkFit50(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := benchLog(b, n)
			var v View[ext]
			buf := make([]byte, 0, 64<<10)
			b.SetBytes(50 * 301)
			b.ReportAllocs()
			for b.Loop() {
				l.View(&v)
				p := Fit(&v, Window{LiveFrom: 1, Used: v.Used}, 50*60)
				buf = p.Append(buf[:0])
			}
		})
	}
}

// An append with its policy, eviction included.
func BenchmarkAppend(b *testing.B) {
	l := benchLog(b, 1000)
	var v View[ext]
	version, w := uint64(1000), Window{LiveFrom: 1, Used: l.Cum()}
	msg := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		version++
		seq := l.Commit(len(append(l.Reserve(300), msg...)), 0, Meta{Tokens: 60, Version: version})
		l.Pending(&v)
		w = CutNewest(&v, Extend(&v, w, seq), 200)
		l.SealVersion(w.LiveFrom, w.Used, true)
		l.EvictBefore(w.LiveFrom)
		l.Publish(Header{Version: version, LiveFrom: w.LiveFrom, Used: w.Used}, nil)
	}
}

func BenchmarkRestorePage(b *testing.B) {
	l := benchLog(b, 1_000_000)
	var v View[ext]
	l.View(&v)
	img := v.Page(v.Pages() - 2)
	b.SetBytes(int64(img.Len()))
	for b.Loop() {
		var l Log[ext]
		if err := l.RestorePage(img); err != nil {
			b.Fatal(err)
		}
	}
}
