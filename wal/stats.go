package wal

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// SyncBuckets is the number of latency buckets of Stats: bucket i counts syncs of up to SyncBucket(i).
const SyncBuckets = 20

// SyncBucket returns the upper bound of bucket i: 16 us times 2^i, the last one without a bound.
func SyncBucket(i int) time.Duration { return 16 * time.Microsecond << i }

// Stats are the log's counters since Open, and a few gauges.
type Stats struct {
	Batches       uint64 // done
	LeftOver      uint64 // of them, those that a sync left to the next, to end with a block
	Records       uint64 // written, of all kinds
	Bytes         uint64 // written to segments in use, preambles included
	BlockBytes    uint64 // of the 4 KiB blocks that they made dirty, counted at each sync: what goes to the disk
	PayloadBytes  uint64 // of Bytes, entry data of batches
	Syncs         uint64 // fdatasyncs of the commit path
	SyncNanos     uint64 // time spent in them
	SyncLatency   [SyncBuckets]uint64
	Rotations     uint64
	RotationNanos uint64 // time the writer spent in them, waiting for a spare included
	CarriedBytes  uint64 // copied forward at rotations
	CarriedGroups uint64
	ZeroedBytes   uint64 // written ahead to make segments
	Recycled      uint64 // segments given another life
	Removed       uint64 // segments deleted
	SnapshotAsks  uint64 // groups named to RequestSnapshot

	SegmentsLive  int
	SegmentsFree  int
	LiveBytes     int64 // size of live segments
	RoomBytes     int64 // left in the active one
	Full, NoSpace bool

	ReplayBytes    int64 // read by Open
	ReplayRecords  uint64
	ReplayEntries  uint64 // handed to the handler
	ReplaySegments int
	ReplayTook     time.Duration
	TailOffset     int64 // where the newest segment was sealed
	TornRecords    int   // valid records found beyond that, dropped as never promised
}

// counters are the atomics behind Stats.
type counters struct {
	batches, records, bytes, payload atomic.Uint64
	leftOver                         atomic.Uint64
	blocks                           atomic.Uint64
	syncs, syncNanos                 atomic.Uint64
	syncLatency                      [SyncBuckets]atomic.Uint64
	rotations, rotationNanos         atomic.Uint64
	carriedBytes, carriedGroups      atomic.Uint64
	zeroed, recycled, removed, asks  atomic.Uint64
	room, live                       atomic.Int64
}

func (c *counters) synced(took time.Duration) {
	c.syncs.Add(1)
	c.syncNanos.Add(uint64(took))
	i := bits.Len64(uint64(max(took-1, 0) / (16 * time.Microsecond)))
	c.syncLatency[min(i, SyncBuckets-1)].Add(1)
}

// Stats fills s. It takes no lock that a commit waits for, beyond a moment.
func (w *WAL) Stats(s *Stats) {
	c := &w.count
	*s = Stats{
		Batches: c.batches.Load(), LeftOver: c.leftOver.Load(), Records: c.records.Load(), Bytes: c.bytes.Load(), BlockBytes: c.blocks.Load(), PayloadBytes: c.payload.Load(),
		Syncs: c.syncs.Load(), SyncNanos: c.syncNanos.Load(),
		Rotations: c.rotations.Load(), RotationNanos: c.rotationNanos.Load(),
		CarriedBytes: c.carriedBytes.Load(), CarriedGroups: c.carriedGroups.Load(),
		ZeroedBytes: c.zeroed.Load(), Recycled: c.recycled.Load(), Removed: c.removed.Load(),
		SnapshotAsks: c.asks.Load(), RoomBytes: c.room.Load(), Full: w.Full(),
		ReplayBytes: w.replay.bytes, ReplayRecords: w.replay.records, ReplayEntries: w.replay.entries,
		ReplaySegments: w.replay.segments, ReplayTook: w.replay.took,
		TailOffset: w.replay.tail.end, TornRecords: w.replay.tail.later,
	}
	for i := range c.syncLatency {
		s.SyncLatency[i] = c.syncLatency[i].Load()
	}
	w.tab.mu.Lock()
	s.SegmentsLive, s.LiveBytes = len(w.tab.segs), w.tab.bytes
	w.tab.mu.Unlock()
	w.pool.mu.Lock()
	s.SegmentsFree, s.NoSpace = len(w.pool.free), w.pool.noSpace
	w.pool.mu.Unlock()
}
