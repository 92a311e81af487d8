package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// putV1 appends a record of version 1, which the program does not write any more.
func putV1(b []byte, start int64, l life, durable position, kind recordKind, ekind uint8, group uint32, data []byte, words ...uint64) []byte {
	le := binary.LittleEndian
	off, length := start+int64(len(b)), uint32(8*len(words)+len(data))
	r := le.AppendUint32(nil, length)
	r = le.AppendUint32(r, 0)
	r = le.AppendUint64(r, uint64(durable))
	r = append(r, byte(kind), ekind, 0, 0)
	r = le.AppendUint32(r, group)
	for _, w := range words {
		r = le.AppendUint64(r, w)
	}
	r = append(r, data...)
	le.PutUint32(r[4:], crc32.Update(uint32(l.at(off, length)), castagnoli, r[8:]))
	for len(r)%alignBytes != 0 {
		r = append(r, 0)
	}
	return append(b, r...)
}

const (
	sampleStart = 4096
	sampleData  = "hello"
)

// sample returns records at sampleStart of a segment, one of each kind but in version 1 no FORGET.
func sample(version uint32) ([]byte, life) {
	l := makeLife(version, 3, 99)
	durable := makePosition(3, 4000)
	floor := makePosition(2, 4096)
	if version == 1 {
		var b []byte
		put := func(kind recordKind, ekind uint8, group uint32, data string, words ...uint64) {
			b = putV1(b, sampleStart, l, durable, kind, ekind, group, []byte(data), words...)
		}
		put(kindEntry, 3, 5, sampleData, 42, 7, 41)
		put(kindEntry, 0, 300, sampleData, 1<<40, 1<<41, math.MaxUint64)
		put(kindState, 0, 6, "", 1, math.MaxUint64, 3)
		put(kindSnapshot, 0, 7, "meta", 10, 2, uint64(floor))
		put(kindMark, 0, 0, "")
		put(kindCarry, 3, 5, "", 42, 7, 41)
		put(kindCheckpoint, 0, 8, "m", 1, 2, 3, 10, 2, 12, uint64(floor))
		put(kindPad, 0, 0, string(make([]byte, 100)))
		return b, l
	}
	e := &encoder{start: sampleStart, life: l, durable: durable}
	e.entry(kindEntry, 5, 41, &Entry{Index: 42, Term: 7, Kind: 3, Data: []byte(sampleData)})
	e.entry(kindEntry, 300, math.MaxUint64, &Entry{Index: 1 << 40, Term: 1 << 41, Data: []byte(sampleData)})
	e.state(6, HardState{Term: 1, Vote: math.MaxUint64, Commit: 3})
	e.snapshot(7, cut{index: 10, term: 2, floor: floor, meta: []byte("meta")})
	e.mark()
	e.entry(kindCarry, 5, 41, &Entry{Index: 42, Term: 7, Kind: 3})
	e.checkpoint(8, HardState{Term: 1, Vote: 2, Commit: 3}, cut{index: 10, term: 2, floor: floor, meta: []byte("m")}, 12)
	e.forget(9)
	e.padTo(512, 1<<20)
	return e.buf, l
}

func TestRecordRoundTrip(t *testing.T) {
	for version := uint32(1); version <= formatVersion; version++ {
		b, l := sample(version)
		limit := int64(sampleStart + len(b))
		var kinds []string
		var r record
		entries := 0
		for off := int64(sampleStart); off < limit; {
			v, n := decodeRecord(b, l, off, limit, &r)
			require.Equal(t, valid, v)
			require.Equal(t, n, r.size)
			require.Equal(t, makePosition(3, 4000), r.durable)
			kinds = append(kinds, r.kind.String())
			switch r.kind {
			case kindEntry:
				commit, en := r.entry()
				if entries++; entries == 1 {
					require.Equal(t, uint64(41), commit)
					require.Equal(t, Entry{Index: 42, Term: 7, Kind: 3, Data: []byte(sampleData)}, en)
					require.Equal(t, uint32(5), r.group)
				} else {
					require.Equal(t, uint64(math.MaxUint64), commit)
					require.Equal(t, Entry{Index: 1 << 40, Term: 1 << 41, Data: []byte(sampleData)}, en)
					require.Equal(t, uint32(300), r.group)
				}
			case kindState:
				require.Equal(t, HardState{1, math.MaxUint64, 3}, r.state())
			case kindSnapshot:
				require.Equal(t, cut{10, 2, makePosition(2, 4096), []byte("meta")}, r.snapshot())
			case kindCheckpoint:
				hs, c, last := r.checkpoint()
				require.Equal(t, HardState{1, 2, 3}, hs)
				require.Equal(t, cut{10, 2, makePosition(2, 4096), []byte("m")}, c)
				require.Equal(t, uint64(12), last)
			case kindForget:
				require.Equal(t, uint32(9), r.group)
			}
			b = b[n:]
			off += int64(n)
		}
		want := "ENTRY ENTRY STATE SNAPSHOT MARK CARRY CHECKPOINT"
		if version > 1 {
			want += " FORGET"
			require.Zero(t, limit%512)
		}
		require.Equal(t, want+" PAD", strings.Join(kinds, " "))
	}
}

