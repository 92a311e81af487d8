package place

import (
	"fmt"
	"slices"
	"testing"
)

// settle applies what Rebalance wants until it wants nothing, as if every group followed at once, and returns the
// moves.
func settle(t testing.TB, m *Map, live, graceOver func(uint64) bool, maxMoves int) (moves []Move) {
	t.Helper()
	for range 10 * Shards {
		list := Rebalance(m, live, graceOver, nil, maxMoves)
		if len(list) == 0 {
			return moves
		}
		if len(list) > maxMoves {
			t.Fatalf("%d moves at once, at most %d", len(list), maxMoves)
		}
		for i := range list {
			applied(t, m, &list[i].SetReplicas)
		}
		moves = append(moves, list...)
	}
	t.Fatal("Rebalance does not come to an end")
	return nil
}

// replicasMoved counts the replicas that were added anywhere.
func replicasMoved(moves []Move) (n int) {
	for _, mv := range moves {
		for _, id := range mv.To {
			if !has(mv.From, id) && mv.Group != Group {
				n++
			}
		}
	}
	return n
}

func checkEven(t testing.TB, m *Map) {
	t.Helper()
	if least, most := spreadOf(m); most-least > 1 {
		t.Fatalf("the nodes hold %d to %d replicas", least, most)
	}
}

func TestNothingToDo(t *testing.T) {
	for n := 1; n <= 9; n++ {
		if list := Rebalance(genesis(t, n).Map(), all, none, nil, 100); len(list) > 0 {
			t.Errorf("%d founders: %+v", n, list)
		}
	}
}

// A node that joins gets its share, and nothing else moves: the least possible.
func TestJoinMovesTheLeastPossible(t *testing.T) {
	for n := 3; n <= 12; n++ {
		m := genesis(t, n).Map()
		id := join(t, m, "new", 1)
		moves := settle(t, m, all, none, 7)
		share := Shards * Replicas / (n + 1)
		if got := replicasMoved(moves); got != share || m.Load(id) != share {
			t.Errorf("%d nodes and one: %d replicas moved, %d onto the new one, want %d", n, got, m.Load(id), share)
		}
		checkEven(t, m)
	}
}

// A node that goes has its replicas moved, and next to nothing else.
func TestLeaveMovesLittle(t *testing.T) {
	for n := 4; n <= 12; n++ {
		for _, how := range []string{"drain", "dead"} {
			m := genesis(t, n).Map()
			had := m.Load(2)
			live, grace := all, none
			if how == "drain" {
				applied(t, m, &Drain{2})
			} else {
				live, grace = but(2), func(id uint64) bool { return id == 2 }
			}
			moves := settle(t, m, live, grace, 7)
			if got := replicasMoved(moves); got > had+n {
				t.Errorf("%s, %d nodes: %d replicas moved, the node had %d", how, n, got, had)
			}
			// Of five nodes all vote on the map: for a dead one of those there is no spare.
			votes := n == 5 && how == "dead"
			if m.Load(2) > 0 || has(m.Voters, 2) != votes {
				t.Errorf("%s, %d nodes: the node still holds %d, voters %v", how, n, m.Load(2), m.Voters)
			}
			if how == "drain" {
				checkEven(t, m)
				applied(t, m, &Remove{2})
			}
		}
	}
}

func TestNoSpareNoReplacement(t *testing.T) {
	m := genesis(t, 3).Map()
	gone := func(id uint64) bool { return id == 2 }
	if moves := Rebalance(m, but(2), gone, nil, 10); len(moves) > 0 {
		t.Fatalf("a dead node was taken out without a spare: %+v", moves)
	}
	if moves := Rebalance(m, but(2), none, nil, 10); len(moves) > 0 {
		t.Fatalf("a dead node was taken out within its grace time: %+v", moves)
	}
	// The operator says that it will not come back: sets of two.
	applied(t, m, &Drain{2})
	settle(t, m, but(2), gone, 10)
	if m.Load(2) != 0 || len(m.Set(0)) != 2 || len(m.Voters) != 2 {
		t.Fatalf("drained: %d left, sets like %v, voters %v", m.Load(2), m.Set(0), m.Voters)
	}
}

// Two of three must agree. Taking the drained node out would leave a set that needs the dead one.
func TestDrainKeepsALiveMajority(t *testing.T) {
	m := genesis(t, 3).Map()
	applied(t, m, &Drain{3})
	if moves := Rebalance(m, but(2), none, nil, 10); len(moves) > 0 {
		t.Fatalf("%+v", moves)
	}
	settle(t, m, all, none, 10)
	if m.Load(3) != 0 || len(m.Set(0)) != 2 {
		t.Fatalf("%d left, sets like %v", m.Load(3), m.Set(0))
	}
}

// A drain waits for a spare that is only away for a moment.
func TestDrainWaitsForASpare(t *testing.T) {
	m := genesis(t, 4).Map()
	applied(t, m, &Drain{3})
	settle(t, m, but(4), none, 10)
	if n := m.Load(3); n == 0 || n == Shards {
		t.Fatalf("node 3 holds %d", n)
	}
	for s := range m.Replicas {
		if len(m.Replicas[s]) < Replicas {
			t.Fatalf("shard %d has only %v while node 4 is within its grace time", s, m.Replicas[s])
		}
	}
	settle(t, m, all, none, 10)
	if m.Load(3) != 0 {
		t.Fatalf("node 3 holds %d", m.Load(3))
	}
	checkEven(t, m)
}

