package place

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	wiped, fresh := member("n02", 2), member("n04", 1)
	type step struct {
		cmd    Command
		result Result
		reason Reason
	}
	for _, c := range []struct {
		name  string
		nodes int
		steps []step
	}{
		{"join", 3, []step{{&Join{Name: "n04", Incarnation: "x", Addr: "h:1"}, Applied, 0}}},
		{"join again is the same node", 3, []step{
			{&Join{Name: "n04", Incarnation: "x", Addr: "h:1"}, Applied, 0},
			{&Join{Name: "n04", Incarnation: "x", Addr: "h:1"}, Applied, 0},
		}},
		{"join under a name that is taken", 3, []step{
			{&Join{Name: "n02", Incarnation: wiped.Incarnation, Addr: wiped.Addr}, Conflict, 0},
		}},
		{"join replaces who is no more", 3, []step{
			{&Join{Name: fresh.Name, Incarnation: fresh.Incarnation, Addr: fresh.Addr, Replaces: 2}, Conflict, 0},
		}},
		{"join replaces the wrong one", 3, []step{
			{&Join{Name: "n02", Incarnation: wiped.Incarnation, Addr: wiped.Addr, Replaces: 1}, Conflict, 0},
		}},
		{"join with a copied directory", 3, []step{
			{&Join{Name: "n04", Incarnation: "n02-disk-1", Addr: "h:1"}, Refused, IncarnationInUse},
		}},
		{"a wiped disk, and its former self", 3, []step{
			{&Join{Name: "n02", Incarnation: wiped.Incarnation, Addr: wiped.Addr, Replaces: 2}, Applied, 0},
			{&Join{Name: "n02", Incarnation: "n02-disk-1", Addr: wiped.Addr, Replaces: 4}, Refused, NodeRemoved},
		}},
		{"address", 3, []step{
			{&SetAddress{ID: 2, From: "n02:4000", To: "other:4000"}, Applied, 0},
			{&SetAddress{ID: 2, From: "n02:4000", To: "other:4000"}, Applied, 0},
			{&SetAddress{ID: 2, From: "n02:4000", To: "late:4000"}, Conflict, 0},
			{&SetAddress{ID: 9, From: "n02:4000", To: "late:4000"}, Refused, NoSuchNode},
		}},
		{"drain", 2, []step{
			{&Drain{1}, Applied, 0}, {&Drain{1}, Applied, 0}, {&Drain{2}, Refused, LastActive},
			{&Undrain{1}, Applied, 0}, {&Undrain{1}, Applied, 0}, {&Drain{2}, Applied, 0}, {&Drain{7}, Refused, NoSuchNode},
			{&Undrain{7}, Refused, NoSuchNode},
		}},
		{"remove", 3, []step{
			{&Remove{3}, Refused, NotDraining}, {&Drain{3}, Applied, 0}, {&Remove{3}, Refused, HoldsReplicas}, {&Remove{9}, Refused, NoSuchNode},
		}},
		{"remove one that joined and never held anything", 3, []step{
			{&Join{Name: "n04", Incarnation: "x", Addr: "h:1"}, Applied, 0},
			{&Drain{4}, Applied, 0}, {&Remove{4}, Applied, 0}, {&Remove{4}, Applied, 0},
			{&Drain{4}, Refused, NodeRemoved}, {&Undrain{4}, Refused, NodeRemoved}, {&SetAddress{ID: 4, From: "h:1", To: "h:2"}, Refused, NodeRemoved},
			{&Join{Name: "n04", Incarnation: "x", Addr: "h:1"}, Refused, NodeRemoved},
			{&Join{Name: "n04", Incarnation: "y", Addr: "h:1"}, Applied, 0},
		}},
		{"replicas", 3, []step{
			{&Join{Name: "n04", Incarnation: "x", Addr: "h:1"}, Applied, 0},
			{&SetReplicas{0, []uint64{1, 2, 3}, []uint64{1, 2, 4}}, Applied, 0},
			{&SetReplicas{0, []uint64{1, 2, 3}, []uint64{1, 2, 4}}, Applied, 0},
			{&SetReplicas{0, []uint64{1, 2, 3}, []uint64{2, 3, 4}}, Conflict, 0},
			{&SetReplicas{0, []uint64{1, 2, 4}, []uint64{1, 2, 5}}, Refused, BadSet},
			{&Drain{4}, Applied, 0},
			{&SetReplicas{0, []uint64{1, 2, 4}, []uint64{1, 3, 4}}, Applied, 0},
			{&SetReplicas{1, []uint64{1, 2, 3}, []uint64{1, 2, 4}}, Refused, BadSet},
			{&SetReplicas{Group, []uint64{1, 2, 3}, []uint64{1, 2}}, Applied, 0},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := genesis(t, c.nodes).Map()
			for i, s := range c.steps {
				before := m.AppendSnapshot(nil)
				out := do(t, m, s.cmd)
				if out.Result != s.result || out.Reason != s.reason {
					t.Fatalf("step %d, %#v: %v %v, want %v %v", i, s.cmd, out.Result, out.Reason, s.result, s.reason)
				}
				if s.result != Applied && !slices.Equal(before, m.AppendSnapshot(nil)) {
					t.Fatalf("step %d: a command that was not applied changed the map", i)
				}
				// Again: nothing changes, and no other id is given.
				if s.result == Applied {
					before = m.AppendSnapshot(nil)
					if again := do(t, m, s.cmd); again.Result == Applied && again.ID != out.ID || !slices.Equal(before, m.AppendSnapshot(nil)) {
						t.Fatalf("step %d: applied twice, it changed the map again", i)
					}
				}
			}
		})
	}
}

