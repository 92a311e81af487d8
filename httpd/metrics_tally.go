package httpd

import (
	"net/http"
	"sync/atomic"
)

// tallies is how many tallies there are. More processors than that share them.
const tallies = 8

// tally counts what the quick way does, on its own lines of memory: ten counters that every request adds to would each
// wander between the processors' caches, once a request. A work, which a processor gets back from its own pool, has one
// for ever. Scrapes move what is there into the metrics (fold).
type tally struct {
	_        [64]byte
	inflight atomic.Int64 // now; what begins in one ends in the same one
	in, out  atomic.Int64 // bytes
	took     histogramTally
	appends  [len(roles)][len(tokenSources)]atomic.Uint64
	tokens   histogramTally
	_        [64]byte
}

// histogramTally is a part of a Histogram's counts.
type histogramTally struct {
	counts [histogramMax]atomic.Uint64
	sum    atomic.Int64
}

// observe is Histogram.Observe of h, for now in t.
func (t *histogramTally) observe(h *Histogram, v int64) {
	v = max(v, 0)
	t.counts[h.bucket(v)].Add(1)
	t.sum.Add(v)
}

// fold moves what t holds to h, and says how many values that were.
func (t *histogramTally) fold(h *Histogram) (total uint64) {
	for i := range h.counts {
		n := t.counts[i].Swap(0)
		h.counts[i].Add(n)
		total += n
	}
	h.sum.Add(t.sum.Swap(0))
	return total
}

// created counts an append that was answered with 201: took in nanoseconds.
func (m *Metrics) created(t *tally, took int64) {
	t.took.observe(m.durations[routeMessages], took)
}

// fold moves the tallies into the metrics.
func (m *Metrics) fold() {
	for i := range m.tallies {
		t := &m.tallies[i]
		m.bytesIn.AddInt64(t.in.Swap(0))
		m.bytesOut.AddInt64(t.out.Swap(0))
		if n := t.took.fold(m.durations[routeMessages]); n > 0 {
			m.answered(routeMessages, http.StatusCreated).AddInt64(int64(n))
		}
		for role := range t.appends {
			for source := range t.appends[role] {
				m.appends[role][source].AddInt64(int64(t.appends[role][source].Swap(0)))
			}
		}
		t.tokens.fold(m.tokens)
	}
}
