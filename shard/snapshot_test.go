package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
)

// sampleMachine has one of everything that a snapshot can hold.
func sampleMachine(t testing.TB) *Machine {
	m := NewMachine(17)
	var res Result
	index := uint64(0)
	apply := func(cmd []byte) {
		index++
		StampTime(cmd, testTime+int64(index))
		require.NoError(t, m.Apply(index, cmd, &res))
		require.Equal(t, CodeOK, res.Code)
	}
	add := func(id string, msgs ...tMsg) {
		apply(encode(BeginAppend(nil, AppendHeader{ID: []byte(id)}), msgs))
	}
	tools := tMsg{role: "assistant", tokens: -1, parts: []tPart{{"text", "", 5}, {"tool_call", "c1", 9}}}
	result := tMsg{role: "tool", tokens: -1, parts: []tPart{{"tool_result", "c1", 30}}}

	apply(EncodePut(nil, &Put{ID: []byte("empty")}))
	apply(EncodePut(nil, &Put{ID: []byte("plain"), HasMetadata: true, Metadata: []byte(`{"project":"support"}`)}))
	add("plain", text("system", 3), text("user", 4), tools, result)
	apply(encode(BeginAppend(nil, AppendHeader{ID: []byte("plain"), HasKey: true, Key: [16]byte{1}, BodyHash: [16]byte{2}}), []tMsg{text("user", 5)}))
	apply(EncodeAckArchived(nil, []byte("plain"), 2, math.MaxUint64))

	apply(EncodePut(nil, &Put{ID: []byte("compacted")}))
	add("compacted", text("user", 4), tools)
	apply(encode(BeginCompact(nil, AppendHeader{ID: []byte("compacted")}), []tMsg{text("system", 10), {role: "user", tokens: 7, parts: tools.parts}}))
	add("compacted", result, tMsg{role: "tool", tokens: 2, parts: []tPart{{"tool_result", "lost", 3}}}, text("user", 6))

	apply(EncodePut(nil, &Put{
		ID: []byte("skipped"), HasBudget: true, TokenBudget: 60, HasPolicy: true,
		Policy: Policy{Strategy: SkipParts, Limit: 5, SkipKinds: []string{"tool"}, Config: []byte(`{"skip_kinds":["tool"],"limit":5}`)},
	}))
	add("skipped", text("user", 4), tools, result, text("user", 30))

	apply(EncodePut(nil, &Put{ID: []byte("deleted")}))
	add("deleted", text("user", 1))
	apply(EncodeDelete(nil, []byte("deleted")))
	return m
}

func TestSnapshotGolden(t *testing.T) {
	m := sampleMachine(t)
	m.BeginSnapshot(m.index, 3)
	c := m.CaptureSome(math.MaxInt)
	require.NotNil(t, c)
	require.Equal(t, [3]uint64{17, m.index, 3}, [3]uint64{uint64(c.Info().Shard), c.Info().Index, c.Info().Term})
	c.SetMeta([]byte("membership"))
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	require.NoError(t, err)
	golden(t, "snapshot.golden", b.Bytes())

	loaded, info, err := LoadMachine(iotest.OneByteReader(bytes.NewReader(b.Bytes())))
	require.NoError(t, err)
	require.Equal(t, "membership", string(info.Meta))
	require.Equal(t, SnapshotInfo{Shard: 17, Index: m.index, Term: 3, Meta: info.Meta, Contexts: 5, RawBytes: info.RawBytes, RawCRC: info.RawCRC}, info)
	require.Equal(t, m.LastMs(), loaded.LastMs())
	require.Equal(t, m.Len(), loaded.Len())
	for _, id := range []string{"empty", "plain", "compacted", "skipped", "deleted"} {
		var want, got View
		m.Lookup([]byte(id)).View(&want)
		loaded.Lookup([]byte(id)).View(&got)
		require.Equal(t, string(want.AppendContext(nil)), string(got.AppendContext(nil)))
		require.Equal(t, string(want.AppendWindow(nil, 0)), string(got.AppendWindow(nil, 0)))
		require.Equal(t, string(want.AppendHistory(nil, 1, 100)), string(got.AppendHistory(nil, 1, 100)))
	}
	require.InDelta(t, m.Bytes(), loaded.Bytes(), float64(m.Bytes())/10)
}

// A capture that is interrupted by Apply at every point is the state at its beginning.
func TestCaptureDuringApply(t *testing.T) {
	for seed := range uint64(10) {
		r := newRig(t, 1000+seed)
		for range 150 {
			r.step(fmt.Sprintf("ctx-%d", r.rng.IntN(12)))
		}
		for range 5 {
			want := snapshotOf(t, r.m)
			r.m.BeginSnapshot(r.m.index, 1)
			var c *Captured
			for c == nil {
				for range r.rng.IntN(8) {
					r.step(fmt.Sprintf("ctx-%d", r.rng.IntN(16)))
				}
				c = r.m.CaptureSome(1)
			}
			for range 20 { // the writer is another goroutine: what it reads must not change under it
				r.step(fmt.Sprintf("ctx-%d", r.rng.IntN(16)))
			}
			var b bytes.Buffer
			_, err := c.WriteTo(&b)
			require.NoError(t, err)
			require.Equal(t, want, b.Bytes())
		}
	}
}

