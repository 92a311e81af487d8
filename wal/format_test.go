package wal

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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
	var dump bytes.Buffer
	require.NoError(t, Dump(&dump, mem, testDir, DumpOptions{Group: -1, Records: true, Data: 16}))
	old := walfs.NewMem()
	require.NoError(t, old.MkdirAll(testDir))
	for id := uint64(1); id <= 2; id++ {
		path := segmentPath(testDir, id)
		golden := filepath.Join("testdata", "v1", filepath.Base(path))
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
		writeAll(t, old, path, append(want, make([]byte, blockBytes)...))
	}
	text := filepath.Join("testdata", "v1", "dump.txt")
	if *update {
		require.NoError(t, os.WriteFile(text, dump.Bytes(), 0o644))
	}
	want, err := os.ReadFile(text)
	require.NoError(t, err)
	require.Equal(t, string(want), dump.String())

	w, got := recoverState(t, testOptions(old, 2))
	require.NoError(t, w.Close())
	require.Empty(t, state{
		{snapIndex: 1, snapTerm: 1, meta: "members", hs: HardState{1, 1, 1}, entries: []Entry{entry(2, 1, "zwei")}},
		{hs: HardState{3, 2, 1}, entries: []Entry{entry(1, 2, "first, again"), entry(2, 2, "nach\x00der\xffRotation")}},
	}.diff(got))
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
	h := header{groups: 3, id: 7, salt: 1, prevSalt: 2, prevEnd: 4096, segmentBytes: 1 << 20, checkpointOff: 128, preambleEnd: 8192}
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

// sample returns an encoder that holds one record of each kind.
func sample() *encoder {
	e := &encoder{start: 4096, seed: makeSeed(3, 99), durable: makePosition(3, 4096)}
	e.entry(kindEntry, 5, 41, &Entry{Index: 42, Term: 7, Kind: 3, Data: []byte("hello")})
	e.state(6, HardState{Term: 1, Vote: 2, Commit: 3})
	e.snapshot(7, cut{index: 10, term: 2, floor: makePosition(2, 4096), meta: []byte("meta")})
	e.mark()
	e.entry(kindCarry, 5, 41, &Entry{Index: 42, Term: 7, Kind: 3})
	e.checkpoint(8, HardState{Term: 1, Vote: 2, Commit: 3}, cut{index: 10, term: 2, floor: makePosition(2, 4096), meta: []byte("m")}, 12)
	e.padTo(1024, 1<<20)
	return e
}

func TestRecordRoundTrip(t *testing.T) {
	e := sample()
	limit := e.offset()
	var kinds []string
	var r record
	b := e.buf
	for off := e.start; off < limit; {
		v, n := decodeRecord(b, e.seed, off, limit, &r)
		require.Equal(t, valid, v)
		require.Equal(t, e.durable, r.durable)
		kinds = append(kinds, r.kind.String())
		switch r.kind {
		case kindEntry:
			commit, en := r.entry()
			require.Equal(t, uint64(41), commit)
			require.Equal(t, Entry{Index: 42, Term: 7, Kind: 3, Data: []byte("hello")}, en)
		case kindState:
			require.Equal(t, HardState{1, 2, 3}, r.state())
		case kindSnapshot:
			require.Equal(t, cut{10, 2, makePosition(2, 4096), []byte("meta")}, r.snapshot())
		case kindCheckpoint:
			hs, c, last := r.checkpoint()
			require.Equal(t, HardState{1, 2, 3}, hs)
			require.Equal(t, cut{10, 2, makePosition(2, 4096), []byte("m")}, c)
			require.Equal(t, uint64(12), last)
		}
		b = b[n:]
		off += int64(n)
	}
	require.Equal(t, "ENTRY STATE SNAPSHOT MARK CARRY CHECKPOINT PAD", strings.Join(kinds, " "))
	require.Zero(t, limit%1024)
}

// TestRecordRejectsEveryBit flips every bit of every record: all of them, paddings apart, are covered.
func TestRecordRejectsEveryBit(t *testing.T) {
	e := sample()
	limit := e.offset()
	var r record
	for at := 0; at < len(e.buf); {
		_, n := decodeRecord(e.buf[at:], e.seed, e.start+int64(at), limit, &r)
		covered := recordHeader + len(r.payload)
		for i := range covered {
			for bit := range 8 {
				e.buf[at+i] ^= 1 << bit
				v, _ := decodeRecord(e.buf[at:], e.seed, e.start+int64(at), limit, &r)
				require.NotEqual(t, valid, v, "record at %d, byte %d, bit %d", at, i, bit)
				e.buf[at+i] ^= 1 << bit
			}
		}
		at += n
	}
}

