package place

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files: only for a new format version")

// golden compares encodings with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	text := []byte(hex.Dump(got))
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s: the format changed; logs and snapshots out there have the old one.\ngot\n%s\nwant\n%s", path, text, want)
	}
}

var commands = []Command{
	&Join{Name: "node-b", Incarnation: "7b0c", Addr: "10.0.0.2:4000", Replaces: 2},
	&SetAddress{ID: 3, From: "a:4000", To: "b:4000"},
	&Drain{ID: 0x0102030405060708},
	&Undrain{ID: 4},
	&Remove{ID: 5},
	&SetReplicas{Group: 255, From: []uint64{1, 2, 3}, To: []uint64{1, 3, 6}},
}

func TestCommandEncoding(t *testing.T) {
	var stream []byte
	for _, c := range commands {
		b, err := Append(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%#v became %#v, %v", c, got, err)
		}
		for n := range b {
			if _, err := Decode(b[:n]); err == nil {
				t.Errorf("%#v: %d of %d bytes were accepted", c, n, len(b))
			}
		}
		if _, err := Decode(append(b, 0)); err == nil {
			t.Errorf("%#v: a byte too many was accepted", c)
		}
		b[0]++
		if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), "upgrade") {
			t.Errorf("%#v: version 2: %v", c, err)
		}
		b[0]--
		stream = append(stream, b...)
	}
	golden(t, "commands.golden", stream)
}

func TestSnapshotEncoding(t *testing.T) {
	m := genesis(t, 5).Map()
	join(t, m, "n03", 2)
	applied(t, m, &Drain{2})
	b := m.AppendSnapshot(nil)
	golden(t, "map.golden", b)
	golden(t, "genesis.golden", AppendGenesis(nil, genesis(t, 2)))

	got, err := LoadMap(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("the map came back different, %v", err)
	}
	for n := range b {
		if _, err := LoadMap(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(b))
		}
	}
	g := genesis(t, 4)
	back, err := DecodeGenesis(AppendGenesis(nil, g))
	if err != nil || !back.Equal(g) {
		t.Fatalf("%+v, %v", back, err)
	}
}

// The largest map there can be.
func TestSnapshotIsSmall(t *testing.T) {
	pad := func(s string, n int) string { return s + strings.Repeat("x", n-len(s)) }
	m := &Map{Version: maxID, NextID: maxID, ClusterID: pad("", MaxClusterID)}
	for i := range MaxNodes + MaxRemoved {
		n := Node{ID: uint64(i) + 1, Name: pad(fmt.Sprint(i), MaxName), Incarnation: pad(fmt.Sprint(i), MaxIncarnation), State: Removed}
		if i >= MaxRemoved {
			n.State, n.Addr = Active, pad("", MaxAddr)
		}
		m.Nodes = append(m.Nodes, n)
	}
	set := []uint64{MaxRemoved + 1, MaxRemoved + 2, MaxRemoved + 3, MaxRemoved + 4, MaxRemoved + 5}
	for s := range m.Replicas {
		m.Replicas[s] = set
	}
	m.Voters = set
	b := m.AppendSnapshot(nil)
	if len(b) >= 60<<10 {
		t.Errorf("%d bytes", len(b))
	}
	if _, err := LoadMap(b); err != nil {
		t.Error(err)
	}
}

func FuzzApply(f *testing.F) {
	for _, c := range commands {
		b, _ := Append(nil, c)
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m := genesis(t, 5).Map()
		for _, cmd := range [][]byte{a, b} {
			before := m.AppendSnapshot(nil)
			c, err := Decode(cmd)
			if err == nil {
				if again, _ := Append(nil, c); !bytes.Equal(again, cmd) {
					t.Fatalf("%x and %x are the same command", cmd, again)
				}
			}
			out, err := m.Apply(cmd)
			after := m.AppendSnapshot(nil)
			if (err != nil || out.Result != Applied) && !bytes.Equal(before, after) {
				t.Fatalf("%x changed the map and was not applied", cmd)
			}
			if _, err := LoadMap(after); err != nil {
				t.Fatalf("%x: %v", cmd, err)
			}
		}
	})
}

func FuzzLoadMap(f *testing.F) {
	f.Add(genesis(f, 3).Map().AppendSnapshot(nil))
	m := genesis(f, 5).Map()
	join(f, m, "n01", 2)
	f.Add(m.AppendSnapshot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := LoadMap(b)
		if err != nil {
			return
		}
		if again := m.AppendSnapshot(nil); !bytes.Equal(again, b) {
			t.Fatal("two encodings of one map")
		}
		Rebalance(m, all, none, nil, 16)
		Leaders(m, all)
	})
}

func FuzzDecodeGenesis(f *testing.F) {
	f.Add(AppendGenesis(nil, genesis(f, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := DecodeGenesis(b)
		if err != nil {
			return
		}
		if again := AppendGenesis(nil, g); !bytes.Equal(again, b) {
			t.Fatal("two encodings of one genesis")
		}
		if err := g.Map().validate(); err != nil {
			t.Fatal(err)
		}
	})
}
