package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// grow commits n batches of one entry each to group 0, from index on.
func grow(w *WAL, index uint64, n, size int) uint64 {
	for range n {
		commit(w, func(b *Batch) { b.Entry(0, index-1, entry(index, 1, strings.Repeat("x", size))) })
		index++
	}
	return index
}

// threeSegments returns a closed log of one group whose live entries fill two segments and part of a third.
func threeSegments(t *testing.T) (*walfs.Mem, uint64) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	next := uint64(1)
	for w.activeID.Load() < 3 {
		next = grow(w, next, 1, 500)
	}
	next = grow(w, next, 5, 500)
	require.NoError(t, w.Close())
	return mem, next
}

// records returns the offsets of the records of a segment, from the body on.
func records(t *testing.T, fs FS, id uint64) (offs []int64, h header, end int64) {
	t.Helper()
	b := readAll(t, fs, segmentPath(testDir, id))
	require.Empty(t, h.decode(b))
	var r record
	off := h.preambleEnd
	for {
		v, n := decodeRecord(b[off:], h.life(), off, int64(len(b)), &r)
		if v != valid {
			return offs, h, off
		}
		offs = append(offs, off)
		off += int64(n)
	}
}

func openErr(t *testing.T, fs FS, groups int) error {
	t.Helper()
	w, err := Open(testOptions(fs, groups), newCollector(groups))
	if err == nil {
		require.NoError(t, w.Close())
	}
	return err
}

// TestRecoveryRules has one case per row of the table: damage that leads to the finding, and what is told.
func TestRecoveryRules(t *testing.T) {
	type damage func(t *testing.T, mem *walfs.Mem) (path string, off int64)
	seg := func(id uint64) string { return segmentPath(testDir, id) }
	cases := map[what]damage{
		foundFileMissing: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			require.NoError(t, mem.Remove(seg(2)))
			return seg(2), 0
		},
		foundHeaderBad: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			require.NoError(t, mem.Flip(seg(2), 24, 3))
			return seg(2), 0
		},
		foundChainBroken: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			b := readAll(t, mem, seg(2))
			var h header
			require.Empty(t, h.decode(b))
			h.salt++ // a segment 2 of another life of the log, whole in itself
			h.encode(b)
			writeAll(t, mem, seg(2), b)
			return seg(2), 24
		},
		foundPreambleBad: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			require.NoError(t, mem.Flip(seg(3), headerBytes+40, 0))
			return seg(3), headerBytes
		},
		foundFileShort: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			offs, _, _ := records(t, mem, 2)
			b := readAll(t, mem, seg(2))
			last := offs[len(offs)-1]
			writeAll(t, mem, seg(2), b[:last])
			return seg(2), last
		},
		foundBadBeforeEnd: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			offs, _, _ := records(t, mem, 1)
			at := offs[len(offs)-1] // the very last record of a sealed segment
			require.NoError(t, mem.Flip(seg(1), at+100, 7))
			return seg(1), at
		},
		foundBadPromised: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			offs, _, _ := records(t, mem, 3)
			at := offs[1]
			require.NoError(t, mem.Flip(seg(3), at+60, 2))
			return seg(3), at
		},
		foundBadLaterValid: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			appendUnsynced(t, mem, 3, 4)
			return "", 0
		},
		foundBadNothing: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			return "", 0
		},
		foundCutShort: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			offs, _, end := records(t, mem, 3)
			last := offs[len(offs)-2] // the one before the final mark
			writeAll(t, mem, seg(3), readAll(t, mem, seg(3))[:end-100])
			return seg(3), last
		},
		foundBadSequence: func(t *testing.T, mem *walfs.Mem) (string, int64) {
			b := readAll(t, mem, seg(3))
			offs, h, _ := records(t, mem, 3)
			at := offs[1]
			e := encoder{start: at, life: h.life(), durable: makePosition(3, h.preambleEnd)}
			// An index out of nowhere, checksummed, in a record as long as the one that was there.
			e.entry(kindEntry, 0, 1<<40-1, &Entry{Index: 1 << 40, Term: 1, Data: make([]byte, 500-5)})
			copy(b[at:], e.buf)
			writeAll(t, mem, seg(3), b)
			return seg(3), at
		},
	}
	seen := map[what]bool{}
	for _, rule := range recoveryRules() {
		require.False(t, seen[rule.found], "two rules for one finding")
		seen[rule.found] = true
		require.Contains(t, cases, rule.found)
		mem, next := threeSegments(t)
		path, off := cases[rule.found](t, mem)
		c := newCollector(1)
		w, err := Open(testOptions(mem, 1), c)
		if rule.then == tornEnd {
			require.NoError(t, err, rule.why)
			require.Equal(t, next-1, c.state[0].last())
			require.Equal(t, rule.found, w.replay.tail.found)
			require.NoError(t, w.Close())
			continue
		}
		var rot *CorruptionError
		require.ErrorAs(t, err, &rot, rule.why)
		require.Equal(t, path, rot.Path)
		require.Equal(t, off, rot.Offset)
		require.Contains(t, rot.Error(), rule.why)
		require.Contains(t, rot.Error(), filepath.Base(path))
	}
	require.Len(t, seen, len(cases))
}