func TestGrowFromOneToFive(t *testing.T) {
	m := genesis(t, 1).Map()
	for n, want := range []struct{ set, voters int }{1: {2, 2}, 2: {3, 3}, 3: {3, 3}, 4: {3, 5}} {
		if n == 0 {
			continue
		}
		join(t, m, fmt.Sprintf("m%02d", n), 1)
		settle(t, m, all, none, 16)
		checkEven(t, m)
		if len(m.Set(0)) != want.set || len(m.Voters) != want.voters {
			t.Fatalf("%d nodes: sets of %d, %d voters", n+1, len(m.Set(0)), len(m.Voters))
		}
	}
	for _, id := range []uint64{1, 3} {
		applied(t, m, &Drain{id})
		settle(t, m, all, none, 16)
		applied(t, m, &Remove{id})
		checkEven(t, m)
	}
	if len(m.Set(0)) != 3 || !slices.Equal(m.Voters, []uint64{2, 4, 5}) {
		t.Fatalf("sets of %d, voters %v", len(m.Set(0)), m.Voters)
	}
}

// Two at once: no set of two on the way, which would tolerate nothing.
func TestGrowFromOneToThreeAtOnce(t *testing.T) {
	m := genesis(t, 1).Map()
	join(t, m, "b", 1)
	join(t, m, "c", 1)
	for _, mv := range settle(t, m, all, none, 16) {
		if len(mv.To) != 3 {
			t.Fatalf("%+v", mv)
		}
	}
}

// The placement group must not depend on the dead either.
func TestDeadPlacementVoterIsReplaced(t *testing.T) {
	m := genesis(t, 4).Map()
	moves := Rebalance(m, but(1), func(id uint64) bool { return id == 1 }, nil, 4)
	if moves[0].Group != Group || !slices.Equal(moves[0].To, []uint64{2, 3, 4}) || moves[0].Why != "dead" {
		t.Fatalf("first move %+v", moves[0])
	}
}

// Groups that still move count, unless the node they wait for is dead.
func TestPacing(t *testing.T) {
	m := genesis(t, 3).Map()
	join(t, m, "n04", 1)
	first := Rebalance(m, all, none, nil, 8)
	for i := range first {
		applied(t, m, &first[i].SetReplicas)
	}
	moving := func(n int) func(uint32) bool {
		return func(g uint32) bool {
			return !slices.ContainsFunc(first[:n], func(mv Move) bool { return mv.Group == g })
		}
	}
	if len(first) != 8 {
		t.Fatalf("%d moves", len(first))
	}
	for n, want := range map[int]int{8: 0, 5: 3, 0: 8} {
		if got := Rebalance(m, all, none, moving(n), 8); len(got) != want {
			t.Errorf("%d groups move: %d more, want %d", n, len(got), want)
		}
	}
	// Node 4 dies: after the grace time its groups go back, though none of them is settled.
	back := Rebalance(m, but(4), func(id uint64) bool { return id == 4 }, moving(8), 8)
	if len(back) != 8 {
		t.Fatalf("%d moves", len(back))
	}
	for _, mv := range back {
		if has(mv.To, 4) || mv.Why != "dead" {
			t.Errorf("%+v", mv)
		}
	}
}

// A group whose new members die before they have anything is not lost: its old ones still are its voters.
func TestNewMembersDieBeforeTheyCatchUp(t *testing.T) {
	m := genesis(t, 1).Map()
	for _, name := range []string{"b", "c", "d"} {
		join(t, m, name, 1)
	}
	settle(t, m, all, none, 300)
	s := slices.IndexFunc(m.Replicas[:], func(set []uint64) bool { return slices.Equal(set, []uint64{2, 3, 4}) })
	if s < 0 {
		t.Fatal("no shard on 2, 3 and 4")
	}
	unsettled := func(g uint32) bool { return g != uint32(s) }
	for range 3 {
		for _, mv := range Rebalance(m, but(2, 3), func(id uint64) bool { return id == 2 || id == 3 }, unsettled, 300) {
			applied(t, m, &mv.SetReplicas)
		}
	}
	if set := m.Set(uint32(s)); !has(set, 1) || !has(set, 4) {
		t.Fatalf("shard %d wants %v", s, set)
	}
}

// For evenness' sake nothing moves that has a dead member or is moving already.
func TestSpreadLeavesTheTroubledAlone(t *testing.T) {
	m := genesis(t, 4).Map()
	join(t, m, "n05", 1)
	odd := func(g uint32) bool { return g%2 == 1 }
	moves := Rebalance(m, but(2), none, odd, 1000)
	if len(moves) == 0 {
		t.Fatal("nothing moves")
	}
	for _, mv := range moves {
		if mv.Group != Group && (has(mv.From, 2) || !odd(mv.Group)) {
			t.Errorf("%+v", mv)
		}
	}
}

// A node drains, its successor dies before it has the log, and there is no other: the drain must not wait for the dead.
func TestDrainDoesNotWaitForADeadSuccessor(t *testing.T) {
	m := genesis(t, 4).Map()
	m.Replicas[0] = []uint64{2, 3, 4} // and its members are still 1, 3 and 4
	applied(t, m, &Drain{1})
	late := func(id uint64) bool { return id == 2 }
	settled := func(g uint32) bool { return g != 0 }
	find := func(moves []Move) []uint64 {
		for _, mv := range moves {
			if mv.Group == 0 {
				return mv.To
			}
		}
		return nil
	}
	if to := find(Rebalance(m, but(2), none, settled, 1000)); to != nil {
		t.Errorf("within its grace time: %v", to)
	}
	if to := find(Rebalance(m, but(2), late, settled, 1000)); !slices.Equal(to, []uint64{3, 4}) {
		t.Errorf("after it: %v", to)
	}
	if to := find(Rebalance(m, but(2), late, nil, 1000)); to != nil {
		t.Errorf("where it has the log: %v", to)
	}
}
