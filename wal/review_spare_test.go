package wal

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// A process that is killed while it pre-writes a segment leaves a file that must not be taken for ready: on it,
// every fdatasync would change metadata.
func TestReviewHalfMadeSpare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	var sw switchable
	var writes atomic.Int32
	o := testOptions(walfs.NewFaulty(walfs.OS(), sw.inject), 1)
	o.Dir, o.SegmentBytes = dir, 16<<20
	o.Fatal = func(error) {}
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "a spare", func() bool { return w.pool.len() == 1 })
	require.NoError(t, w.Close())
	spares, err := filepath.Glob(filepath.Join(dir, "*"+spareSuffix))
	require.NoError(t, err)
	for _, path := range spares {
		require.NoError(t, os.Remove(path))
	}

	// Killed after one chunk: the file is there, one chunk of it written.
	killed := errors.New("killed")
	sw.set(func(c walfs.Call) walfs.Fault {
		pastFirst := filepath.Ext(c.Path) == spareSuffix && c.Op == walfs.OpWrite && writes.Add(1) > 1
		if pastFirst || c.Op == walfs.OpRemove && writes.Load() > 1 {
			return walfs.Fault{Err: killed}
		}
		return walfs.Fault{}
	})
	_, err = Open(o, nil)
	require.ErrorIs(t, err, killed)

	sw.set(func(walfs.Call) walfs.Fault { return walfs.Fault{} })
	w, err = Open(o, nil)
	require.NoError(t, err)
	var s Stats
	w.Stats(&s)
	require.GreaterOrEqual(t, s.ZeroedBytes, uint64(16<<20), "the segment in use was never pre-written")
	require.NoError(t, w.Close())
}
