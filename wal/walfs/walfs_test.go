package walfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSameBehaviour runs one list of calls on the operating system's file system, the memory one and a
// wrapped one.
func TestSameBehaviour(t *testing.T) {
	mem := NewMem()
	for name, c := range map[string]struct {
		fs  FS
		dir string
	}{
		"os":     {OS(), filepath.Join(t.TempDir(), "a", "b")},
		"mem":    {mem, "/a/b"},
		"faulty": {NewFaulty(NewMem(), func(Call) Fault { return Fault{} }), "/a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := filepath.Join(c.dir, "one"), filepath.Join(c.dir, "two")
			_, err := c.fs.Create(one)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NoError(t, c.fs.MkdirAll(c.dir))
			require.NoError(t, c.fs.MkdirAll(c.dir))
			f, err := c.fs.Create(one)
			require.NoError(t, err)
			_, err = c.fs.Create(one)
			require.ErrorIs(t, err, fs.ErrExist)
			n, err := f.WriteAt([]byte("hello"), 3)
			require.NoError(t, err)
			require.Equal(t, 5, n)
			b := make([]byte, 8)
			_, err = f.ReadAt(b, 0)
			require.NoError(t, err)
			require.Equal(t, "\x00\x00\x00hello", string(b))
			n, err = f.ReadAt(b, 4)
			require.Equal(t, io.EOF, err)
			require.Equal(t, "ello", string(b[:n]))
			_, err = f.ReadAt(b, 100)
			require.Equal(t, io.EOF, err)
			require.NoError(t, f.Sync())
			require.NoError(t, f.Truncate(4))
			require.NoError(t, f.Allocate(10))
			size, err := f.Size()
			require.NoError(t, err)
			require.Equal(t, int64(10), size)
			require.NoError(t, f.Allocate(6))
			_, err = f.ReadAt(b, 0)
			require.NoError(t, err)
			require.Equal(t, "\x00\x00\x00h\x00\x00\x00\x00", string(b))

			g, err := c.fs.Create(two)
			require.NoError(t, err)
			require.NoError(t, g.Close())
			require.ErrorIs(t, c.fs.Rename(one, two), fs.ErrExist)
			require.NoError(t, c.fs.Remove(two))
			require.NoError(t, c.fs.Rename(one, two))
			require.ErrorIs(t, c.fs.Rename(one, one+"x"), fs.ErrNotExist)
			require.ErrorIs(t, c.fs.Remove(one), fs.ErrNotExist)
			_, err = c.fs.Open(one)
			require.ErrorIs(t, err, fs.ErrNotExist)
			names, err := c.fs.List(c.dir)
			require.NoError(t, err)
			require.Equal(t, []string{"two"}, names)
			require.NoError(t, c.fs.SyncDir(c.dir))
			require.Error(t, c.fs.SyncDir(c.dir+"/none"))
			_, err = c.fs.List(c.dir + "/none")
			require.ErrorIs(t, err, fs.ErrNotExist)

			// An open file outlives its name.
			require.NoError(t, c.fs.Remove(two))
			_, err = f.WriteAt([]byte("x"), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		})
	}
}

func create(t *testing.T, m *Mem, name, data string) File {
	t.Helper()
	require.NoError(t, m.MkdirAll(filepath.Dir(name)))
	f, err := m.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(data), 0)
	require.NoError(t, err)
	return f
}

func contents(t *testing.T, m *Mem, name string) string {
	t.Helper()
	f, err := m.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.True(t, err == nil || err == io.EOF)
	return string(b)
}

func TestCrashKeepsOnlyWhatWasSynced(t *testing.T) {
	none := CrashOptions{}
	rng := rand.New(rand.NewPCG(1, 1))
	m := NewMem()
	f := create(t, m, "/d/a", "one")
	require.Equal(t, "-", contents(t, m.Crash(rng, none), "/d/a"))
	require.NoError(t, m.SyncDir("/d"))
	require.Equal(t, "", contents(t, m.Crash(rng, none), "/d/a"), "a name without a sync of the file")
	require.NoError(t, f.Sync())
	require.Equal(t, "one", contents(t, m.Crash(rng, none), "/d/a"))
	_, err := f.WriteAt([]byte("two!"), 0)
	require.NoError(t, err)
	require.Equal(t, "one", contents(t, m.Crash(rng, none), "/d/a"))
	require.Equal(t, "two!", contents(t, m.Crash(rng, CrashOptions{Keep: 100}), "/d/a"))

	require.NoError(t, f.Sync())
	require.NoError(t, m.Rename("/d/a", "/d/b"))
	lost := m.Crash(rng, none)
	require.Equal(t, "two! -", contents(t, lost, "/d/a")+" "+contents(t, lost, "/d/b"))
	require.NoError(t, m.SyncDir("/d"))
	kept := m.Crash(rng, none)
	require.Equal(t, "- two!", contents(t, kept, "/d/a")+" "+contents(t, kept, "/d/b"))

	require.NoError(t, m.Remove("/d/b"))
	require.Equal(t, "two!", contents(t, m.Crash(rng, none), "/d/b"))
	require.NoError(t, f.Truncate(1))
	require.NoError(t, f.Sync())
	require.Equal(t, "t", contents(t, m.Crash(rng, none), "/d/b"))
}

