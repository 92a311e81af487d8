//go:build !race

package httpd

import (
	"testing"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// Encoding events for a stream that catches up allocates nothing.
func TestStreamEventsAllocateNothing(t *testing.T) {
	store := newStreamStore()
	store.create("c")
	for range 100 {
		store.append("c", 3, 300)
	}
	source, _ := store.Context([]byte("c"))
	for name, tr := range map[string]transport{"websocket": &wsTransport{}, "sse": &sseTransport{}} {
		f := &localFeed{source: source, include: true}
		s := &stream{feed: f, scratch: make([]byte, 0, 4096)}
		buf := make([]byte, 0, 256<<10)
		round := func() {
			f.cursor = shard.Cursor{}
			f.look()
			out, events := buf, 0
			for {
				var ok bool
				if out, _, ok = tr.next(s, out); !ok {
					break
				}
				events++
			}
			f.rest()
			if events != 400 || &out[0] != &buf[:1][0] {
				t.Fatal(events, len(out))
			}
		}
		round()
		require.Zero(t, testing.AllocsPerRun(10, round), name)
	}
}

func BenchmarkStreamEvent(b *testing.B) {
	store := newStreamStore()
	store.create("c")
	for range 100 {
		store.append("c", 1, 200)
	}
	source, _ := store.Context([]byte("c"))
	for name, tr := range map[string]transport{"websocket": &wsTransport{}, "sse": &sseTransport{}} {
		b.Run(name, func(b *testing.B) {
			f := &localFeed{source: source, include: true}
			s := &stream{feed: f}
			f.look()
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				var ok bool
				if buf, _, ok = tr.next(s, buf[:0]); !ok {
					f.cursor = shard.Cursor{}
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