// appendUnsynced writes n records behind the end of a segment as one batch that was never synced, and
// loses the first of them.
func appendUnsynced(t *testing.T, mem *walfs.Mem, id uint64, n int) {
	offs, h, end := records(t, mem, id)
	require.NotEmpty(t, offs)
	e := encoder{start: end, life: h.life(), durable: makePosition(id, end)}
	first := 0
	for i := range n {
		e.entry(kindEntry, 0, 0, &Entry{Index: uint64(1000 + i), Term: 1, Data: []byte("never promised")})
		if i == 0 {
			first = len(e.buf)
		}
	}
	clear(e.buf[:first])
	b := readAll(t, mem, segmentPath(testDir, id))
	copy(b[end:], e.buf)
	writeAll(t, mem, segmentPath(testDir, id), b)
}

// TestEveryFlipIsFoundOrHarmless flips bits all over a log that was closed cleanly: recovery refuses,
// naming the record that was hit, or nothing that was live is lost. The one exception is the final mark,
// which no record promises.
func TestEveryFlipIsFoundOrHarmless(t *testing.T) {
	mem, next := threeSegments(t)
	rng := rand.New(rand.NewPCG(5, 5))
	refused := 0
	for i := range 600 {
		id := 1 + rng.Uint64()%3
		path := segmentPath(testDir, id)
		size := int64(len(readAll(t, mem, path)))
		at := rng.Int64N(size)
		if i < 200 {
			at = rng.Int64N(200) // headers and checkpoints
		}
		bit := uint(rng.IntN(8))
		clone := mem.Crash(rng, walfs.CrashOptions{Keep: 100})
		require.NoError(t, clone.Flip(path, at, bit))
		c := newCollector(1)
		w, err := Open(testOptions(clone, 1), c)
		if err == nil {
			require.NoError(t, w.Close())
			require.Equal(t, next-1, c.state[0].last(), "byte %d of %s: silently lost entries", at, path)
			continue
		}
		refused++
		var rot *CorruptionError
		require.ErrorAs(t, err, &rot)
		if rot.Path == path { // a flip in a header may show in the neighbour
			require.LessOrEqual(t, rot.Offset, at)
			require.Greater(t, rot.Offset+blockBytes, at)
		}
	}
	require.Greater(t, refused, 300)
}

// TestTornTails: whatever stands behind the last promised record, the log opens with what was promised,
// takes new entries, and opens again with both, without what was torn.
func TestTornTails(t *testing.T) {
	for _, recycled := range []bool{false, true} {
		for name, tear := range tornTails() {
			t.Run(fmt.Sprintf("%s, recycled %v", name, recycled), func(t *testing.T) {
				mem := walfs.NewMem()
				o := testOptions(mem, 1)
				w, err := Open(o, nil)
				require.NoError(t, err)
				next := grow(w, 1, 3, 400)
				if recycled {
					next = recycleInto(t, w, next)
				}
				next = grow(w, next, 4, 700)
				id := w.activeID.Load()
				go w.Close() // never mind its last mark: the file system is left behind
				mem = mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{})

				path := segmentPath(testDir, id)
				b := readAll(t, mem, path)
				_, h, end := records(t, mem, id)
				tear(b, end, &h)
				writeAll(t, mem, path, b)

				w, got := recoverState(t, testOptions(mem, 1))
				require.Equal(t, next-1, got[0].last())
				require.Equal(t, end, w.replay.tail.end)
				next = grow(w, next, 2, 20)
				require.NoError(t, w.Close())
				w, got = recoverState(t, testOptions(mem, 1))
				require.Equal(t, next-1, got[0].last())
				require.NoError(t, w.Close())
			})
		}
	}
}

