package ring

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// images returns a log of some pages with everything in it, and its encoded pages. One in rare messages is bigger than
// a page.
func images(rare int) (*Log[ext], []byte) {
	var l Log[ext]
	rng := rand.New(rand.NewPCG(3, 4))
	version := uint64(0)
	for range 60 {
		version++
		for range 1 + rng.IntN(3) {
			size := 50 + rng.IntN(200)
			if rng.IntN(rare) == 0 {
				size = 70_000
			}
			var aux []byte
			if kind := uint8(rng.IntN(4)); kind < 3 {
				aux = AppendAux(nil, []Part{{Tokens: 3, Kind: kind}, {Tokens: 1}})
			}
			l.Append(message(nil, l.Last()+1, size), aux, Meta{Tokens: rng.Uint32N(50), Flags: uint16(rng.IntN(2)), Version: version})
		}
		l.SealVersion(1+rng.Uint64N(l.Last()), rng.Uint64(), rng.IntN(3) == 0)
	}
	l.EvictBefore(20)
	l.Publish(Header{Version: version, LiveFrom: l.Last(), Used: 5, Archived: 9, UpdatedMs: 77}, &ext{5})
	return &l, encode(&l)
}

func encode(l *Log[ext]) (b []byte) {
	var v View[ext]
	l.View(&v)
	for i := range v.Pages() {
		b = v.Page(i).Append(b)
	}
	return b
}

func restore(b []byte) (*Log[ext], error) {
	var l Log[ext]
	for len(b) > 0 {
		p, rest, err := ParsePage(b)
		if err != nil {
			return nil, err
		}
		if err := l.RestorePage(p); err != nil {
			return nil, err
		}
		b = rest
	}
	return &l, nil
}

func TestRestore(t *testing.T) {
	want, b := images(30)
	var v, u View[ext]
	want.View(&v)
	got, err := restore(b)
	require.NoError(t, err)
	require.NoError(t, got.FinishRestore(v.Header, v.Ext))
	got.View(&u)
	require.Equal(t, v.Header, u.Header)
	require.Equal(t, v.tool, u.tool)
	require.Greater(t, v.First, uint64(1))
	require.Equal(t, v.First, v.Page(0).FirstSeq())
	equalLogs(t, want, got)
	require.NoError(t, checkMessages(u.AppendMessages(nil, 0, math.MaxUint64), v.First, v.Last))
	for seq := v.First; seq <= v.Last; seq++ {
		require.Equal(t, v.Slot(seq), u.Slot(seq))
	}

	fill(want, 9000, 250, 7) // and goes on in the same pages, up to the largest
	fill(got, 9000, 250, 7)
	equalLogs(t, want, got)
	again, err := restore(encode(got))
	require.NoError(t, err)
	equalLogs(t, want, again)

	var empty Log[ext]
	require.NoError(t, empty.FinishRestore(Header{LiveFrom: 1}, nil))
	fill(&empty, 3, 100, 1)
}

// A View that is older than the log gives the pages as they were.
func TestPageOfOldView(t *testing.T) {
	var l Log[ext]
	fill(&l, 5, 100, 1)
	var v View[ext]
	l.View(&v)
	before := v.Page(0).Append(nil)
	fill(&l, 50, 100, 1)
	require.Equal(t, before, v.Page(0).Append(nil))
}

func TestFinishRestoreRefuses(t *testing.T) {
	l, b := images(30)
	var v View[ext]
	l.View(&v)
	for name, change := range map[string]func(h *Header){
		"version before the last message": func(h *Header) { h.Version-- },
		"version over 48 bits":            func(h *Header) { h.Version = 1 << 48 },
		"window before the first message": func(h *Header) { h.LiveFrom = v.First - 1 },
		"window behind the last message":  func(h *Header) { h.LiveFrom = v.Last + 2 },
	} {
		got, err := restore(b)
		require.NoError(t, err)
		h := v.Header
		change(&h)
		require.ErrorIs(t, got.FinishRestore(h, nil), ErrPage, name)
	}
	var open Log[ext]
	open.Append([]byte("{}"), nil, Meta{Version: 1})
	open.Pending(&v)
	got, err := restore(v.Page(0).Append(nil))
	require.NoError(t, err)
	require.ErrorIs(t, got.FinishRestore(Header{Version: 1, LiveFrom: 1}, nil), ErrPage)
}

