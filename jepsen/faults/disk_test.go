package faults

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// served is d as a machine serves it, by BlocksVar.
func served(d *Disk, inBlocks bool) walfs.FS {
	if inBlocks {
		return walfs.InBlocks(d)
	}
	return d
}

// TestDiskIsAFile: reads see every write, synced or not, at any offset; a process that starts anew sees what was synced.
func TestDiskIsAFile(t *testing.T) {
	const most = 5 * blockSize
	for seed := range uint64(10) {
		dice := rand.New(rand.NewPCG(seed, 1))
		name, inner := "/f", walfs.NewMem()
		require.NoError(t, inner.MkdirAll("/"))
		d := served(NewDisk(inner), seed%2 == 1)
		f, err := d.Create(name)
		require.NoError(t, err)
		var now, synced []byte
		write := func(off, n int) []byte {
			p := walfs.Aligned(n)
			for i := range p {
				p[i] = byte(dice.IntN(256))
			}
			now = append(now, make([]byte, max(0, off+n-len(now)))...)
			copy(now[off:], p)
			return p
		}
		for range 200 {
			switch dice.IntN(8) {
			case 0:
				require.NoError(t, f.Sync())
				if w, ok := f.(walfs.BlockWriter); ok {
					off := dice.IntN(4) * blockSize
					p := write(off, blockSize)
					done, err := w.WriteBlocks(p, int64(off))
					require.NoError(t, err)
					if !done { // InBlocks refuses some
						_, err = f.WriteAt(p, int64(off))
						require.NoError(t, err)
						require.NoError(t, f.Sync())
					}
				}
				synced = append(synced[:0], now...)
			case 1:
				size := dice.IntN(most)
				require.NoError(t, f.Sync())
				require.NoError(t, f.Truncate(int64(size)))
				now = append(now, make([]byte, max(0, size-len(now)))...)[:size]
				synced = append(synced[:0], now...)
			case 2:
				require.NoError(t, f.Close())
				f, err = d.Open(name)
				require.NoError(t, err)
			default:
				off, n := dice.IntN(most), 1+dice.IntN(2*blockSize)
				_, err := f.WriteAt(write(off, n), int64(off))
				require.NoError(t, err)
			}
			size, err := f.Size()
			require.NoError(t, err)
			require.EqualValues(t, len(now), size)
			off, n := dice.IntN(most), 1+dice.IntN(2*blockSize)
			p := make([]byte, n)
			got, err := f.ReadAt(p, int64(off))
			want := now[min(off, len(now)):min(off+n, len(now))]
			require.Equal(t, string(want), string(p[:got]))
			require.Equal(t, got < n, err == io.EOF, "%v", err)
		}
		require.NoError(t, f.Close())
		again, err := NewDisk(inner).Open(name)
		require.NoError(t, err)
		p := make([]byte, len(synced))
		_, err = again.ReadAt(p, 0)
		require.True(t, err == nil || err == io.EOF, "%v", err)
		require.Equal(t, string(synced), string(p))
		require.NoError(t, again.Close())
	}
}

// TestNamesAreLostUntilSynced: what LosePower makes of names, by many dice, is each of the states that walfs allows, and no other.
func TestNamesAreLostUntilSynced(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(400) {
		dir, inner := "/d", walfs.NewMem()
		require.NoError(t, inner.MkdirAll(dir))
		d := NewDisk(inner)
		write := func(name, text string) {
			f, err := d.Create(filepath.Join(dir, name))
			require.NoError(t, err)
			_, err = f.WriteAt([]byte(text), 0)
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
		}
		write("a", "A")
		write("b", "B")
		require.NoError(t, d.SyncDir(dir))
		require.NoError(t, d.Remove(filepath.Join(dir, "a")))
		require.NoError(t, d.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "c")))
		write("d", "D")
		names, err := d.List(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"c", "d"}, names)
		d.LosePower(rand.New(rand.NewPCG(seed, 0)))
		names, err = NewDisk(inner).List(dir)
		require.NoError(t, err)
		state := ""
		for _, n := range names {
			state += n
		}
		seen[state] = true
	}
	require.Len(t, seen, 8, "%v", seen)
	for _, either := range [][2]string{{"bc", ""}, {"", "bc"}} {
		require.False(t, seen[either[0]], "a renamed file has two names")
	}
}

// TestUnsyncedBytes: of what was not synced, power loss keeps some blocks, loses some and tears some; what was synced stays. A write of blocks
// that did not succeed is not synced.
func TestUnsyncedBytes(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		testUnsyncedBytes(t, blocks)
	}
}

