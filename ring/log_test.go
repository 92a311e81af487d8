package ring

import (
	"encoding/hex"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEmptyLog(t *testing.T) {
	var l Log[ext]
	var v View[ext]
	l.View(&v)
	require.Equal(t, Header{First: 1}, v.Header)
	require.Nil(t, v.Ext)
	require.Empty(t, v.AppendMessages(nil, 0, math.MaxUint64))
	require.Zero(t, v.MessagesLen(1, 100))
	json, aux, m := v.Message(1)
	require.True(t, json == nil && aux == nil && m == Meta{})
	require.Zero(t, v.Slot(1))
	require.Zero(t, v.Cum(5))
	require.EqualValues(t, 1, v.AfterVersion(0))
	require.Zero(t, v.Pages())
	require.Zero(t, l.Bytes())
	l.EvictBefore(100)

	l.Publish(Header{LiveFrom: 1, Archived: 7, UpdatedMs: -3, First: 99, Last: 99}, &ext{4})
	l.View(&v)
	require.Equal(t, Header{First: 1, LiveFrom: 1, Archived: 7, UpdatedMs: -3}, v.Header, "First and Last are the ring's")
	require.EqualValues(t, 4, v.Ext.n)
	require.Zero(t, Fit(&v, Window{LiveFrom: 1}, 10).Messages)
}

// The page as it lies in memory, and as a snapshot stores it.
func TestPageGolden(t *testing.T) {
	var l Log[ext]
	l.w.cum = 0x1111 // as if earlier pages were gone
	l.w.last = 41
	commit := func(json string, parts []Part, m Meta) {
		var aux []byte
		if parts != nil {
			aux = AppendAux(nil, parts)
		}
		l.Append([]byte(json), aux, m)
	}
	commit(`{"seq":42}`, nil, Meta{Tokens: 5, Flags: FlagSystem, Version: 7})
	commit(`{"seq":43,"b":[]}`, []Part{{Tokens: 3}, {Tokens: 4, Kind: PartCall, ID: 0xfeed}}, Meta{Tokens: 7, Version: 7})
	l.SealVersion(42, 12, false)
	commit(`{"seq":44}`, []Part{{Tokens: 300, Kind: PartResult, ID: 0xfeed}}, Meta{Tokens: 300, Version: 0x0123456789ab})
	l.SealVersion(44, math.MaxUint64, true)

	var out []byte
	dump := func(name string, b []byte) { out = fmt.Appendf(out, "%s\n%s\n", name, hex.Dump(b)) }
	p := l.w.page()
	dump("header", p[:pageHeader])
	dump("messages", p[pageHeader:l.w.front])
	for i := range 3 {
		dump(fmt.Sprintf("slot %d at %d", i, len(p)-slotSize*(i+1)), p.slot(i))
	}
	l.Publish(Header{Version: 0x0123456789ab, LiveFrom: 44}, nil)
	var v View[ext]
	l.View(&v)
	dump("image", v.Page(0).Append(nil))
	golden(t, "page.golden", out)

	require.Equal(t, SlotInfo{Seq: 44, Version: 0x0123456789ab, Tokens: 300, Flags: FlagToolResult | FlagCut | FlagEnd | FlagAux,
		Cum: 0x1111 + 312, LiveFrom: 44, Used: math.MaxUint32}, v.Slot(44))
	require.EqualValues(t, 0x1111, v.Cum(41))
	require.EqualValues(t, 42, v.Slot(43).LiveFrom)
}

func TestPublishIsAtomic(t *testing.T) {
	var l Log[ext]
	var v View[ext]
	add(&l, 1, 10, nil)
	for range 200 { // over several pages and directories
		b := message(l.Reserve(100), l.Last()+1, 100)
		l.Commit(len(b), 0, Meta{Tokens: 1, Version: 2})
		l.View(&v)
		require.EqualValues(t, 1, v.Last)
		require.Len(t, v.pages, 1)
		require.NoError(t, checkMessages(v.AppendMessages(nil, 1, 999), 1, 1))
		l.Pending(&v)
		require.Equal(t, l.Last(), v.Last)
		require.EqualValues(t, 1, v.Version, "of the last Publish")
	}
	l.SealVersion(1, 210, false)
	l.View(&v)
	require.EqualValues(t, 1, v.Last)
	l.Publish(Header{Version: 2, LiveFrom: 1, Used: 210}, nil)
	l.View(&v)
	require.EqualValues(t, 201, v.Last)
	require.EqualValues(t, 210, v.Slot(201).Used)
	require.NoError(t, checkMessages(v.AppendMessages(nil, 0, math.MaxUint64), 1, 201))
	require.EqualValues(t, 2, v.AfterVersion(1))
	require.EqualValues(t, 202, v.AfterVersion(2))
}

// A Reserve that no Commit follows leaves no trace, and one that asks for too much no bigger page.
func TestReserve(t *testing.T) {
	var l, want Log[ext]
	for range 2 {
		l.Reserve(10)
		l.Reserve(1 << 20)
		require.GreaterOrEqual(t, cap(l.Reserve(5000)), 5000)
		l.Publish(Header{LiveFrom: 1}, nil)
		require.Zero(t, l.Bytes()-directorySize-int64(cap(l.w.dir.entries))*entrySize)
	}
	for i := range 100 {
		l.Reserve(1 << 20)
		if i%3 == 0 {
			l.Publish(Header{Version: uint64(i), LiveFrom: 1}, nil)
		}
		if i%5 == 0 {
			l.EvictBefore(0)
		}
		seq := uint64(i + 1)
		n := 60 + i%7*100
		b := l.Reserve(n)
		require.Zero(t, len(b))
		require.GreaterOrEqual(t, cap(b), n)
		b = message(b, seq, n)
		require.Len(t, b, n)
		require.Equal(t, seq, l.Commit(len(b), 0, Meta{Tokens: 1, Version: seq}))
		l.SealVersion(1, seq, false)
		want.Append(b, nil, Meta{Tokens: 1, Version: seq})
		want.SealVersion(1, seq, false)
	}
	equalLogs(t, &want, &l)

	var big Log[ext]
	for _, reserve := range []int{100, 100_000, 10_000_000} { // all but the first far too much
		b := message(big.Reserve(reserve), big.Last()+1, 90)
		big.Commit(len(b), 0, Meta{Version: big.Last() + 1})
		big.SealVersion(1, 0, false)
		big.EvictBefore(0)
	}
	require.LessOrEqual(t, big.Bytes(), int64(3*4096))
	var v View[ext]
	big.Pending(&v)
	require.NoError(t, checkMessages(v.AppendMessages(nil, 1, 3), 1, 3))
}

func equalLogs(t *testing.T, want, got *Log[ext]) {
	t.Helper()
	var v, u View[ext]
	want.Pending(&v)
	got.Pending(&u)
	require.Equal(t, v.Pages(), u.Pages())
	for i := range v.Pages() {
		require.Equal(t, v.Page(i).Append(nil), u.Page(i).Append(nil), "page %d", i)
	}
	require.Equal(t, want.w.held, got.w.held)
}

func TestBigMessages(t *testing.T) {
	var l Log[ext]
	version := uint64(0)
	sizes := []int{100, 1000, 30_000, 65_000, 66_000, 100, 200_000, 100, 3 << 20, 100, 32_000, 16_384}
	bytes := 0
	for _, n := range sizes {
		version++
		b := message(l.Reserve(n), l.Last()+1, n)
		require.Len(t, b, n)
		l.Commit(len(b), 0, Meta{Tokens: 1, Version: version})
		l.SealVersion(1, version, false)
		bytes += n
	}
	l.Publish(Header{Version: version, LiveFrom: 1, Used: version}, nil)
	var v View[ext]
	l.View(&v)
	require.NoError(t, checkMessages(v.AppendMessages(nil, 1, v.Last), 1, v.Last))
	require.Less(t, l.Bytes(), int64(bytes)*3/2)
}

// Alternating small and big messages share pages: no page is left nearly empty.
func TestAlternatingSizes(t *testing.T) {
	var l Log[ext]
	bytes := 0
	for i := range 400 {
		n := 300
		if i%2 == 1 {
			n = 60_000
		}
		fill(&l, 1, n, 1)
		bytes += n
	}
	require.Less(t, float64(l.Bytes()), 1.2*float64(bytes))
}

func TestPageSize(t *testing.T) {
	for held := uint64(0); held < 4<<20; held += held/3 + 100 {
		for need := slotSize + 2; need < 300_000; need += need/5 + 1 {
			size := pageSize(held, need)
			require.GreaterOrEqual(t, size, max(minPage, pageHeader+need))
			require.Zero(t, size%8)
			if size > maxPage {
				require.Greater(t, pageHeader+need, maxPage)
				require.Equal(t, pageSize(0, need), size, "the size of a message decides alone: restore counts on it")
			}
		}
	}
}

func TestEviction(t *testing.T) {
	var l Log[ext]
	fill(&l, 3000, 200, 3)
	var old, v View[ext]
	l.View(&old)
	before := l.Bytes()

	l.EvictBefore(0)
	l.EvictBefore(1)
	require.EqualValues(t, before, l.Bytes())
	l.EvictBefore(2001)
	l.View(&v)
	require.EqualValues(t, 1, v.First, "not yet published")
	first := firstOf(&l)
	require.LessOrEqual(t, first, uint64(2001))
	require.Greater(t, first, uint64(1500), "whole pages")
	l.Publish(Header{Version: 3000, LiveFrom: first}, nil)
	l.View(&v)
	require.Equal(t, first, v.First)
	require.Less(t, l.Bytes(), before/2)
	require.NoError(t, checkMessages(v.AppendMessages(nil, 0, 5000), first, 3000))
	require.EqualValues(t, 3*(first-1), v.Cum(first-1))
	require.EqualValues(t, 3*(first-1), v.Cum(1))
	require.EqualValues(t, 3*2500, v.Cum(2500))
	require.EqualValues(t, first, v.AfterVersion(5))
	json, _, _ := v.Message(first - 1)
	require.Nil(t, json)

	l.EvictBefore(math.MaxUint64) // the newest page stays
	first = firstOf(&l)
	l.Publish(Header{Version: 3000, LiveFrom: 3001}, nil)
	l.View(&v)
	require.LessOrEqual(t, first, uint64(3000))
	require.Equal(t, 1, v.Pages())
	require.NoError(t, checkMessages(v.AppendMessages(nil, 0, 5000), first, 3000))
	fill(&l, 500, 200, 3)
	l.View(&v)
	require.NoError(t, checkMessages(v.AppendMessages(nil, 0, 5000), first, 3500))

	require.NoError(t, checkMessages(old.AppendMessages(nil, 0, 5000), 1, 3000), "an old view keeps what it had")
}

// Eviction page by page costs few copies of directory entries, and what stays reachable is bounded.
func TestEvictionIsAmortised(t *testing.T) {
	var l Log[ext]
	fill(&l, 20_000, 1000, 1)
	replaced, copied := 0, 0
	for seq := uint64(1); seq < 15_000; seq += 10 {
		dir := l.w.dir
		l.EvictBefore(seq)
		if l.w.dir != dir {
			replaced++
			copied += int(l.w.hi)
		}
		require.LessOrEqual(t, 8*l.w.lo, l.w.hi-l.w.lo)
	}
	require.Less(t, copied, 20*300)
	require.Positive(t, replaced)
}

func TestSuffixAgainstScan(t *testing.T) {
	var l Log[ext]
	for i := range 700 {
		version := uint64(i + 1)
		l.Append(message(nil, version, 80), nil, Meta{Tokens: uint32(i*7919%13) / 4 * 5, Version: version})
		l.SealVersion(1, 0, false)
	}
	var v View[ext]
	l.Pending(&v)
	for _, last := range []uint64{1, 13, 14, 350, 700} {
		for _, from := range []uint64{1, 2, last / 2, last} {
			if from == 0 {
				continue
			}
			total := v.Cum(last) - v.Cum(from-1)
			for room := uint64(0); room <= total+1; room += 1 + total/50 {
				want := last + 1
				for want > from && v.Cum(last)-v.Cum(want-2) <= room {
					want--
				}
				require.Equal(t, want, v.Tail.suffix(from, last, room), "from %d to %d room %d", from, last, room)
			}
		}
	}
}

func TestInvariantsPanic(t *testing.T) {
	one := func() *Log[ext] {
		var l Log[ext]
		add(&l, 1, 10, nil)
		return &l
	}
	json := []byte(`{"seq":2}`)
	for name, f := range map[string]func(){
		"commit without reserve":    func() { new(Log[ext]).Commit(1, 0, Meta{Version: 1}) },
		"empty message":             func() { one().Append(nil, nil, Meta{Version: 2}) },
		"commit more than reserved": func() { l := one(); l.Reserve(10); l.Commit(5000, 0, Meta{Version: 2}) },
		"negative lengths":          func() { l := one(); l.Reserve(10); l.Commit(10, -1, Meta{Version: 2}) },
		"malformed aux":             func() { one().Append(json, []byte{9}, Meta{Version: 2}) },
		"aux with more behind it":   func() { one().Append(json, []byte{0, 0}, Meta{Version: 2}) },
		"version goes back":         func() { one().Append(json, nil, Meta{Version: 1}) },
		"version 0":                 func() { new(Log[ext]).Append(json, nil, Meta{}) },
		"version over 48 bits":      func() { one().Append(json, nil, Meta{Version: 1 << 48}) },
		"version not sealed":        func() { l := one(); l.Append(json, nil, Meta{Version: 2}); l.Append(json, nil, Meta{Version: 3}) },
		"seal of nothing":           func() { one().SealVersion(1, 1, false) },
		"seal twice": func() {
			l := one()
			l.Append(json, nil, Meta{Version: 2})
			l.SealVersion(1, 1, false)
			l.SealVersion(1, 1, false)
		},
		"seal with window from 0": func() { l := one(); l.Append(json, nil, Meta{Version: 2}); l.SealVersion(0, 1, false) },
		"seal with window from 4": func() { l := one(); l.Append(json, nil, Meta{Version: 2}); l.SealVersion(4, 1, false) },
		"publish of unsealed": func() {
			l := one()
			l.Append(json, nil, Meta{Version: 2})
			l.Publish(Header{Version: 2, LiveFrom: 1}, nil)
		},
		"publish of an old version":  func() { one().Publish(Header{Version: 0, LiveFrom: 1}, nil) },
		"publish of a window from 3": func() { one().Publish(Header{Version: 1, LiveFrom: 3}, nil) },
		"publish of an evicted window": func() {
			l := one()
			fill(l, 1000, 100, 1)
			l.EvictBefore(900)
			l.Publish(Header{Version: 1001, LiveFrom: 2}, nil)
		},
		"message over the limit": func() { one().Reserve(MaxMessage + 1) },
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, f) })
	}
}