func TestRestoreRefuses(t *testing.T) {
	var l Log[ext]
	l.Append([]byte(`{"a":1}`), nil, Meta{Tokens: 5, Version: 3})
	l.Append([]byte(`{"b":2}`), AppendAux(nil, []Part{{Kind: PartCall}}), Meta{Tokens: 6, Version: 3})
	l.SealVersion(1, 11, false)
	l.Append([]byte(`{"c":3}`), nil, Meta{Tokens: 5, Version: 4})
	l.SealVersion(1, 16, true)
	l.Publish(Header{Version: 4, LiveFrom: 1}, nil)
	good := encode(&l)
	_, err := restore(good)
	require.NoError(t, err)

	const front = imageHeader
	slots := len(good) - 3*slotSize // newest first
	slot := func(i int) int { return slots + (2-i)*slotSize }
	u32, u64 := binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint64
	for name, change := range map[string]func(b []byte) []byte{
		"short header":             func(b []byte) []byte { return b[:11] },
		"short body":               func(b []byte) []byte { return b[:len(b)-1] },
		"front longer than there":  func(b []byte) []byte { u32(b[4:], math.MaxUint32); return b },
		"slots longer than there":  func(b []byte) []byte { u32(b[8:], math.MaxUint32); return b },
		"front shorter than head":  func(b []byte) []byte { u32(b[4:], 15); return b },
		"no slots":                 func(b []byte) []byte { u32(b[8:], 0); return b },
		"size too small":           func(b []byte) []byte { u32(b[0:], 512); return b },
		"size not of eights":       func(b []byte) []byte { u32(b[0:], 1025); return b },
		"size for a big message":   func(b []byte) []byte { u32(b[0:], 1<<30); return b },
		"seq 0":                    func(b []byte) []byte { u64(b[front:], 0); return b },
		"seq huge":                 func(b []byte) []byte { u64(b[front:], math.MaxUint64); return b },
		"tokens before seq 1":      func(b []byte) []byte { u64(b[front+8:], 1); return b },
		"start moved":              func(b []byte) []byte { b[slot(1)]++; return b },
		"start in the header":      func(b []byte) []byte { b[slot(0)] = 0; return b },
		"length 0":                 func(b []byte) []byte { u32(b[slot(0)+4:], 0); return b },
		"length too long":          func(b []byte) []byte { u32(b[slot(2)+4:], math.MaxUint32); return b },
		"no comma":                 func(b []byte) []byte { b[front+pageHeader+7] = ';'; return b },
		"tokens go back":           func(b []byte) []byte { u64(b[slot(1)+16:], 4); return b },
		"tokens jump":              func(b []byte) []byte { u64(b[slot(2)+16:], 1<<40); return b },
		"version goes back":        func(b []byte) []byte { b[slot(2)+24] = 2; return b },
		"version does not rise":    func(b []byte) []byte { b[slot(2)+24] = 3; return b },
		"version changes unsealed": func(b []byte) []byte { b[slot(0)+24] = 2; return b },
		"version 0":                func(b []byte) []byte { b[slot(0)+24] = 0; return b },
		"unknown flag":             func(b []byte) []byte { b[slot(0)+31] = 0x80; return b },
		"cut without end":          func(b []byte) []byte { b[slot(0)+30] = FlagCut; return b },
		"window without end":       func(b []byte) []byte { b[slot(0)+8] = 1; return b },
		"window longer than log":   func(b []byte) []byte { b[slot(2)+8] = 4; return b },
		"aux missing":              func(b []byte) []byte { b[slot(1)+30] &^= FlagAux; return b },
		"aux where none is":        func(b []byte) []byte { b[slot(2)+30] |= FlagAux; return b },
		"aux malformed":            func(b []byte) []byte { b[front+pageHeader+8+8] = 9; return b },
		"tool flag missing":        func(b []byte) []byte { b[slot(1)+30] &^= FlagToolCall; return b },
		"tool flag too many":       func(b []byte) []byte { b[slot(1)+30] |= FlagToolResult; return b },
		"bytes behind the last": func(b []byte) []byte {
			u32(b[4:], le.Uint32(b[4:])+1)
			return append(b[:slots:slots], append([]byte{0}, b[slots:]...)...)
		},
		"the same page twice": func(b []byte) []byte { return append(b, b...) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := restore(change(append([]byte(nil), good...)))
			require.ErrorIs(t, err, ErrPage)
		})
	}
}

