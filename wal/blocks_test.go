package wal

import (
	"math/rand/v2"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// traffic is what batches of messages cost on disk, in bytes per byte of message.
type traffic struct {
	records  float64 // without padding
	padding  float64
	blocks   float64 // that a sync has to write
	unpadded float64 // the same, were there no padding
}

// measureTraffic commits batches of so many entries, give or take a quarter: messages of 200 bytes, 245 as commands, of
// 256 groups that have seen a hundred thousand.
func measureTraffic(t *testing.T, entries int) (sum traffic) {
	t.Helper()
	const message, command, groups = 200, 245, 256
	rng := rand.New(rand.NewPCG(uint64(entries), 1))
	o := testOptions(walfs.NewMem(), groups)
	o.Manual, o.SegmentBytes = true, 64<<20
	w, err := Open(o, nil)
	require.NoError(t, err)
	var next [groups]uint64
	b := NewBatch(func(*Batch) {})
	commit := func() {
		w.Submit(b)
		for w.Step() {
		}
		b.Reset()
	}
	for g := range uint32(groups) {
		b.Snapshot(g, 100_000, 3, nil)
		next[g] = 100_001
	}
	commit()
	payload, at := 0.0, int64(0)
	start, blocks := w.act.enc.start, w.count.blocks.Load()
	for w.act.enc.start < 16<<20 {
		before := w.act.enc.start
		for range entries - entries/4 + rng.IntN(entries/2+1) {
			g := rng.Uint32N(groups)
			b.Entry(g, next[g]-1-rng.Uint64N(2), Entry{Index: next[g], Term: 3, Data: make([]byte, command+rng.IntN(8)-4)})
			next[g]++
			payload += message
		}
		commit()
		size := w.act.enc.start - before
		if pad := w.act.enc.start % blockBytes; pad == 0 {
			size -= padding(t, w)
		}
		sum.unpadded += float64(alignUp(at+size, blockBytes) - at&^(blockBytes-1))
		at += size
	}
	sum.records = float64(at) / payload
	sum.padding = float64(w.act.enc.start-start-at) / payload
	sum.blocks = float64(w.count.blocks.Load()-blocks) / payload
	sum.unpadded /= payload
	require.NoError(t, w.Close())
	return sum
}

// padding returns the size of the PAD record that ends the log, or 0.
func padding(t *testing.T, w *WAL) int64 {
	t.Helper()
	const most = 2 * blockBytes
	end := w.act.enc.start
	b := make([]byte, most)
	_, err := w.act.file.ReadAt(b, end-most)
	require.NoError(t, err)
	var r record
	for i := int64(0); i < most; i += alignBytes {
		off := end - most + i
		if v, n := decodeRecord(b[i:], w.act.enc.life, off, end, &r); v == valid && r.kind == kindPad && off+int64(n) == end {
			return int64(n)
		}
	}
	return 0
}

// TestWhatABatchCostsOnDisk: a record takes at most 28 bytes more than its data, padding at most 4% of the log, and
// at the batch sizes of 64 connections and more it saves blocks.
func TestWhatABatchCostsOnDisk(t *testing.T) {
	for _, c := range []struct {
		entries int
		saves   float64 // at least, of the blocks
	}{{1, 0}, {4, 0}, {16, 0.08}, {64, 0.05}, {256, 0}} {
		got := measureTraffic(t, c.entries)
		t.Logf("%3d messages a sync: per byte of message, records %.3f, padding %.3f, blocks %.3f (without padding %.3f)",
			c.entries, got.records, got.padding, got.blocks, got.unpadded)
		require.LessOrEqual(t, got.records, float64(245+28)/200)
		require.LessOrEqual(t, got.padding, 0.04*got.records)
		require.LessOrEqual(t, got.blocks, (1-c.saves)*got.unpadded)
	}
}
