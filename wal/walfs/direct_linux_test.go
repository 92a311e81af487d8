package walfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// wholeBlocks returns n blocks where a disk can take them from, all of one byte.
func wholeBlocks(n int, of byte) []byte {
	b := Aligned(n * DirectAlign)
	for i := range b {
		b[i] = of
	}
	return b
}

// directFile is a file of four blocks to which blocks can be written, or the test is skipped.
func directFile(t *testing.T) (*osFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	f, err := OS().Create(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteAt(make([]byte, 4*DirectAlign), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	o := f.(*osFile)
	done, err := o.WriteBlocks(wholeBlocks(1, 0), 0)
	require.NoError(t, err)
	if !done {
		t.Skip("no direct writes to the file system of the test's directory")
	}
	return o, path
}

// Both ways to a file lead to the same bytes, whichever was taken last, also when it has got another name.
func TestWriteBlocks(t *testing.T) {
	for name, procs := range map[string]int{"held": 1, "plain": 2} {
		t.Run(name, func(t *testing.T) {
			before := runtime.GOMAXPROCS(procs)
			t.Cleanup(func() { runtime.GOMAXPROCS(before) })
			f, path := directFile(t)
			require.NoError(t, os.Rename(path, path+".new"))
			want := make([]byte, 4*DirectAlign)
			for i := range 40 {
				at := i % 3
				b := wholeBlocks(2, byte(i))
				done, err := f.WriteBlocks(b, int64(at)*DirectAlign)
				require.NoError(t, err)
				require.True(t, done)
				copy(want[at*DirectAlign:], b)
				got := make([]byte, len(want))
				_, err = f.ReadAt(got, 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got), "round %d", i)

				_, err = f.WriteAt([]byte{0xff, byte(i)}, int64(i)*100)
				require.NoError(t, err)
				require.NoError(t, f.Sync())
				copy(want[i*100:], []byte{0xff, byte(i)})
			}
			onDisk, err := os.ReadFile(path + ".new")
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, onDisk))
		})
	}
}

// A reader that goes through the page cache finds what was written past it, at once: a log's writer tells readers how far
// they may read when WriteBlocks is done, and the last block is written again and again while they read it.
func TestWriteBlocksIsSeenByReaders(t *testing.T) {
	f, _ := directFile(t)
	const words = DirectAlign / 8
	var durable atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b := make([]byte, DirectAlign)
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := durable.Load()
				if _, err := f.ReadAt(b[:8*n], 0); err != nil {
					t.Error(err)
					return
				}
				for i := range n {
					if got := binary.LittleEndian.Uint64(b[8*i:]); got != uint64(i)+1 {
						t.Errorf("word %d of %d is %d", i, n, got)
						return
					}
				}
			}
		}()
	}
	b := wholeBlocks(1, 0)
	for i := range words {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(i)+1)
		done, err := f.WriteBlocks(b, 0)
		require.NoError(t, err)
		require.True(t, done)
		durable.Store(int64(i) + 1)
	}
	close(stop)
	wg.Wait()
}

// What the file system does not take is left to WriteAt and Sync, and it is not asked again.
func TestWriteBlocksThatCannotBe(t *testing.T) {
	f, _ := directFile(t)
	done, err := f.WriteBlocks(wholeBlocks(1, 1)[:100], 0)
	require.NoError(t, err)
	if done {
		t.Skip("this file system takes anything")
	}
	done, err = f.WriteBlocks(wholeBlocks(1, 1), 0)
	require.NoError(t, err)
	require.False(t, done)
}

// What goes wrong is an error: nobody may take it for written.
func TestWriteBlocksThatFails(t *testing.T) {
	for name, procs := range map[string]int{"held": 1, "plain": 2} {
		t.Run(name, func(t *testing.T) {
			before := runtime.GOMAXPROCS(procs)
			t.Cleanup(func() { runtime.GOMAXPROCS(before) })
			f, path := directFile(t)
			theHeld.rest = 0
			held := theHeld.done
			done, err := f.WriteBlocks(wholeBlocks(1, 1), 1<<62)
			if size, _ := f.Size(); size > 1<<62 {
				t.Skip("a file system for files of any length")
			}
			require.ErrorIs(t, err, unix.EFBIG)
			require.ErrorContains(t, err, path)
			require.False(t, done)
			if procs == 1 && !theHeld.broken {
				require.Equal(t, held+1, theHeld.done, "it failed on the way that it was to fail on")
			}
		})
	}
}

func TestWriteBlocksDoesNotAllocate(t *testing.T) {
	for name, procs := range map[string]int{"held": 1, "plain": 2} {
		t.Run(name, func(t *testing.T) {
			before := runtime.GOMAXPROCS(procs)
			t.Cleanup(func() { runtime.GOMAXPROCS(before) })
			f, _ := directFile(t)
			b := wholeBlocks(1, 1)
			require.Zero(t, testing.AllocsPerRun(100, func() {
				if done, err := f.WriteBlocks(b, 0); err != nil || !done {
					t.Error(done, err)
				}
			}))
		})
	}
}

// Less than all is not done.
func TestWriteBlocksThatAreTooMany(t *testing.T) {
	for name, procs := range map[string]int{"held": 1, "plain": 2} {
		t.Run(name, func(t *testing.T) {
			before := runtime.GOMAXPROCS(procs)
			t.Cleanup(func() { runtime.GOMAXPROCS(before) })
			f, _ := directFile(t)
			theHeld.rest = 0
			var was unix.Rlimit
			require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &was))
			require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 5 * DirectAlign, Max: was.Max}))
			done, err := f.WriteBlocks(wholeBlocks(2, 1), 4*DirectAlign)
			require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &was))
			require.False(t, done)
			if err != nil {
				require.ErrorIs(t, err, unix.EFBIG) // os.File writes the rest, and fails
			}
		})
	}
}

// Both descriptors go with the file.
func TestWriteBlocksCloses(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(fds)
	}
	before := open()
	for range 20 {
		f, _ := directFile(t)
		require.NoError(t, f.Close())
	}
	require.Less(t, open(), before+10) // others come and go: of the race detector, say
}

// A write that takes longer than the limit is waited for in the ordinary way, to its end.
func TestHeldWriteLetsGo(t *testing.T) {
	h := oneProcessor(t)
	f, path := directFile(t)
	h.limit, h.rest, h.long = 0, 0, 0
	done := h.done
	want := wholeBlocks(2, 7)
	tried, n, err := h.write(f.direct.f, want, DirectAlign)
	require.NoError(t, err)
	require.True(t, tried)
	require.Equal(t, len(want), n)
	require.Equal(t, done+1, h.done)
	require.Nil(t, h.buf)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got[DirectAlign:3*DirectAlign]))
	if h.long == 0 {
		t.Skip("the disk was done before it was asked")
	}
	tried, _, err = h.write(f.direct.f, want, DirectAlign)
	require.NoError(t, err)
	require.False(t, tried, "the next one is not held")
}