// TestCrashIsRepeatable: the same seed gives the same disk.
func TestCrashIsRepeatable(t *testing.T) {
	m := NewMem()
	for _, name := range []string{"/d/a", "/d/b", "/d/c"} {
		f := create(t, m, name, string(bytes.Repeat([]byte(name), 5000)))
		require.NoError(t, f.Sync())
		_, err := f.WriteAt(bytes.Repeat([]byte("new"), 3000), 100)
		require.NoError(t, err)
	}
	o := CrashOptions{Keep: 60, Tear: 50}
	seen := map[string]bool{}
	for seed := range uint64(20) {
		a := m.Crash(rand.New(rand.NewPCG(seed, 0)), o)
		b := m.Crash(rand.New(rand.NewPCG(seed, 0)), o)
		all := ""
		for _, name := range []string{"/d/a", "/d/b", "/d/c"} {
			require.Equal(t, contents(t, a, name), contents(t, b, name))
			all += contents(t, a, name)
		}
		seen[all] = true
	}
	require.Greater(t, len(seen), 10, "seeds make no difference")
}

// TestTearing: torn blocks hold old, new and garbage sectors; with power-safe overwrite nothing outside
// what was written changes, without it anything in the block may.
func TestTearing(t *testing.T) {
	m := NewMem()
	old := bytes.Repeat([]byte("o"), 4*BlockBytes)
	f := create(t, m, "/d/a", string(old))
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/d"))
	_, err := f.WriteAt(bytes.Repeat([]byte("n"), BlockBytes+1000), 500)
	require.NoError(t, err)
	var kept, fresh, garbage, outside int
	for seed := range uint64(100) {
		whole := seed%2 == 1
		b := contents(t, m.Crash(rand.New(rand.NewPCG(seed, 0)), CrashOptions{Tear: 100, WholeBlocks: whole}), "/d/a")
		require.Equal(t, string(old[2*BlockBytes:]), b[2*BlockBytes:], "blocks that were not written")
		for i := range 2 * BlockBytes {
			written := i >= 500 && i < BlockBytes+1500
			switch {
			case b[i] == 'o' && written:
				kept++
			case b[i] == 'n':
				require.True(t, written || whole, "garbage may be an n")
				fresh++
			case b[i] != 'o' && written:
				garbage++
			case b[i] != 'o':
				require.True(t, whole)
				outside++
			}
		}
	}
	for _, n := range []int{kept, fresh, garbage, outside} {
		require.NotZero(t, n)
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	f := create(t, m, "/d/a", "12345")
	m.SetCapacity(8)
	n, err := f.WriteAt([]byte("abcdef"), 4)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 4, n, "a short write fills the disk")
	require.Equal(t, "1234abcd", contents(t, m, "/d/a"))
	_, err = f.WriteAt([]byte("over"), 0)
	require.NoError(t, err, "overwriting needs no space")
	require.ErrorIs(t, f.Allocate(9), syscall.ENOSPC)
	require.ErrorIs(t, f.Truncate(9), syscall.ENOSPC)
	m.SetCapacity(0)
	require.NoError(t, f.Truncate(9))
	require.Equal(t, int64(9), m.Used())
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	m := NewMem()
	var next Fault
	var last Call
	f := NewFaulty(m, func(c Call) Fault { last = c; return next })
	require.NoError(t, f.MkdirAll("/d"))
	file, err := f.Create("/d/a")
	require.NoError(t, err)
	next = Fault{Err: boom, Short: 2}
	n, err := file.WriteAt([]byte("hello"), 0)
	require.Equal(t, boom, err)
	require.Equal(t, 2, n)
	require.Equal(t, Call{Op: OpWrite, Path: "/d/a", N: 2, Len: 5}, last)
	require.Equal(t, "he", contents(t, m, "/d/a"))
	next = Fault{Err: boom, After: true}
	require.Equal(t, boom, file.Truncate(1))
	require.Equal(t, "h", contents(t, m, "/d/a"))
	next = Fault{Err: boom}
	require.Equal(t, boom, file.Sync())
	require.Equal(t, boom, f.Rename("/d/a", "/d/b"))
	_, err = f.Open("/d/a")
	require.Equal(t, boom, err)
	hang := make(chan struct{})
	next = Fault{Hang: hang}
	done := make(chan error)
	go func() { done <- file.Sync() }()
	select {
	case <-done:
		t.Fatal("did not hang")
	default:
	}
	close(hang)
	require.NoError(t, <-done)
	require.Equal(t, 8, f.Calls())
	require.Equal(t, "write", OpWrite.String())
}
