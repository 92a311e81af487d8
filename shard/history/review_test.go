package history

import (
	"bytes"
	"io"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// TestMergeThatFailedBehindItsName: out of descriptors between the name of a merged file and its opening. The file lies
// there, nobody counts on it, and the next merge may choose other neighbours: the two overlap, and neither covers the
// other. The start must take both.
func TestMergeThatFailedBehindItsName(t *testing.T) {
	mem := walfs.NewMem()
	var fail string // the end of the name that cannot be opened
	fsys := walfs.NewFaulty(mem, func(c walfs.Call) walfs.Fault {
		if c.Op == walfs.OpOpen && fail != "" && strings.HasSuffix(c.Path, fail) {
			return walfs.Fault{Err: syscall.EMFILE}
		}
		return walfs.Fault{}
	})
	s := open(t, Options{FS: fsys, Dir: "/h"})
	m := model{}
	for range 12 {
		require.NoError(t, spill(s, 0, m, 0, 2))
	}
	sf := &s.shards[0]
	mergeRun := func(i, j int) error { // what Merge does with other sizes
		merged, err := s.merge(0, sf.files[i:j])
		if err != nil {
			return err
		}
		parts := sf.files[i:j]
		sf.files = append(append(append([]*file(nil), sf.files[:i]...), merged), sf.files[j:]...)
		for _, h := range parts {
			h.release()
			require.NoError(t, mem.Remove(h.path))
		}
		return nil
	}
	fail = fileName(0, 1, 8)
	require.ErrorIs(t, mergeRun(0, 8), syscall.EMFILE)
	fail = ""
	require.NoError(t, mergeRun(4, 12))
	check(t, s, 0, m)
	s.Close()

	s = open(t, Options{FS: mem, Dir: "/h"})
	check(t, s, 0, m)
	require.NoError(t, spill(s, 0, m, 0, 2))
	s.Close()
	s = open(t, Options{FS: mem, Dir: "/h"})
	check(t, s, 0, m)
	s.Close()
}

// TestSeqsThatWrap: a stream with a seq at the end of numbers, or the seq 0, which no message has, is refused.
func TestSeqsThatWrap(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for _, first := range []uint64{0, math.MaxUint64, math.MaxUint64 - 1} {
		var b builder
		b.add([]byte("x"), first, []byte("{}"))
		b.add([]byte("x"), first+1, []byte("{}"))
		stored := b.seal(nil, enc)
		stream := append(le.AppendUint32(nil, uint32(len(stored))), stored...)
		stream = le.AppendUint32(stream, 0)
		s := open(t, Options{Dir: t.TempDir()})
		require.Error(t, s.Receive(0, bytes.NewReader(stream)), "first %d", first)
		s.Close()
	}
}

// TestCloseUnderWay: the node closes its store while connections still read from it, send it, and add to it. They get an
// error, or what they asked for.
func TestCloseUnderWay(t *testing.T) {
	for range 8 {
		s := open(t, Options{Dir: t.TempDir()})
		m := model{}
		require.NoError(t, spill(s, 0, m, 0, 200))
		whole := transfer(t, s, 0)
		began := make(chan struct{}, 3)
		var all sync.WaitGroup
		for _, use := range []func() error{
			func() error {
				_, _, err := s.Append(nil, 0, "b", 1, 200, 1<<20)
				return err
			},
			func() error {
				tr, err := s.Transfer(0)
				if err != nil {
					return err
				}
				defer tr.Close()
				n, err := io.Copy(io.Discard, tr)
				require.EqualValues(t, len(whole), n)
				return err
			},
			func() error { return s.Receive(1, bytes.NewReader(whole)) },
		} {
			all.Go(func() {
				for i := range 50 {
					if i == 2 {
						began <- struct{}{}
					}
					if err := use(); err != nil {
						require.ErrorIs(t, err, ErrClosed)
						return
					}
				}
			})
		}
		for range 3 {
			<-began
		}
		s.Close()
		all.Wait()
	}
}
