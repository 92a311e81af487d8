//go:build !race

package wal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// nullFS is a file system whose files hold nothing: what allocates here is the log.
type nullFS struct{ FS }

type nullFile struct{ size int64 }

func (nullFS) MkdirAll(string) error                { return nil }
func (nullFS) Create(string) (File, error)          { return &nullFile{}, nil }
func (nullFS) Open(string) (File, error)            { return &nullFile{}, nil }
func (nullFS) Rename(string, string) error          { return nil }
func (nullFS) Remove(string) error                  { return nil }
func (nullFS) List(string) ([]string, error)        { return nil, nil }
func (nullFS) SyncDir(string) error                 { return nil }
func (*nullFile) ReadAt([]byte, int64) (int, error) { return 0, nil }
func (*nullFile) WriteAt(p []byte, _ int64) (int, error) {
	return len(p), nil
}
func (*nullFile) Sync() error            { return nil }
func (*nullFile) Allocate(int64) error   { return nil }
func (*nullFile) Truncate(int64) error   { return nil }
func (f *nullFile) Size() (int64, error) { return f.size, nil }
func (*nullFile) Close() error           { return nil }

// TestCommitDoesNotAllocate: building a batch, submitting, encoding, writing, syncing and reporting done.
func TestCommitDoesNotAllocate(t *testing.T) {
	o := testOptions(nullFS{}, 8)
	o.SegmentBytes = DefaultSegmentBytes
	w, err := Open(o, nil)
	require.NoError(t, err)
	waitFor(t, "spare", func() bool { return w.pool.len() == 1 })
	done := make(chan struct{}, 1)
	b := NewBatch(func(*Batch) { done <- struct{}{} })
	data, meta := bytes.Repeat([]byte("d"), 200), []byte("members")
	index := uint64(0)
	round := func() {
		b.Reset()
		index++
		for g := range uint32(8) {
			b.Entry(g, index-1, Entry{Index: index, Term: 1, Data: data})
			b.State(g, HardState{Term: 1, Vote: 1, Commit: index - 1})
			if index%16 == 0 {
				b.Snapshot(g, index-1, 1, meta)
			}
		}
		w.Submit(b)
		<-done
	}
	for range 200 {
		round()
	}
	require.Zero(t, testing.AllocsPerRun(2000, round))
	require.NoError(t, w.Close())
}

func TestEncodeAndDecodeDoNotAllocate(t *testing.T) {
	e := encoder{buf: make([]byte, 0, 64<<10), life: makeLife(formatVersion, 1, 2)}
	en := Entry{Index: 1, Term: 1, Data: bytes.Repeat([]byte("x"), 200)}
	var r record
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.buf = e.buf[:0]
		e.entry(kindEntry, 1, 1, &en)
		e.state(1, HardState{})
		e.mark()
		e.padTo(4096, 1<<20)
		for off := int64(0); off < e.offset(); {
			v, n := decodeRecord(e.buf[off:], e.life, off, e.offset(), &r)
			if v != valid {
				t.Fatal("not valid")
			}
			off += int64(n)
		}
	}))
}