// A wiped disk: one command puts the new incarnation where the old one was, everywhere, and the old id is gone.
func TestJoinOfAWipedDiskTakesTheOldPlace(t *testing.T) {
	m := genesis(t, 5).Map()
	before := m.Clone()
	version := m.Version
	id := join(t, m, "n02", 2)
	if id != 6 || m.NextID != 7 || m.Version != version+1 {
		t.Fatalf("id %d, next %d, version %d", id, m.NextID, m.Version)
	}
	for g := range uint32(Group + 1) {
		was, is := before.Set(g), m.Set(g)
		if want := with(was, 2, 6); has(was, 2) && !slices.Equal(is, want) || !has(was, 2) && !slices.Equal(is, was) {
			t.Fatalf("group %d: %v became %v", g, was, is)
		}
	}
	if n := m.Node(2); n.State != Removed || !m.Departed(2) || m.Departed(6) || m.Departed(7) {
		t.Fatalf("the old node is %v", n.State)
	}
	if n := m.ByName("n02"); n == nil || n.ID != 6 || n.State != Active {
		t.Fatalf("n02 is %+v", n)
	}
	if before.Node(2).State != Active || before.ByName("n02").ID != 2 {
		t.Fatal("the clone changed with the original")
	}
}

func TestBounds(t *testing.T) {
	m := genesis(t, 3).Map()
	for i := 4; i <= MaxNodes; i++ {
		join(t, m, fmt.Sprintf("n%02d", i), 1)
	}
	if out := do(t, m, &Join{Name: "more", Incarnation: "more", Addr: "more:1"}); out.Reason != TooManyNodes {
		t.Fatalf("node %d: %v %v", MaxNodes+1, out.Result, out.Reason)
	}
	// Wiping a disk needs no room, and tombstones do not add up for ever.
	for i := range 3 * MaxRemoved {
		join(t, m, "n01", i+2)
	}
	if len(m.Nodes) != MaxNodes+MaxRemoved {
		t.Fatalf("%d nodes in the map", len(m.Nodes))
	}
	if !m.Departed(1) || m.Node(1) != nil {
		t.Fatal("the oldest tombstone should be forgotten, its id still be known as given away")
	}
	long := strings.Repeat("x", 256)
	for _, c := range []Command{
		&Join{Name: "", Incarnation: "x", Addr: "x"}, &Join{Name: long[:MaxName+1], Incarnation: "x", Addr: "x"},
		&Join{Name: "x", Incarnation: long[:MaxIncarnation+1], Addr: "x"}, &Join{Name: "x", Incarnation: "x", Addr: long},
		&SetAddress{ID: 1, From: "", To: "x"}, &SetAddress{ID: 1, From: "x", To: long},
		&SetReplicas{Group + 1, []uint64{1}, []uint64{2}}, &SetReplicas{0, []uint64{1}, nil}, &SetReplicas{0, []uint64{2, 1}, []uint64{1}},
		&SetReplicas{0, []uint64{1}, []uint64{0}}, &SetReplicas{0, []uint64{1}, []uint64{1, 2, 3, 4, 5, 6}},
	} {
		if _, err := Append(nil, c); err == nil {
			t.Errorf("%#v was encoded", c)
		}
	}
}

func TestGenesis(t *testing.T) {
	list := founders(3)
	slices.Reverse(list)
	g, err := NewGenesis("c", list)
	if err != nil {
		t.Fatal(err)
	}
	if g.Nodes[0].Name != "n01" || g.Nodes[0].ID != 1 || g.Nodes[2].ID != 3 {
		t.Fatalf("founders are not numbered by name: %+v", g.Nodes)
	}
	for group, want := range map[uint32]string{0: "voters=(1 2 3)", 255: "voters=(1 2 3)", Group: "voters=(1 2 3)"} {
		if c := g.Conf(group); c.String() != want {
			t.Errorf("group %d: %s", group, c.String())
		}
	}
	for n, want := range map[int]string{
		1: "voters=(1)", 2: "voters=(1 2)", 4: "voters=(1 2 3) learners=(4)", 5: "voters=(1 2 3 4 5)", 7: "voters=(1 2 3 4 5) learners=(6 7)",
	} {
		c := genesis(t, n).Conf(Group)
		if c.String() != want || c.Validate() != nil {
			t.Errorf("placement group of %d founders: %s", n, c.String())
		}
	}
	for i, bad := range [][]Node{nil, {list[0], list[0]}, {{Name: "a", Incarnation: "i", Addr: "x"}, {Name: "b", Incarnation: "i", Addr: "y"}}, founders(65)} {
		if _, err := NewGenesis("c", bad); err == nil {
			t.Errorf("founders %d were accepted", i)
		}
	}
	if c := genesis(t, 64).Conf(Group); c.Validate() != nil {
		t.Errorf("raft refuses the placement group of %d nodes: %v", MaxNodes, c.Validate())
	}
}
