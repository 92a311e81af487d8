package wal

import (
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestNoSegmentIsMadeRightAfterAStart: the next segment's zeros wait until a start is over, but not until the active segment
// is full.
func TestNoSegmentIsMadeRightAfterAStart(t *testing.T) {
	o := testOptions(walfs.NewMem(), 1)
	o.StartPause = time.Hour
	w, err := Open(o, nil)
	require.NoError(t, err)
	next := uint64(1)
	for w.count.room.Load() > o.SegmentBytes/2+1000 {
		next = grow(w, next, 1, 200)
		require.Zero(t, w.pool.len(), "a segment was made in the pause after the start")
	}
	for w.count.room.Load() >= o.SegmentBytes/2 {
		next = grow(w, next, 1, 200)
	}
	waitFor(t, "the next segment", func() bool { return w.pool.len() == 1 })
	require.NoError(t, w.Close())

	o.StartPause = -1
	w, err = Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "the next segment, without a pause", func() bool { return w.pool.len() == 1 })
	require.NoError(t, w.Close())
}
