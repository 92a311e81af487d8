package place

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// What the tests share.

// The number of shards is written down twice, because place imports raft only.
func TestShardsAreThoseOfTheShardPackage(t *testing.T) {
	source, err := os.ReadFile("../../shard/hash.go")
	if want := fmt.Sprintf("\nconst Shards = %d\n", Shards); err != nil || !strings.Contains(string(source), want) {
		t.Fatalf("shard/hash.go does not say %q (%v)", want, err)
	}
}

// founders are n nodes named a, b, c ...
func founders(n int) []Node {
	var list []Node
	for i := range n {
		list = append(list, member(fmt.Sprintf("n%02d", i+1), 1))
	}
	return list
}

// member is a node by that name, on its nth disk.
func member(name string, disk int) Node {
	return Node{Name: name, Incarnation: fmt.Sprintf("%s-disk-%d", name, disk), Addr: name + ":4000"}
}

func genesis(t testing.TB, n int) *Genesis {
	t.Helper()
	g, err := NewGenesis("cluster-1", founders(n))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func do(t testing.TB, m *Map, c Command) Outcome {
	t.Helper()
	b, err := Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Apply(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.validate(); err != nil {
		t.Fatalf("after %#v: %v", c, err)
	}
	return out
}

func applied(t testing.TB, m *Map, c Command) Outcome {
	t.Helper()
	out := do(t, m, c)
	if out.Result != Applied {
		t.Fatalf("%#v: %v, %v", c, out.Result, out.Reason)
	}
	return out
}

// join adds a node on its nth disk and returns its id.
func join(t testing.TB, m *Map, name string, disk int) uint64 {
	t.Helper()
	n, old := member(name, disk), uint64(0)
	if o := m.ByName(name); o != nil {
		old = o.ID
	}
	return applied(t, m, &Join{Name: n.Name, Incarnation: n.Incarnation, Addr: n.Addr, Replaces: old}).ID
}

func all(uint64) bool  { return true }
func none(uint64) bool { return false }

func but(ids ...uint64) func(uint64) bool {
	return func(id uint64) bool { return !slices.Contains(ids, id) }
}

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// spreadOf returns the least and the largest number of shards that the active nodes have.
func spreadOf(m *Map) (least, most int) {
	least = Shards + 1
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.State == Active {
			l := m.Load(n.ID)
			least, most = min(least, l), max(most, l)
		}
	}
	return least, most
}

func TestCoordinator(t *testing.T) {
	m := genesis(t, 3).Map()
	for _, c := range []struct {
		live func(uint64) bool
		want uint64
	}{{all, 1}, {but(1), 2}, {but(1, 2), 3}, {none, 0}} {
		if got := Coordinator(m, c.live); got != c.want {
			t.Errorf("coordinator is %d, want %d", got, c.want)
		}
	}
	// By name, not by id: the wiped first node has the highest id and still the lowest name.
	id := join(t, m, "n01", 2)
	if got := Coordinator(m, all); got != id {
		t.Errorf("coordinator is %d, want the one with the lowest name, %d", got, id)
	}
	applied(t, m, &Drain{id})
	if got := Coordinator(m, all); got != id {
		t.Errorf("coordinator is %d; a draining node still coordinates, %d", got, id)
	}
}
