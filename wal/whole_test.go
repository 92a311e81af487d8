package wal

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestWritesAreWholeBlocks: every write ends with a block, and begins with one where what was written before may not be in the page cache,
// so that the system never has to read the rest of one before it can write: be it a batch, a part of a long one, or a mark.
func TestWritesAreWholeBlocks(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		var log wholeFS
		if log.FS = walfs.NewMem(); blocks {
			log.FS = walfs.InBlocks(log.FS)
		}
		wholeBlocks(t, &log)
		require.Greater(t, log.writes, 20)
		require.Zero(t, log.ends, "writes that end inside of a block")
		if blocks {
			require.Zero(t, log.begins, "writes that begin inside of one")
			require.Greater(t, log.blocks, 10)
		}
	}
}

// wholeFS counts the writes to it.
type wholeFS struct {
	FS
	writes, blocks int // by WriteAt, by WriteBlocks
	begins, ends   int // so many of WriteAt's do inside of a block
}

type wholeFile struct {
	File
	fs *wholeFS
}

func (l *wholeFS) Create(name string) (File, error) {
	f, err := l.FS.Create(name)
	return &wholeFile{f, l}, err
}

func (f *wholeFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.writes++
	if off%blockBytes != 0 {
		f.fs.begins++
	}
	if (off+int64(len(p)))%blockBytes != 0 {
		f.fs.ends++
	}
	return f.File.WriteAt(p, off)
}

func (f *wholeFile) WriteBlocks(p []byte, off int64) (bool, error) {
	b, ok := f.File.(walfs.BlockWriter)
	if !ok {
		return false, nil
	}
	f.fs.blocks++
	return b.WriteBlocks(p, off)
}

func wholeBlocks(t *testing.T, fs FS) {
	t.Helper()
	o := testOptions(fs, 1)
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
}