func testUnsyncedBytes(t *testing.T, inBlocks bool) {
	kept, lost, torn := 0, 0, 0
	for seed := range uint64(60) {
		name, inner := "/f", walfs.NewMem()
		require.NoError(t, inner.MkdirAll("/"))
		d := NewDisk(inner)
		f, err := served(d, inBlocks).Create(name)
		require.NoError(t, err)
		fill := func(b byte, blocks int) error {
			p := walfs.Aligned(blocks * blockSize)
			for i := range p {
				p[i] = b
			}
			if w, ok := f.(walfs.BlockWriter); ok {
				done, err := w.WriteBlocks(p, 0)
				require.True(t, done)
				return err
			}
			_, err := f.WriteAt(p, 0)
			require.NoError(t, err)
			return f.Sync()
		}
		require.NoError(t, fill('o', 8))
		require.NoError(t, d.SyncDir(filepath.Dir(name)))
		d.FailSyncs()
		require.ErrorIs(t, fill('n', 4), syscall.EIO)
		d.LosePower(rand.New(rand.NewPCG(seed, 0)))
		g, err := inner.Open(name)
		require.NoError(t, err)
		p := make([]byte, 8*blockSize)
		_, err = g.ReadAt(p, 0)
		require.NoError(t, err)
		require.NoError(t, g.Close())
		for b := range 8 {
			sectors := 0
			for at := b * blockSize; at < (b+1)*blockSize; at += sectorSize {
				if p[at] == 'n' {
					sectors++
				}
			}
			switch {
			case b >= 4:
				require.Zero(t, sectors)
			case sectors == 0:
				lost++
			case sectors == blockSize/sectorSize:
				kept++
			default:
				torn++
			}
		}
	}
	require.Positive(t, kept)
	require.Positive(t, lost)
	require.Positive(t, torn)
}

// TestTrouble: each thing that can be wrong shows, by the command that brings it about, and goes with heal.
func TestTrouble(t *testing.T) {
	t.Setenv(BlocksVar, "1")
	m, dir := NewMachine(), t.TempDir()
	socket := filepath.Join(dir, "s")
	require.NoError(t, m.Serve(socket))
	say := func(command, answer string) {
		t.Helper()
		c, err := net.Dial("unix", socket)
		require.NoError(t, err)
		_, err = io.WriteString(c, command+"\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, answer)
		require.NoError(t, c.Close())
	}
	f, err := m.Disk.Create(filepath.Join(dir, "f"))
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 100), 0)
	require.NoError(t, err)
	w, err := m.FS.Open(filepath.Join(dir, "f"))
	require.NoError(t, err)
	say("full", "ok")
	_, err = f.WriteAt(make([]byte, 100), 0)
	require.NoError(t, err, "it does not grow")
	_, err = f.WriteAt(make([]byte, 100), 1)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = w.(walfs.BlockWriter).WriteBlocks(walfs.Aligned(blockSize), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = m.Disk.Create(filepath.Join(dir, "g"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	say("eio", "ok")
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	say("heal", "ok")
	require.NoError(t, f.Sync())
	say("slow 30ms", "ok")
	began := time.Now()
	require.NoError(t, f.Sync())
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)
	say("hang", "ok")
	done := make(chan error)
	go func() { done <- f.Sync() }()
	select {
	case <-done:
		t.Fatal("it does not hang")
	case <-time.After(50 * time.Millisecond):
	}
	say("heal", "ok")
	require.NoError(t, <-done)
	require.NoError(t, f.Close())
	require.NoError(t, w.Close())
	say("dance", "unknown command")
	say("state", "no state yet")
	say("clock -1h 0s", "ok")
	require.InDelta(t, time.Now().Add(-time.Hour).UnixMilli(), m.Clock.NowMs(), 30_000)
}

// TestClock: the wall clock jumps, the monotonic one does not.
func TestClock(t *testing.T) {
	var c Clock
	before := c.Now()
	c.Set(-48*time.Hour, 0)
	after := c.Now()
	require.Less(t, after.UnixNano(), before.Add(-47*time.Hour).UnixNano())
	require.GreaterOrEqual(t, after.Sub(before), time.Duration(0))
	require.Less(t, after.Sub(before), time.Hour)
	c.Set(time.Hour, 0)
	require.InDelta(t, time.Now().Add(time.Hour).Unix(), c.Now().Unix(), 30)
	c.Set(0, 100*time.Hour) // a day is gained in no time
	time.Sleep(2 * time.Millisecond)
	require.Greater(t, c.NowMs(), time.Now().UnixMilli()+100)
}
