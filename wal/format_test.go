package wal

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files of the disk format: only together with formatVersion")

// goldenLog writes a small log with every kind of record and returns its segments as they end up.
func goldenLog(t *testing.T) *walfs.Mem {
	mem := walfs.NewMem()
	salts := uint64(0x5a17)
	o := testOptions(mem, 2)
	o.Rand = func() uint64 { salts++; return salts }
	w, err := Open(o, nil)
	require.NoError(t, err)
	commit(w, func(b *Batch) {
		b.Entry(0, 0, Entry{Index: 1, Term: 1, Kind: 1})
		b.State(0, HardState{Term: 1, Vote: 1})
		b.Entry(1, 0, entry(1, 1, "first"))
	})
	commit(w, func(b *Batch) { b.Forget(1) })
	commit(w, func(b *Batch) {
		b.Entry(0, 1, entry(2, 1, "zwei"))
		b.Entry(1, 0, entry(1, 2, "first, again"))
	})
	before := w.count.records.Load()
	w.q.ask(func(q *queue) { q.mark = true })
	waitFor(t, "mark", func() bool { return w.count.records.Load() > before })
	commit(w, func(b *Batch) { b.Snapshot(0, 1, 1, []byte("members")) })
	u, err := w.readUnit(0) // group 1 stays where it is, and pins the first segment
	require.NoError(t, err)
	w.setUnits([]*unit{u})
	w.q.ask(func(q *queue) { q.rotate = true })
	waitFor(t, "rotation", func() bool { return w.activeID.Load() == 2 })
	commit(w, func(b *Batch) {
		b.Entry(1, 1, entry(2, 2, "nach\x00der\xffRotation"))
		b.State(1, HardState{Term: 3, Vote: 2, Commit: 1})
	})
	waitFor(t, "a spare", func() bool { return w.pool.len() == 1 })
	require.NoError(t, w.Close())
	return mem
}

// TestGoldenFormat pins the disk format, byte for byte: what this program writes, what it makes of files
// written by the first version, and how they look to a person.
func TestGoldenFormat(t *testing.T) {
	mem := goldenLog(t)
	for id := uint64(1); id <= 2; id++ {
		path := segmentPath(testDir, id)
		golden := filepath.Join("testdata", "v2", filepath.Base(path))
		got := readAll(t, mem, path)
		if id == 1 {
			got = got[:8192]
		}
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
			require.NoError(t, os.WriteFile(golden, trimZeros(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, want, trimZeros(got), "%s: the disk format has changed: raise formatVersion, and read the old one", golden)
	}
	for version := uint32(1); version <= formatVersion; version++ {
		fs := goldenFiles(t, version)
		var dump bytes.Buffer
		require.NoError(t, Dump(&dump, fs, testDir, DumpOptions{Group: -1, Records: true, Data: 16}))
		text := filepath.Join("testdata", fmt.Sprintf("v%d", version), "dump.txt")
		if *update {
			require.NoError(t, os.WriteFile(text, dump.Bytes(), 0o644))
		}
		wantText, err := os.ReadFile(text)
		require.NoError(t, err)
		require.Equal(t, string(wantText), dump.String())
		w, got := recoverState(t, testOptions(fs, 2))
		require.NoError(t, w.Close())
		require.Empty(t, goldenState().diff(got), "version %d", version)
	}
}

// goldenState is what the golden logs of all versions hold.
func goldenState() state {
	return state{
		{snapIndex: 1, snapTerm: 1, meta: "members", hs: HardState{1, 1, 1}, entries: []Entry{entry(2, 1, "zwei")}},
		{hs: HardState{3, 2, 1}, entries: []Entry{entry(1, 2, "first, again"), entry(2, 2, "nach\x00der\xffRotation")}},
	}
}

// goldenFiles returns the golden log of a version as if it had just been written.
func goldenFiles(t *testing.T, version uint32) *walfs.Mem {
	t.Helper()
	mem := walfs.NewMem()
	require.NoError(t, mem.MkdirAll(testDir))
	for id := uint64(1); id <= 2; id++ {
		path := segmentPath(testDir, id)
		b, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d", version), filepath.Base(path)))
		require.NoError(t, err)
		var h header
		require.Empty(t, h.decode(b))
		require.Equal(t, version, h.version)
		writeAll(t, mem, path, append(b, make([]byte, int(h.segmentBytes)-len(b))...))
	}
	return mem
}

func trimZeros(b []byte) []byte { return bytes.TrimRight(b, "\x00") }

func readAll(t *testing.T, fs FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	if size > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	return b
}

func writeAll(t *testing.T, fs FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		f, err = fs.Create(path)
	}
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(len(b))))
	require.NoError(t, f.Sync())
	require.NoError(t, fs.SyncDir(filepath.Dir(path)))
}

func TestHeaderRejectsNonsense(t *testing.T) {
	h := header{version: 2, groups: 3, id: 7, salt: 1, prevSalt: 2, prevEnd: 4096, segmentBytes: 1 << 20, checkpointOff: 128, preambleEnd: 8192}
	var b [headerBytes]byte
	var got header
	h.encode(b[:])
	require.Empty(t, got.decode(b[:]))
	require.Equal(t, h, got)
	require.NotEmpty(t, got.decode(b[:headerBytes-1]))
	for i := range headerCRCOffset + 4 {
		for bit := range 8 {
			b[i] ^= 1 << bit
			require.NotEmpty(t, got.decode(b[:]), "byte %d bit %d", i, bit)
			b[i] ^= 1 << bit
		}
	}
	for name, change := range map[string]func(*header){
		"version 0":            func(h *header) { h.version = 0 },
		"version 3":            func(h *header) { h.version = 3 },
		"no groups":            func(h *header) { h.groups = 0 },
		"end beyond limit":     func(h *header) { h.prevEnd = 1 << 40 },
		"preamble beyond file": func(h *header) { h.preambleEnd = 2 << 20 },
		"checkpoint in header": func(h *header) { h.checkpointOff = 64 },
		"unaligned":            func(h *header) { h.prevEnd = 4097 },
	} {
		bad := h
		change(&bad)
		bad.encode(b[:])
		require.NotEmpty(t, got.decode(b[:]), name)
	}
}

// FuzzSegment: recovery of a log of any version, of which one segment was changed at will, never panics, and either
// refuses or starts; what it starts with, it finds again.
func FuzzSegment(f *testing.F) {
	f.Add(uint32(4096), []byte{1, 2, 3})
	f.Add(uint32(0), []byte("fpwal"))
	f.Add(uint32(5000), make([]byte, 600))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		rng := rand.New(rand.NewPCG(uint64(at), uint64(len(patch))))
		mem := goldenFiles(t, 1+at%formatVersion)
		path := segmentPath(testDir, 1+rng.Uint64()%2)
		b := readAll(t, mem, path)
		copy(b[int(at)%len(b):], patch)
		writeAll(t, mem, path, b)
		c := newCollector(2)
		w, err := Open(testOptions(mem, 2), c)
		if err != nil {
			var rot *CorruptionError
			require.ErrorAs(t, err, &rot)
			return
		}
		require.NoError(t, w.Close())
		w, again := recoverState(t, testOptions(mem, 2))
		require.NoError(t, w.Close())
		require.Empty(t, c.state.diff(again))
	})
}
