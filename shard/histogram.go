package shard

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// LatencyBuckets is the number of buckets of a Latency; bucket i counts what took up to LatencyBucket(i), the last one all
// the rest.
const LatencyBuckets = 20

// LatencyBucket returns the upper bound of bucket i: 16 us times 2^i, as for the log's syncs (wal.SyncBucket).
func LatencyBucket(i int) time.Duration { return 16 * time.Microsecond << i }

// Latency is a histogram of durations.
type Latency struct {
	Count   uint64
	Nanos   uint64 // sum
	Buckets [LatencyBuckets]uint64
}

// latency collects a Latency. Its one writer is a loop, so that the atomics are never contended.
type latency struct {
	nanos   atomic.Uint64
	buckets [LatencyBuckets]atomic.Uint64
}

func (h *latency) observe(nanos int64) {
	took := uint64(max(nanos, 0))
	h.nanos.Add(took)
	i := bits.Len64((max(took, 1) - 1) / uint64(LatencyBucket(0)))
	h.buckets[min(i, LatencyBuckets-1)].Add(1)
}

// add adds what h has collected to out.
func (h *latency) add(out *Latency) {
	out.Nanos += h.nanos.Load()
	for i := range h.buckets {
		n := h.buckets[i].Load()
		out.Buckets[i] += n
		out.Count += n
	}
}
