package s3

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"fastpaca/archive"
)

var update = flag.Bool("update", false, "rewrite testdata")

func sampleTable() table {
	return table{
		{context: "a", from: 1, to: 10, object: id{1, 2, 3}, off: 0, len: 500},
		{context: "a", from: 11, to: 11, object: id{9}, off: 70000, len: 1},
		{context: "support-123", from: 1, to: math.MaxUint64, object: id{1, 2, 3}, off: 500, len: math.MaxUint32},
		{context: "support-ä", from: 300, to: 4000, object: id{1, 2, 3}, off: 1000, len: 20},
	}
}

func sampleManifest() *manifest {
	return &manifest{generation: 300, commit: id{0xc0, 0xff, 0xee}, inline: sampleTable(), levels: [][]ref{
		{},
		{{id: id{7}, extents: 8192, first: "a", last: "k"}, {id: id{8}, extents: 5, first: "k", last: "zz"}},
	}}
}

// golden compares got with a file below testdata.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// TestGolden pins the formats: objects that an earlier build wrote are read, and what is inside of the compression is
// written the same for ever.
func TestGolden(t *testing.T) {
	c := newCodec()
	m := sampleManifest()
	file := golden(t, "manifest.golden", c.encodeManifest(m))
	got, err := c.decodeManifest(file)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("manifest: %+v, %v", got, err)
	}
	body, err := c.unseal(manifestMagic, file)
	if again, err2 := c.unseal(manifestMagic, c.encodeManifest(m)); err != nil || err2 != nil || !bytes.Equal(again, body) {
		t.Errorf("manifest is written differently: %x, want %x (%v, %v)", again, body, err, err2)
	}
	file = golden(t, "segment.golden", c.encodeSegment(m.inline))
	seg, err := c.decodeSegment(file)
	if err != nil || !reflect.DeepEqual(seg, m.inline) {
		t.Errorf("segment: %+v, %v", seg, err)
	}
	body, err = c.unseal(segmentMagic, file)
	if again, err2 := c.unseal(segmentMagic, c.encodeSegment(m.inline)); err != nil || err2 != nil || !bytes.Equal(again, body) {
		t.Errorf("segment is written differently: %x, want %x (%v, %v)", again, body, err, err2)
	}
	var lines []byte
	for _, r := range sampleRows() {
		lines = appendLine(lines, &r)
	}
	if want := golden(t, "lines.golden", lines); !bytes.Equal(lines, want) {
		t.Errorf("lines: %s, want %s", lines, want)
	}
	for context, want := range map[string]int{"": 3, "a": 1, "support-123": 12, "ä漢😀": 15} {
		if got := partitionOf(context); got != want {
			t.Errorf("%q moved to partition %d", context, got)
		}
	}
}

func sampleRows() []archive.Row {
	return []archive.Row{
		{Context: "a", Seq: 1, Tokens: 5, InsertedMs: 1737720000007, Message: []byte(`{"seq":1,"role":"user","parts":[]}`)},
		{Context: `q"u\o`, Seq: math.MaxUint64, InsertedMs: 0, Message: []byte("{\"seq\":2,\n\"role\":\"u\\n\",\r\n\n \"parts\":[]}")},
	}
}

func TestLines(t *testing.T) {
	var b []byte
	rows := sampleRows()
	for i := range rows {
		b = appendLine(b, &rows[i])
	}
	if n := strings.Count(string(b), "\n"); n != len(rows) {
		t.Fatalf("%d lines", n)
	}
	for i := range rows {
		var r archive.Row
		rest, mine, err := parseLine(b, rows[i].Context, &r)
		if err != nil || !mine || !reflect.DeepEqual(r, rows[i]) {
			t.Fatalf("%+v, %v, %v", r, mine, err)
		}
		if _, mine, err := parseLine(b, "other", &r); mine || err != nil {
			t.Fatal(mine, err)
		}
		b = rest
	}
}

func TestExtents(t *testing.T) {
	x := func(pairs ...uint64) (t table) {
		for i := 0; i < len(pairs); i += 2 {
			t = append(t, extent{context: "c", from: pairs[i], to: pairs[i+1]})
		}
		return t
	}
	known := x(3, 5, 6, 6, 10, 20)
	for _, c := range []struct{ add, want table }{
		{x(1, 2), x(1, 2)}, {x(1, 3), x(1, 2)}, {x(4, 6), nil}, {x(1, 30), x(1, 2, 7, 9, 21, 30)}, {x(7, 9), x(7, 9)},
		{x(10, 20), nil}, {x(20, 22), x(21, 22)}, {x(11, 12), nil}, {x(5, 11), x(7, 9)},
	} {
		if got := known.without(c.add[0]); !reflect.DeepEqual(got, c.want) {
			t.Errorf("without %v: %v, want %v", c.add, got, c.want)
		}
	}
	for _, c := range []struct {
		from, to uint64
		want     bool
	}{{3, 6, true}, {3, 7, false}, {2, 3, false}, {4, 4, true}, {10, 20, true}, {20, 21, false}, {30, 31, false}, {7, 9, false}} {
		if known.covers(c.from, c.to) != c.want {
			t.Errorf("covers %d to %d is not %v", c.from, c.to, c.want)
		}
	}
	for seq := uint64(0); seq < 25; seq++ {
		if want := seq >= 3 && seq <= 6 || seq >= 10 && seq <= 20; known.has(seq) != want {
			t.Errorf("has %d is not %v", seq, want)
		}
	}
}

// FuzzManifest: no input makes the decoder panic or take more memory than a small multiple of it, and what it takes it
// writes again.
func FuzzManifest(f *testing.F) {
	c := newCodec()
	body, err := c.unseal(manifestMagic, c.encodeManifest(sampleManifest()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := c.decodeManifest(c.seal(manifestMagic, body))
		if err != nil {
			return
		}
		again, err := c.decodeManifest(c.encodeManifest(m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v, then %+v, %v", m, again, err)
		}
	})
}

// FuzzLine: no line makes the parser panic, and what it takes it writes again.
func FuzzLine(f *testing.F) {
	for _, r := range sampleRows() {
		f.Add(appendLine(nil, &r), r.Context)
	}
	f.Fuzz(func(t *testing.T, b []byte, context string) {
		var r archive.Row
		_, mine, err := parseLine(b, context, &r)
		if err != nil || !mine || strings.ContainsFunc(context, func(c rune) bool { return c < ' ' }) {
			return
		}
		var again archive.Row
		if _, mine, err := parseLine(appendLine(nil, &r), context, &again); err != nil || !mine || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v, then %+v, %v", r, again, err)
		}
	})
}
