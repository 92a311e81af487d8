// Package hist is a log-linear latency histogram and the few statistics the benchmark needs.
//
// A histogram of fixed size costs one array increment per value and no allocation, so that recording a latency
// never disturbs what is being measured. Values are nanoseconds.
package hist

import (
	"math"
	"math/bits"
	"time"
)

// A value v with its highest bit at position e >= subBits falls into bucket row e-subBits+1, column the next subBits
// bits: every bucket is at most 1/2^subBits of its value wide, so a quantile is off by less than 0.8%.
// Values below 2^subBits have a bucket each.
//
//	v:   000001 ccccccc xxxxxxxxx
//	          ^ e  ^ column (subBits bits)
const (
	subBits = 7
	subs    = 1 << subBits
	// maxExp bounds what is told apart: 2^40 ns is 18 minutes, more than any run lasts. Larger values saturate.
	maxExp  = 40
	buckets = (maxExp - subBits + 1) * subs
)

// H is a histogram of durations. The zero value is empty and ready. It is 35 KB: keep one per run, not one per
// connection. Not safe for concurrent use; merge per-thread histograms with Add.
type H struct {
	counts [buckets]uint64
	n      uint64
	sum    uint64
	max    uint64
}

// Record adds one duration. Negative durations count as 0.
func (h *H) Record(d time.Duration) {
	v := uint64(max(d, 0))
	h.counts[index(v)]++
	h.n++
	h.sum += v
	h.max = max(h.max, v)
}

// Add merges o into h.
func (h *H) Add(o *H) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Reset empties h.
func (h *H) Reset() { *h = H{} }

// Count is the number of recorded values.
func (h *H) Count() uint64 { return h.n }

// Max is the largest recorded value, exact.
func (h *H) Max() time.Duration { return time.Duration(h.max) }

// Mean is the exact mean, 0 of an empty histogram.
func (h *H) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / h.n)
}

// Quantile returns the smallest bucket bound that at least a share q (0..1) of the values do not exceed: the value
// of rank ceil(q*n), rounded up by less than 0.8%, never above Max. 0 of an empty histogram.
func (h *H) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.n)))
	rank = min(max(rank, 1), h.n)
	var seen uint64
	for i, c := range h.counts {
		seen += c
		if seen >= rank {
			return time.Duration(min(upper(i), h.max))
		}
	}
	return time.Duration(h.max)
}

// index is the bucket of v.
func index(v uint64) int {
	if v < subs {
		return int(v)
	}
	e := bits.Len64(v) - 1
	if e >= maxExp {
		return buckets - 1
	}
	row := e - subBits + 1
	col := int(v>>(e-subBits)) & (subs - 1)
	return row*subs + col
}

// upper is the largest value of bucket i.
func upper(i int) uint64 {
	row, col := i/subs, uint64(i%subs)
	if row == 0 {
		return col
	}
	shift := row - 1
	return (subs+col+1)<<shift - 1
}
