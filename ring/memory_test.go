package ring

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

type ext struct{ n uint64 }

func TestSizes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Log[ext]{}), uintptr(200), "there may be a million contexts")
	require.EqualValues(t, entrySize, unsafe.Sizeof(entry{}))
	require.EqualValues(t, directorySize, unsafe.Sizeof(directory{}))
}

// All memory of a context against the bytes of its messages and slots, computed: for 100 messages, and on average over
// the first 1000.
func TestMemoryPerContext(t *testing.T) {
	for _, c := range []struct {
		size       int // of a message in bytes; negative: exponentially distributed with this mean
		at100, avg float64
	}{
		{100, 1.25, 1.16},
		{200, 1.25, 1.14},
		{300, 1.25, 1.12},
		{500, 1.25, 1.12},
		{1000, 1.25, 1.12},
		{3000, 1.15, 1.08},
		{-300, 1.30, 1.17},
		{-1000, 1.28, 1.17},
	} {
		var l Log[ext]
		rng := rand.New(rand.NewPCG(1, 2))
		bytes, sum := 0, 0.0
		for n := 1; n <= 1000; n++ {
			size := c.size
			if size < 0 {
				size = max(40, int(rng.ExpFloat64()*float64(-size)))
			}
			fill(&l, 1, size, 1)
			bytes += size + slotSize
			ratio := float64(l.Bytes()+int64(unsafe.Sizeof(l))) / float64(bytes)
			sum += ratio
			if n == 100 {
				t.Logf("size %5d: %.3f after 100 messages in %d pages", c.size, ratio, l.w.hi)
				require.LessOrEqual(t, ratio, c.at100, "size %d", c.size)
			}
		}
		t.Logf("size %5d: %.3f on average", c.size, sum/1000)
		require.LessOrEqual(t, sum/1000, c.avg, "size %d", c.size)
	}
}

// A conversation of up to 64 KiB is one page, so one object for the garbage collector, however it got there; a View
// taken before its page grew still shows what it showed.
func TestFirstPageGrows(t *testing.T) {
	var l Log[ext]
	fill(&l, 10, 300, 1)
	var before View[ext]
	l.View(&before)
	want := string(before.AppendMessages(nil, 1, 10))
	fill(&l, 180, 300, 1)
	require.EqualValues(t, 1, l.w.hi-l.w.lo)
	var after View[ext]
	l.View(&after)
	require.Equal(t, want, string(before.AppendMessages(nil, 1, 10)))
	require.Equal(t, want, string(after.AppendMessages(nil, 1, 10)))
	fill(&l, 100, 300, 1)
	require.Greater(t, l.w.hi-l.w.lo, uint32(1), "beyond maxPage, pages are added")
}

// Bytes is what the Go heap says, too.
func TestBytesIsTrue(t *testing.T) {
	var l Log[ext]
	fill(&l, 500, 300, 1)
	var pages int64
	for _, e := range l.w.dir.entries[l.w.lo:l.w.hi] {
		pages += int64(cap(e.page))
	}
	require.Equal(t, pages+24+32*int64(cap(l.w.dir.entries)), l.Bytes())
	for _, n := range []int{1, 900, 1100, 5000, 33000, 70000, 1 << 20} { // nothing lost to rounding by the allocator
		size := pageSize(0, n)
		require.Equal(t, size, cap(append(page(nil), make(page, size)...)), "a page of %d bytes is no size class: pageSize should be looked at", size)
	}
}

// A directory of n pages is written by O(n) copies of entries.
func TestDirectoryIsAmortised(t *testing.T) {
	var w writer
	grown, copied := 0, 0
	for range 100_000 {
		before := w.dir
		w.push(minPage)
		w.count = 1
		if w.dir != before {
			grown++
			copied += int(w.hi)
		}
		w.dir.entries[w.hi-1].page = nil
	}
	require.Less(t, grown, 40)
	require.Less(t, copied, 4*100_000)
}
