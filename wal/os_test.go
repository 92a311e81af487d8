package wal

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnTheOperatingSystem: the whole life of a log on a real disk, rotation, recycling and restart.
func TestOnTheOperatingSystem(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "wal")
	o := Options{Dir: dir, Groups: 4, SegmentBytes: 1 << 20, SoftLimitBytes: 3 << 20}
	next := make([]uint64, 4)
	for life := range 3 {
		w, got := recoverState(t, o)
		for g := range next {
			require.Equal(t, next[g], got[g].last())
		}
		for range 300 {
			commit(w, func(b *Batch) {
				for g := range uint32(4) {
					next[g]++
					b.Entry(g, next[g]-1, entry(next[g], 1, strings.Repeat("o", 2000)))
				}
				b.State(0, HardState{Term: uint64(life + 1), Vote: 1, Commit: next[0] - 1})
			})
			if next[0]%100 == 0 {
				commit(w, func(b *Batch) {
					for g := range uint32(4) {
						b.Snapshot(g, next[g]-10, 1, []byte("conf"))
					}
				})
			}
		}
		var s Stats
		w.Stats(&s)
		require.NotZero(t, s.Rotations)
		require.NotZero(t, s.Recycled)
		require.LessOrEqual(t, s.LiveBytes, int64(6<<20))
		entries, err := w.Read(2, next[2]-5, next[2]+1, 1<<20, nil)
		require.NoError(t, err)
		require.Len(t, entries, 6)
		require.NoError(t, w.Close())
	}
	var out bytes.Buffer
	require.NoError(t, Dump(&out, OS(), dir, DumpOptions{Group: -1}))
	require.NotContains(t, out.String(), "CORRUPT")

	// A flipped bit in the middle.
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	require.NoError(t, err)
	path := names[len(names)-1]
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[100_000] ^= 4
	require.NoError(t, os.WriteFile(path, b, 0o600))
	_, err = Open(o, nil)
	var rot *CorruptionError
	require.ErrorAs(t, err, &rot)
	require.Equal(t, path, rot.Path)
	require.InDelta(t, 100_000, rot.Offset, 2100)
	out.Reset()
	require.NoError(t, Dump(&out, OS(), dir, DumpOptions{Group: 1, Records: true, Data: 8}))
	require.Contains(t, out.String(), "CORRUPT: a later record says that this was durable")
}
