package wal

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestWritesEndWithABlock: every write ends with a block, so that the system never has to read the rest of one before it can
// write: be it a batch, a part of a long one, or a mark.
func TestWritesEndWithABlock(t *testing.T) {
	writes := 0
	o := testOptions(walfs.NewFaulty(walfs.NewMem(), func(c walfs.Call) walfs.Fault {
		if end := c.Off + int64(c.Len); c.Op == walfs.OpWrite {
			writes++
			if end%blockBytes != 0 {
				t.Errorf("a write of %s from %d to %d", c.Path, c.Off, end)
			}
		}
		return walfs.Fault{}
	}), 1)
	o.SegmentBytes = 8 << 20
	o.Manual, o.IdleMark = true, -1
	w, err := Open(o, nil)
	require.NoError(t, err)
	for i := uint64(1); i <= 40; i++ {
		n := 100
		if i%10 == 0 {
			n = writeChunk + 300
		}
		done := false
		b := NewBatch(func(*Batch) { done = true })
		for j := range uint64(3) {
			b.Entry(0, 0, Entry{Index: 3*i - 2 + j, Term: 1, Data: make([]byte, n)})
		}
		w.Submit(b)
		for !done {
			w.Step()
		}
		for w.Step() { // the mark
		}
	}
	var stats Stats
	w.Stats(&stats)
	require.NoError(t, w.Close())
	require.NotZero(t, stats.Rotations)
	require.Greater(t, writes, 2*40)
}