// The same with the writer really running beside Apply, for the race detector.
func TestCaptureIsWrittenBesideApply(t *testing.T) {
	r := newRig(t, 7)
	for range 300 {
		r.step(fmt.Sprintf("ctx-%d", r.rng.IntN(6)))
	}
	want := snapshotOf(t, r.m)
	r.m.BeginSnapshot(r.m.index, 1)
	c := r.m.CaptureSome(math.MaxInt)
	var b bytes.Buffer
	done := make(chan error)
	go func() {
		_, err := c.WriteTo(&b)
		done <- err
	}()
	for range 200 {
		r.step(fmt.Sprintf("ctx-%d", r.rng.IntN(6)))
	}
	require.NoError(t, <-done)
	require.Equal(t, want, b.Bytes())
}

func TestBeginSnapshotAgainAbandonsTheFirst(t *testing.T) {
	m := sampleMachine(t)
	want := snapshotOf(t, m)
	m.BeginSnapshot(1, 1)
	require.Nil(t, m.CaptureSome(2))
	require.Equal(t, want, snapshotOf(t, m))
	require.Nil(t, m.CaptureSome(2), "nothing is being captured")
	require.NotEmpty(t, snapshotOf(t, NewMachine(3)))
}

// Every flipped bit and every cut of a snapshot is found.
func TestSnapshotDamage(t *testing.T) {
	b := snapshotOf(t, sampleMachine(t))
	load := func(b []byte) error {
		_, _, err := LoadMachine(bytes.NewReader(b))
		return err
	}
	require.NoError(t, load(b))
	var se *SnapshotError
	for n := range b {
		require.ErrorAs(t, load(b[:n]), &se, "cut to %d", n)
		bad := slices.Clone(b)
		bad[n] ^= 1 << (n % 8)
		require.ErrorAs(t, load(bad), &se, "bit at %d", n)
	}
	fault := errors.New("disk on fire")
	_, _, err := LoadMachine(io.MultiReader(bytes.NewReader(b[:100]), iotest.ErrReader(fault)))
	require.ErrorIs(t, err, fault)

	m := sampleMachine(t)
	m.BeginSnapshot(1, 1)
	_, err = m.CaptureSome(100).WriteTo(failingWriter{fault})
	require.ErrorIs(t, err, fault)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// rawOf decompresses a snapshot's state, wrap is the inverse.
func rawOf(t testing.TB, b []byte) (raw []byte) {
	c, err := newChunkReader(bytes.NewReader(b))
	require.NoError(t, err)
	for {
		end, err := c.atEnd()
		require.NoError(t, err)
		if end {
			return raw
		}
		raw = append(raw, c.raw...)
		c.raw = nil
	}
}

func wrap(raw []byte, contexts uint64) []byte {
	var b bytes.Buffer
	w := newChunkWriter(&b, &SnapshotInfo{})
	w.write(raw)
	_, _ = w.finish(contexts)
	return b.Bytes()
}

func TestWrap(t *testing.T) {
	raw := rawOf(t, snapshotOf(t, sampleMachine(t)))
	m, info, err := LoadMachine(bytes.NewReader(wrap(raw, 5)))
	require.NoError(t, err)
	require.Equal(t, uint64(len(raw)), info.RawBytes)
	require.Equal(t, crc32.Checksum(raw, castagnoli), info.RawCRC)
	require.Equal(t, raw, rawOf(t, snapshotOf(t, m)))
}

// FuzzLoadMachine feeds damaged states with checksums that fit, and the bytes themselves as a file. A
// machine that loads must be usable: it takes commands, answers reads and can be written again.
func FuzzLoadMachine(f *testing.F) {
	b := snapshotOf(f, sampleMachine(f))
	f.Add(rawOf(f, b), uint64(5))
	f.Add(b, uint64(0))
	f.Add(rawOf(f, snapshotOf(f, NewMachine(0))), uint64(0))
	f.Fuzz(func(t *testing.T, raw []byte, contexts uint64) {
		_, _, err := LoadMachine(bytes.NewReader(raw))
		if err != nil {
			var se *SnapshotError
			require.ErrorAs(t, err, &se)
		}
		m, _, err := LoadMachine(bytes.NewReader(wrap(raw, contexts)))
		if err != nil {
			var se *SnapshotError
			require.ErrorAs(t, err, &se)
			return
		}
		exercise(t, m)
	})
}

// exercise uses a machine that was loaded from who knows what.
func exercise(t *testing.T, m *Machine) {
	var res Result
	var out []byte
	for i := range m.contexts.len() {
		ctx := m.contexts.live(uint32(i)).Load()
		id := []byte(ctx.id)
		msgs := []tMsg{text("user", 10), {role: "tool", tokens: -1, parts: []tPart{{"tool_result", "c1", 3}}}}
		require.NoError(t, m.Apply(uint64(i), encode(BeginAppend(nil, AppendHeader{ID: id}), msgs), &res))
		var v View
		ctx.View(&v)
		out = v.AppendContext(out[:0])
		out = v.AppendWindow(out[:0], 0)
		out = v.AppendWindow(out[:0], 3)
		out = v.AppendTail(out[:0], 10, 1)
		cur := Cursor{}
		for range 100 {
			if _, more := v.NextEvent(nil, &cur, true); !more {
				break
			}
		}
		require.NoError(t, m.Apply(uint64(i), encode(BeginCompact(nil, AppendHeader{ID: id}), msgs), &res))
		require.NoError(t, m.Apply(uint64(i), EncodePatchMetadata(nil, id, []byte(`{"a":1}`)), &res))
	}
	snapshotOf2(m)
}

// Snapshots with a few wrong bytes and right checksums are refused, or load as something that works.
func TestSnapshotMutated(t *testing.T) {
	raw := rawOf(t, snapshotOf(t, sampleMachine(t)))
	rng := rand.New(rand.NewPCG(1, 9))
	loaded := 0
	for range rounds(3000) {
		b := slices.Clone(raw)
		for range 1 + rng.IntN(3) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
		m, _, err := LoadMachine(bytes.NewReader(wrap(b, 5)))
		if err == nil {
			loaded++
			exercise(t, m)
		}
	}
	t.Logf("%d of %d load", loaded, rounds(3000))
}

func snapshotOf2(m *Machine) {
	m.BeginSnapshot(1, 1)
	if c := m.CaptureSome(math.MaxInt); c != nil {
		_, _ = c.WriteTo(io.Discard)
	}
}

// chatMachine holds about size bytes of messages of some 200 bytes of text.
func chatMachine(tb testing.TB, size int) *Machine {
	words := bytes.Fields([]byte("the of and order to in shipping he have it that for they with customer as not on she at by this refund we you do but from or which one would all will there say who make when can more if no man out other so what time up go about than into could state only new year some take come these know see use get like then first any work now may such give over think most even find day also after way many must look before great back through long where much should well people down own just because good each those feel seem how high too place little world very still nation hand old life tell write become here show house both between need mean call develop under last right move thing general school never same another begin while number part turn real leave might want point form off child few small since against ask late home interest"))
	rng := rand.New(rand.NewPCG(1, 2))
	m := NewMachine(0)
	var res Result
	var cmd []byte
	const contexts = 200
	for i := range contexts {
		require.NoError(tb, m.Apply(uint64(i), EncodePut(nil, &Put{ID: fmt.Appendf(nil, "user-%06d", i)}), &res))
	}
	now := int64(testTime)
	for n := 0; n < size; n += len(cmd) {
		var body []byte
		for len(body) < 200 {
			body = append(append(body, words[rng.IntN(len(words))]...), ' ')
		}
		role := []string{"user", "assistant"}[rng.IntN(2)]
		msg := Message{Fields: fmt.Appendf(nil, `"role":"%s","parts":[{"type":"text","text":"%s"}]`, role, body), Tokens: 40 + rng.Uint32N(20), Flags: FlagNoMetadata}
		cmd = AppendMessage(BeginAppend(cmd[:0], AppendHeader{ID: fmt.Appendf(nil, "user-%06d", rng.IntN(contexts)), Count: 1}), &msg)
		now += rng.Int64N(50)
		StampTime(cmd, now)
		require.NoError(tb, m.Apply(1, cmd, &res))
	}
	return m
}

func BenchmarkSnapshot(b *testing.B) {
	m := chatMachine(b, 64<<20)
	file := snapshotOf(b, m)
	_, info, err := LoadMachine(bytes.NewReader(file))
	require.NoError(b, err)
	b.Run("capture", func(b *testing.B) {
		for b.Loop() {
			m.BeginSnapshot(1, 1)
			m.CaptureSome(math.MaxInt)
		}
	})
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(info.RawBytes))
		for b.Loop() {
			snapshotOf2(m)
		}
		b.ReportMetric(float64(len(file))/float64(info.RawBytes)*100, "%")
	})
	b.Run("load", func(b *testing.B) {
		b.SetBytes(int64(info.RawBytes))
		for b.Loop() {
			_, _, _ = LoadMachine(bytes.NewReader(file))
		}
	})
	b.Run("floor-decode", func(b *testing.B) { // what S2 alone would take
		b.SetBytes(int64(info.RawBytes))
		var blocks [][]byte
		for rest := file[snapshotHeaderSize+4:]; ; {
			raw, stored := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
			if raw == 0 {
				break
			}
			blocks = append(blocks, rest[chunkHeaderSize:][:stored])
			rest = rest[chunkHeaderSize+stored:]
		}
		buf := make([]byte, chunkMax)
		for b.Loop() {
			for _, block := range blocks {
				_, _ = s2.Decode(buf, block)
			}
		}
	})
}