// TestRecordsAreBoundToTheirPlace: the same bytes are not valid at another offset, under another salt or
// id, or against a limit that they cross.
func TestRecordsAreBoundToTheirPlace(t *testing.T) {
	e := sample()
	var r record
	v, n := decodeRecord(e.buf, e.seed, e.start, e.offset(), &r)
	require.Equal(t, valid, v)
	size := n
	for name, decode := range map[string]func() (verdict, int){
		"offset": func() (verdict, int) { return decodeRecord(e.buf, e.seed, e.start+8, e.offset(), &r) },
		"salt":   func() (verdict, int) { return decodeRecord(e.buf, makeSeed(3, 98), e.start, e.offset(), &r) },
		"id":     func() (verdict, int) { return decodeRecord(e.buf, makeSeed(4, 99), e.start, e.offset(), &r) },
		"limit":  func() (verdict, int) { return decodeRecord(e.buf, e.seed, e.start, e.start+int64(size)-8, &r) },
	} {
		v, n := decode()
		require.Equal(t, bad, v, name)
		require.Zero(t, n)
	}
	for i := range size {
		v, n := decodeRecord(e.buf[:i], e.seed, e.start, e.offset(), &r)
		require.Equal(t, short, v)
		require.Greater(t, n, i)
	}
}

// FuzzRecord: the decoder survives any bytes, reads nothing beyond them, and whatever it accepts encodes
// to the same bytes again.
func FuzzRecord(f *testing.F) {
	e := sample()
	f.Add(e.buf, uint64(99), uint32(512))
	f.Add(make([]byte, 64), uint64(0), uint32(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}, uint64(1), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, salt uint64, slot uint32) {
		off := int64(slot) * alignBytes
		s := makeSeed(3, salt)
		// Also with a checksum that fits, or the fuzzer would never get past it.
		for range 2 {
			var r record
			v, n := decodeRecord(b, s, off, off+int64(len(b)), &r)
			if v == valid {
				require.LessOrEqual(t, n, len(b))
				require.LessOrEqual(t, len(r.payload), n-recordHeader)
				again := encoder{start: off, seed: s, durable: r.durable}
				copy(again.begin(r.kind, r.ekind, r.group, len(r.payload))[recordHeader:], r.payload)
				again.end(again.buf)
				require.Equal(t, b[:recordHeader+len(r.payload)], again.buf[:recordHeader+len(r.payload)])
				switch r.kind { // the accessors never reach beyond the payload
				case kindEntry, kindCarry:
					r.entry()
				case kindState:
					r.state()
				case kindSnapshot:
					r.snapshot()
				case kindCheckpoint:
					r.checkpoint()
				}
			} else {
				require.True(t, n == 0 || v == short && n > len(b))
			}
			if len(b) < recordHeader {
				return
			}
			b = bytes.Clone(b)
			length := binary.LittleEndian.Uint32(b)
			if int64(length) > int64(len(b)-recordHeader) {
				length = uint32(len(b) - recordHeader)
				binary.LittleEndian.PutUint32(b, length)
			}
			binary.LittleEndian.PutUint32(b[4:], checksum(b, s, off, length))
		}
	})
}

func checksum(b []byte, s seed, off int64, length uint32) uint32 {
	e := encoder{buf: append(make([]byte, 0, len(b)), b[:recordHeader+length]...), start: off, seed: s}
	e.end(e.buf)
	return binary.LittleEndian.Uint32(e.buf[4:])
}

// FuzzSegment: recovery of a log whose newest segment was changed at will never panics, and either refuses
// or starts; what it starts with, it finds again.
func FuzzSegment(f *testing.F) {
	f.Add(uint32(4096), []byte{1, 2, 3})
	f.Add(uint32(0), []byte("fpwal"))
	f.Add(uint32(5000), make([]byte, 600))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		rng := rand.New(rand.NewPCG(uint64(at), uint64(len(patch))))
		mem := goldenLog(t)
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