// recycleInto writes and truncates until the active segment is one that lived before.
func recycleInto(t *testing.T, w *WAL, next uint64) uint64 {
	for {
		var s Stats
		w.Stats(&s)
		if s.Recycled >= 2 && s.Rotations > s.Recycled+1 {
			return next
		}
		next = grow(w, next, 8, 400)
		commit(w, func(b *Batch) { b.Snapshot(0, next-1, 1, nil) })
	}
}

func tornTails() map[string]func(b []byte, end int64, h *header) {
	batch := func(end int64, h *header) *encoder {
		e := &encoder{start: end, life: h.life(), durable: makePosition(h.id, end)}
		for i := range 3 {
			e.entry(kindEntry, 0, 0, &Entry{Index: uint64(5000 + i), Term: 1, Data: bytes.Repeat([]byte("torn "), 200)})
		}
		return e
	}
	noise := rand.NewChaCha8([32]byte{1})
	return map[string]func(b []byte, end int64, h *header){
		"nothing":         func(b []byte, end int64, h *header) {},
		"zeros":           func(b []byte, end int64, h *header) { clear(b[end:]) },
		"garbage":         func(b []byte, end int64, h *header) { noise.Read(b[end:]) },
		"garbage in part": func(b []byte, end int64, h *header) { noise.Read(b[end : end+600]) },
		"0xff":            func(b []byte, end int64, h *header) { copy(b[end:], bytes.Repeat([]byte{0xff}, 2000)) },
		"kind alone":      func(b []byte, end int64, h *header) { b[end+10] = byte(kindEntry) },
		"length to the end": func(b []byte, end int64, h *header) {
			e := encoder{start: end, life: h.life(), durable: makePosition(h.id, end)}
			e.put(kindPad, 0, 0, nil, len(b)-int(end)-recordHead)
			copy(b[end:], e.buf)
			b[len(b)-recordHead] ^= 1
		},
		"header alone":     func(b []byte, end int64, h *header) { copy(b[end:], batch(end, h).buf[:24]) },
		"half a record":    func(b []byte, end int64, h *header) { clear(b[end:]); copy(b[end:], batch(end, h).buf[:512]) },
		"tail of a record": func(b []byte, end int64, h *header) { e := batch(end, h); clear(e.buf[:512]); copy(b[end:], e.buf) },
		"middle missing":   func(b []byte, end int64, h *header) { e := batch(end, h); clear(e.buf[24:512]); copy(b[end:], e.buf) },
		"moved record":     func(b []byte, end int64, h *header) { copy(b[end:], b[h.preambleEnd:h.preambleEnd+424]) },
		"other life":       func(b []byte, end int64, h *header) { o := *h; o.salt++; copy(b[end:], batch(end, &o).buf) },
		"other segment":    func(b []byte, end int64, h *header) { o := *h; o.id--; copy(b[end:], batch(end, &o).buf) },
		"preamble record": func(b []byte, end int64, h *header) {
			e := batch(end, h)
			e.buf = e.buf[:0]
			e.entry(kindCarry, 0, 0, &Entry{Index: 1, Term: 1})
			copy(b[end:], e.buf)
		},
	}
}

// TestSealedSegmentIsNotAppendedTo: valid records beyond a torn place must not come back when new records
// have been written after it (ANCHORS E.5).
func TestSealedSegmentIsNotAppendedTo(t *testing.T) {
	mem, next := threeSegments(t)
	appendUnsynced(t, mem, 3, 3)
	for range 3 {
		w, got := recoverState(t, testOptions(mem, 1))
		require.Equal(t, next-1, got[0].last())
		next = grow(w, next, 1, 10)
		require.NoError(t, w.Close())
	}
}

// TestRecoverySyncsWhatItPromises: entries that only the page cache held when the process died are handed
// out by recovery, so they must be durable before anything is built on them.
func TestRecoverySyncsWhatItPromises(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	next := grow(w, 1, 3, 100)
	id := w.activeID.Load()
	require.NoError(t, w.Close())
	// Written by a process that died before its sync.
	_, h, end := records(t, mem, id)
	f, err := mem.Open(segmentPath(testDir, id))
	require.NoError(t, err)
	e := encoder{start: end, life: h.life(), durable: makePosition(id, end)}
	e.entry(kindEntry, 0, 0, &Entry{Index: next, Term: 1, Data: []byte("in the page cache")})
	_, err = f.WriteAt(e.buf, end)
	require.NoError(t, err)

	w, got := recoverState(t, testOptions(mem, 1))
	require.Equal(t, next, got[0].last())
	go w.Close()
	mem = mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{})
	w, got = recoverState(t, testOptions(mem, 1))
	require.Equal(t, next, got[0].last(), "recovery promised an entry that a power loss took away")
	require.NoError(t, w.Close())
}

