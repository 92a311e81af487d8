package httpd

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"sync/atomic"
)

// Histogram counts int64 values in fixed buckets and renders them the way Prometheus wants it: cumulative
// `le` buckets, _sum and _count. (The Histogram of VictoriaMetrics/metrics renders vmrange buckets, which
// Prometheus' histogram_quantile cannot read.)
//
// Observe takes a handful of comparisons and two atomic additions, and allocates nothing. A scrape that runs
// beside it may see a value in the buckets but not yet in the sum; _count always equals the +Inf bucket.
type Histogram struct {
	bounds []int64 // upper bounds, inclusive, ascending
	unit   float64 // what one rendered unit is in observed units: 1e9 for seconds out of nanoseconds
	counts []atomic.Uint64
	sum    atomic.Int64
}

// histogramMax bounds the buckets of a histogram that has tallies (metrics_tally.go).
const histogramMax = 24

// NewHistogram returns a histogram with a bucket up to and including each bound, which must ascend, and one
// for all above. unit is how many observed units make one rendered one. bounds is kept.
func NewHistogram(unit float64, bounds ...int64) *Histogram {
	if !sort.SliceIsSorted(bounds, func(i, j int) bool { return bounds[i] < bounds[j] }) || unit <= 0 {
		panic("httpd.NewHistogram: bounds must ascend and unit must be positive")
	}
	return &Histogram{bounds: bounds, unit: unit, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts v; values below 0 count as 0.
func (h *Histogram) Observe(v int64) {
	v = max(v, 0)
	h.counts[h.bucket(v)].Add(1)
	h.sum.Add(v)
}

// bucket is the index of v's bucket.
func (h *Histogram) bucket(v int64) int {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	return i
}

// Count is how many values were observed.
func (h *Histogram) Count() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// write renders the series of h. labels is empty or `name="value",...` without braces.
func (h *Histogram) write(w io.Writer, name, labels string) {
	sep := ""
	if labels != "" {
		sep = ","
	}
	var n uint64
	for i, bound := range h.bounds {
		n += h.counts[i].Load()
		le := strconv.FormatFloat(float64(bound)/h.unit, 'g', -1, 64)
		fmt.Fprintf(w, "%s_bucket{%s%sle=\"%s\"} %d\n", name, labels, sep, le, n)
	}
	n += h.counts[len(h.bounds)].Load()
	fmt.Fprintf(w, "%s_bucket{%s%sle=\"+Inf\"} %d\n", name, labels, sep, n)
	sum := strconv.FormatFloat(float64(h.sum.Load())/h.unit, 'g', -1, 64)
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", name, labels, sum, name, labels, n)
}