// use reads a restored log in every way: what restore accepts must not make anything panic.
func use(l *Log[ext]) {
	var v View[ext]
	l.Pending(&v)
	h := Header{Version: math.MaxUint32, LiveFrom: v.First}
	if l.FinishRestore(h, nil) != nil {
		return
	}
	l.View(&v)
	v.AppendMessages(nil, v.First, v.Last)
	for seq := v.First; seq <= v.Last && seq < v.First+100; seq++ {
		v.Message(seq)
		v.AfterVersion(v.Slot(seq).Version)
	}
	w := Window{LiveFrom: v.First, Used: v.Cum(v.Last) - v.Cum(v.First-1)}
	for _, part := range []uint64{0, 1, 2, 3} {
		p := Fit(&v, w, w.Used/3*part)
		p.Append(nil)
	}
	w = CutNewest(&v, w, 3)
	Extend(&v, w, v.Last)
	encode(l)
	l.EvictBefore(v.Last)
	l.Publish(Header{Version: maxVersion, LiveFrom: v.Last + 1}, nil)
}

// One flipped bit anywhere either is refused or does no harm.
func TestRestoreFlippedBits(t *testing.T) {
	_, b := images(1 << 30)
	step := 3
	if raceEnabled {
		step = 37
	}
	for i := 0; i < len(b); i += step {
		b[i] ^= 1 << (i % 8)
		if l, err := restore(b); err == nil {
			use(l)
		} else {
			require.ErrorIs(t, err, ErrPage)
		}
		b[i] ^= 1 << (i % 8)
	}
}

func FuzzRestore(f *testing.F) {
	var l Log[ext]
	add(&l, 1, 10, nil, []Part{{Kind: PartCall, ID: 3}, {}})
	add(&l, 1, 20, []Part{{Kind: PartResult, ID: 3}})
	f.Add(encode(&l))
	fill(&l, 12, 100, 5)
	f.Add(encode(&l))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := restore(b); err == nil {
			use(l)
		}
	})
}

// Patches to a valid image get further into the checks than random bytes: three bytes each, an offset and a value.
func FuzzRestorePatch(f *testing.F) {
	var l Log[ext]
	add(&l, 1, 10, nil, []Part{{Kind: PartCall, ID: 3}, {}})
	add(&l, 1, 20, []Part{{Kind: PartResult, ID: 3}}, nil)
	fill(&l, 20, 100, 5)
	good := encode(&l)
	f.Add([]byte{})
	f.Add([]byte{0, 1, 9, 3, 200, 4})
	f.Fuzz(func(t *testing.T, patch []byte) {
		b := append([]byte(nil), good...)
		for ; len(patch) >= 3; patch = patch[3:] {
			b[(int(patch[0])<<8|int(patch[1]))%len(b)] = patch[2]
		}
		if l, err := restore(b); err == nil {
			use(l)
		}
	})
}