// TestPadFillsEveryGap, to the byte, and takes the rest of a block if it is too small for a record.
func TestPadFillsEveryGap(t *testing.T) {
	for _, unmarked := range []int64{0, 100, 100_000, 1 << 30} {
		for at := int64(8); at <= blockBytes; at += alignBytes {
			e := encoder{start: 1<<31 + at, life: makeLife(2, 1, 1), durable: makePosition(1, 1<<31+at-unmarked)}
			e.padTo(blockBytes, 1<<32)
			require.Zero(t, e.offset()%blockBytes)
			if at == blockBytes {
				require.Empty(t, e.buf)
				continue
			}
			var r record
			v, n := decodeRecord(e.buf, e.life, e.start, 1<<32, &r)
			require.Equal(t, valid, v)
			require.Equal(t, len(e.buf), n)
			require.Equal(t, kindPad, r.kind)
			require.Less(t, n, blockBytes+recordHead)
		}
	}
	e := encoder{start: blockBytes - 8, life: makeLife(2, 1, 1)}
	e.padTo(blockBytes, blockBytes)
	require.Empty(t, e.buf, "beyond the limit")
}

// TestRecordBound: no record is longer, whatever is in it and wherever it stands, and none shorter than recordHead.
func TestRecordBound(t *testing.T) {
	for k := recordKind(1); k < kindEnd; k++ {
		for _, word := range []uint64{0, 1 << 20, math.MaxUint64} {
			for _, data := range []int{0, 1, 200, 1 << 14} {
				e := encoder{start: maxSegmentBytes, life: makeLife(2, 1, 1), durable: position(word & 1)}
				words := make([]uint64, kinds[k].words)
				for i := range words {
					words[i] = word
				}
				e.put(k, 9, MaxGroups-1, make([]byte, data), 0, words...)
				require.LessOrEqual(t, len(e.buf), recordBound(k, data))
				require.GreaterOrEqual(t, len(e.buf), recordHead)
			}
		}
	}
}

// TestRecordRejectsEveryBit flips every bit of every record: all of them, paddings apart, are covered.
func TestRecordRejectsEveryBit(t *testing.T) {
	for version := uint32(1); version <= formatVersion; version++ {
		b, l := sample(version)
		limit := int64(sampleStart + len(b))
		var r record
		padding := 0
		for at := 0; at < len(b); {
			v, n := decodeRecord(b[at:], l, sampleStart+int64(at), limit, &r)
			require.Equal(t, valid, v)
			for i := at; i < at+n; i++ {
				for bit := range 8 {
					b[i] ^= 1 << bit
					if v, _ := decodeRecord(b[at:], l, sampleStart+int64(at), limit, &r); v == valid {
						require.Greater(t, i, at+n-alignBytes, "version %d, record at %d, byte %d, bit %d", version, at, i-at, bit)
						padding++
					}
					b[i] ^= 1 << bit
				}
			}
			at += n
		}
		require.Less(t, padding, 8*4*9, "most of the last bytes of records are no padding")
	}
}

// TestRecordsAreBoundToTheirPlace: the same bytes are not valid at another offset, under another salt, id or
// version, or against a limit that they cross.
func TestRecordsAreBoundToTheirPlace(t *testing.T) {
	for version := uint32(1); version <= formatVersion; version++ {
		b, l := sample(version)
		end := int64(sampleStart + len(b))
		var r record
		v, size := decodeRecord(b, l, sampleStart, end, &r)
		require.Equal(t, valid, v)
		for name, decode := range map[string]func() (verdict, int){
			"offset":  func() (verdict, int) { return decodeRecord(b, l, sampleStart+8, end, &r) },
			"salt":    func() (verdict, int) { return decodeRecord(b, makeLife(version, 3, 98), sampleStart, end, &r) },
			"id":      func() (verdict, int) { return decodeRecord(b, makeLife(version, 4, 99), sampleStart, end, &r) },
			"version": func() (verdict, int) { return decodeRecord(b, makeLife(3-version, 3, 99), sampleStart, end, &r) },
			"limit":   func() (verdict, int) { return decodeRecord(b, l, sampleStart, sampleStart+int64(size)-8, &r) },
		} {
			v, n := decode()
			require.Equal(t, bad, v, name)
			require.Zero(t, n)
		}
		for i := range size {
			v, n := decodeRecord(b[:i], l, sampleStart, end, &r)
			require.Equal(t, short, v)
			require.Greater(t, n, i)
		}
	}
}

