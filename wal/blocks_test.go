package wal

import (
	"math/rand/v2"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// traffic is what a stream of messages costs on disk, in bytes per byte of message, and in syncs that a batch takes.
type traffic struct {
	records float64 // without padding
	padding float64
	blocks  float64 // that a sync has to write
	plain   float64 // the same, were every round synced as it comes and nothing padded
	syncs   float64 // from submit to done, on average
	most    int     // and at most
}

// measureTraffic submits so many entries, give or take a quarter, before each round of the writer, in batches of six as a
// shard loop does: messages of 200 bytes, 245 as commands, of 256 groups that have seen a hundred thousand.
func measureTraffic(t *testing.T, entries int) (sum traffic) {
	t.Helper()
	const message, command, perBatch, groups, total = 200, 245, 6, 256, 1 << 20
	rng := rand.New(rand.NewPCG(uint64(entries), 1))
	o := testOptions(walfs.NewMem(), groups)
	o.Manual, o.SegmentBytes = true, 16<<20
	w, err := Open(o, nil)
	require.NoError(t, err)
	var next [groups]uint64
	b := NewBatch(func(*Batch) {})
	for g := range uint32(groups) {
		b.Snapshot(g, 100_000, 3, nil)
		next[g] = 100_001
	}
	w.Submit(b)
	for w.Step() {
	}
	payload, at, round, batches := 0.0, int64(0), 0, 0
	done := func(b *Batch) {
		took := round - b.Tag.(int)
		sum.syncs, sum.most, batches = sum.syncs+float64(took), max(sum.most, took), batches+1
	}
	start, blocks := w.act.enc.start, w.count.blocks.Load()
	data := make([]byte, command+4)
	for w.act.enc.start < start+total {
		before := at
		for n := entries - entries/4 + rng.IntN(entries/2+1); n > 0; n -= perBatch {
			b := NewBatch(done)
			b.Tag = round
			for range min(n, perBatch) {
				g, size := rng.Uint32N(groups), command+rng.IntN(8)-4
				b.Entry(g, next[g]-1-rng.Uint64N(2), Entry{Index: next[g], Term: 3, Data: data[:size]})
				next[g]++
				payload += message
				at += alignUp(int64(recordHead+3+1+1+size), alignBytes)
			}
			w.Submit(b)
		}
		sum.plain += float64(alignUp(at, blockBytes) - before&^(blockBytes-1))
		round++
		w.Step()
	}
	for w.Step() {
		round++
	}
	sum.records = float64(at) / payload
	sum.padding = float64(w.act.enc.start-start-at) / payload
	sum.blocks = float64(w.count.blocks.Load()-blocks) / payload
	sum.plain /= payload
	sum.syncs /= float64(batches)
	require.NoError(t, w.Close())
	return sum
}

// TestWhatABatchCostsOnDisk: a record takes at most 28 bytes more than its data and padding at most 4% of the log; where syncs
// of their own size would fill a block and more, as with 64 connections, nearly all blocks are written once; and for that no
// batch waits for more than one sync more than its own.
func TestWhatABatchCostsOnDisk(t *testing.T) {
	for _, c := range []struct {
		entries int
		blocks  float64 // of the records, at most
		syncs   float64 // on average, at most
	}{{1, 16, 1}, {4, 5, 1.1}, {16, 1.1, 1.6}, {24, 1.07, 1.5}, {64, 1.05, 1.2}, {256, 1.02, 1.1}} {
		got := measureTraffic(t, c.entries)
		t.Logf("%3d messages a round: per byte of message, records %.3f, padding %.3f, blocks %.3f (as they come %.3f); syncs %.2f, at most %d",
			c.entries, got.records, got.padding, got.blocks, got.plain, got.syncs, got.most)
		require.LessOrEqual(t, got.records, float64(245+28)/200)
		require.LessOrEqual(t, got.padding, 0.04*got.records)
		require.LessOrEqual(t, got.blocks, c.blocks*got.records)
		require.LessOrEqual(t, got.blocks, 1.01*got.plain)
		require.LessOrEqual(t, got.syncs, c.syncs)
		require.LessOrEqual(t, got.most, 2)
	}
}