// TestRestartsLeaveLittleBehind: a node that starts and dies again and again must not fill the disk.
func TestRestartsLeaveLittleBehind(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	o.SegmentBytes = 1 << 20
	next := uint64(1)
	for range 30 {
		w, got := recoverState(t, o)
		require.Equal(t, next-1, got[0].last())
		next = grow(w, next, 1, 100)
		require.NoError(t, w.Close())
	}
	require.Less(t, mem.Used(), int64(3<<20)+30*3*blockBytes)
}

// TestZerosCutOff: a copy of the log without the zeros at its end is as good.
func TestZerosCutOff(t *testing.T) {
	mem, next := threeSegments(t)
	_, _, end := records(t, mem, 3)
	for _, size := range []int64{end + 1000, end + 8, end} {
		clone := mem.Crash(rand.New(rand.NewPCG(1, 1)), walfs.CrashOptions{})
		writeAll(t, clone, segmentPath(testDir, 3), readAll(t, mem, segmentPath(testDir, 3))[:size])
		w, got := recoverState(t, testOptions(clone, 1))
		require.Equal(t, next-1, got[0].last())
		require.NoError(t, w.Close())
	}
}

func TestGroupsMayGrowNotShrink(t *testing.T) {
	mem, next := threeSegments(t)
	w, got := recoverState(t, testOptions(mem, 3))
	require.Equal(t, next-1, got[0].last())
	commit(w, func(b *Batch) { b.Entry(2, 0, entry(1, 1, "new group")) })
	require.NoError(t, w.Close())
	w, got = recoverState(t, testOptions(mem, 3))
	require.Equal(t, uint64(1), got[2].last())
	require.NoError(t, w.Close())
	require.ErrorContains(t, openErr(t, mem, 2), "may not shrink")
}

// TestCommitBeyondTheTornTail: a follower's entries carry a commit index that counts on entries behind
// them; if those are torn off, the log does not claim more than it holds.
func TestCommitBeyondTheTornTail(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	w, err := Open(o, nil)
	require.NoError(t, err)
	commit(w, func(b *Batch) { b.Entry(0, 9, entry(1, 1, "a")) })
	w.q.ask(func(q *queue) { q.rotate = true })
	waitFor(t, "rotation", func() bool { return w.activeID.Load() == 2 })
	require.NoError(t, w.Close())
	w, err = Open(o, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(1), w.tab.groups[0].hs.Commit)
	require.NoError(t, w.Close())
}

func TestLongRecordsAcrossChunks(t *testing.T) {
	mem := walfs.NewMem()
	o := testOptions(mem, 1)
	o.SegmentBytes = 32 << 20
	w, err := Open(o, nil)
	require.NoError(t, err)
	rng := rand.NewChaCha8([32]byte{9})
	var want []Entry
	for i, n := range []int{100, 3 << 20, 900_000, 64 << 10, 5 << 20, 10, 9 << 20, w.MaxEntryBytes(), 70 << 10, 4 << 20, 1} {
		data := make([]byte, n)
		rng.Read(data)
		want = append(want, Entry{Index: uint64(i + 1), Term: 1, Data: data})
		commit(w, func(b *Batch) { b.Entry(0, 0, want[i]) })
	}
	got, err := w.Read(0, 1, 100, 1<<30, nil)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, w.Close())
	w, s := recoverState(t, o)
	require.Empty(t, state{{entries: want}}.diff(s))
	require.Panics(t, func() { w.checkFits(&op{kind: kindEntry}, recordBound(kindEntry, w.MaxEntryBytes()+2*alignBytes)) })
	require.NoError(t, w.Close())
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"dir":       func(o *Options) { o.Dir = "" },
		"groups":    func(o *Options) { o.Groups = 0 },
		"alignment": func(o *Options) { o.SegmentBytes++ },
		"small":     func(o *Options) { o.SegmentBytes -= blockBytes },
		"limits":    func(o *Options) { o.HardLimitBytes = 1 },
	} {
		o := testOptions(walfs.NewMem(), 3)
		change(&o)
		_, err := Open(o, nil)
		require.Error(t, err, name)
		var rot *CorruptionError
		require.False(t, errors.As(err, &rot))
	}
}