// FuzzRecord: the decoder survives any bytes, reads nothing beyond them, and whatever it accepts encodes
// to a record that says the same.
func FuzzRecord(f *testing.F) {
	for version := uint32(1); version <= formatVersion; version++ {
		b, _ := sample(version)
		f.Add(b, uint64(99), uint32(512), version == 1)
		f.Add(make([]byte, 64), uint64(0), uint32(0), version == 1)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}, uint64(1), uint32(1), true)
	f.Add([]byte{1, 2, 3, 4, 25, 0, 0, 0, 0, 0, 0x17, 0xff, 3, 0, 0xff, 0xff, 9, 1, 2, 3, 4, 5, 6, 7, 8}, uint64(1), uint32(9), false)
	f.Fuzz(func(t *testing.T, b []byte, salt uint64, slot uint32, old bool) {
		off := int64(slot%(maxSegmentBytes/alignBytes)) * alignBytes
		l := makeLife(formatVersion, 3, salt)
		if old {
			l.version = 1
		}
		// Also with checksums that fit, or the fuzzer would never get past them.
		for range 2 {
			var r record
			v, n := decodeRecord(b, l, off, off+int64(len(b)), &r)
			if v == valid {
				require.LessOrEqual(t, n, len(b))
				require.Equal(t, n, r.size)
				checkRecord(t, &r, l, off)
			} else {
				require.True(t, n == 0 || v == short && n > len(b))
			}
			if b = sealAnything(b, l, off); b == nil {
				return
			}
		}
	})
}

func checkRecord(t *testing.T, r *record, l life, off int64) {
	t.Helper()
	info := &kinds[r.kind]
	require.NotEmpty(t, info.name)
	require.LessOrEqual(t, len(r.data), int(info.data))
	var again []byte
	if l.version == 1 {
		again = putV1(nil, off, l, r.durable, r.kind, r.ekind, r.group, r.data, r.words[:info.words]...)
	} else {
		require.LessOrEqual(t, r.durable, makePosition(l.id, off))
		require.Less(t, r.group, uint32(MaxGroups))
		e := encoder{start: off, life: l, durable: r.durable}
		w := r.words
		if r.kind == kindEntry || r.kind == kindCarry {
			w[2] = zigzag(w[0] - w[2])
		}
		e.put(r.kind, r.ekind, r.group, r.data, 0, w[:info.words]...)
		again = e.buf
	}
	var r2 record
	v, n := decodeRecord(again, l, off, off+int64(len(again)), &r2)
	require.Equal(t, valid, v)
	require.Equal(t, len(again), n)
	require.LessOrEqual(t, n, r.size, "the encoder writes the shortest form")
	r2.size = r.size
	require.Equal(t, r.words[:info.words], r2.words[:info.words])
	require.Equal(t, r.data, r2.data)
	require.Equal(t, []any{r.kind, r.ekind, r.group, r.durable}, []any{r2.kind, r2.ekind, r2.group, r2.durable})
}

// sealAnything makes b's checksums right, if there is room for a record.
func sealAnything(b []byte, l life, off int64) []byte {
	b = bytes.Clone(b)
	if l.version == 1 {
		if len(b) < recordHeaderV1 {
			return nil
		}
		length := min(binary.LittleEndian.Uint32(b), uint32(len(b)-recordHeaderV1))
		binary.LittleEndian.PutUint32(b, length)
		binary.LittleEndian.PutUint32(b[4:], crc32.Update(uint32(l.at(off, length)), castagnoli, b[8:recordHeaderV1+length]))
		return b
	}
	if len(b) < recordHead {
		return nil
	}
	length := min(binary.LittleEndian.Uint32(b[4:]), uint32(len(b)))
	if length < recordHead {
		return nil
	}
	l.seal(b[:length], off)
	return b
}

// TestCheckIsLookedAt, or the search for records in garbage would take a checksum at every eighth byte.
func TestCheckIsLookedAt(t *testing.T) {
	b, l := sample(2)
	length := binary.LittleEndian.Uint32(b[4:])
	b[8] ^= 1
	binary.LittleEndian.PutUint32(b, crc32.Update(uint32(l.at(sampleStart, length)), castagnoli, b[8:length]))
	var r record
	v, _ := decodeRecord(b, l, sampleStart, 1<<20, &r)
	require.Equal(t, bad, v)
}

// TestWatermarkNeverPromisesMore than is true; up to 256 KiB behind its record it is exact, beyond it is at most that
// much too low, and never before the segment.
func TestWatermarkNeverPromisesMore(t *testing.T) {
	const exact = coarse * alignBytes
	l := makeLife(2, 7, 1)
	for _, d := range []int64{0, 8, 4096, exact - 8, exact, exact + 8, 2*exact - 8, 2 * exact, 1 << 26, maxSegmentBytes - 8, maxSegmentBytes} {
		for _, off := range []int64{d, d + 8, maxSegmentBytes} {
			want := makePosition(7, off-d)
			got := l.watermark(off, uint64(unmarked(d)))
			require.LessOrEqual(t, got, want, "distance %d of %d", d, off)
			require.Equal(t, uint64(7), got.segment())
			if d < exact {
				require.Equal(t, want, got)
			} else {
				require.Less(t, want-got, position(exact))
			}
		}
	}
}
