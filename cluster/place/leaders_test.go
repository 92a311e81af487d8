package place

import (
	"slices"
	"testing"
)

func countLeaders(lead [Shards]uint64) map[uint64]int {
	n := map[uint64]int{}
	for _, id := range lead {
		n[id]++
	}
	return n
}

func TestLeadersAreEven(t *testing.T) {
	for n := 1; n <= 12; n++ {
		m := genesis(t, n).Map()
		lead := Leaders(m, all)
		if lead != Leaders(m.Clone(), all) {
			t.Fatal("not deterministic")
		}
		count := countLeaders(lead)
		for id := uint64(1); id <= uint64(n); id++ {
			if c := count[id]; c < Shards/n || c > Shards/n+1 {
				t.Errorf("%d nodes: %d leads %d", n, id, c)
			}
		}
		for s, id := range lead {
			if !has(m.Replicas[s], id) {
				t.Fatalf("shard %d is led by %d, its set is %v", s, id, m.Replicas[s])
			}
		}
	}
}

func TestLeadersWhoAreNotEligible(t *testing.T) {
	for n := 3; n <= 9; n++ {
		m := genesis(t, n).Map()
		count := countLeaders(Leaders(m, but(2)))
		for id := uint64(1); id <= uint64(n); id++ {
			if c := count[id]; id == 2 && c != 0 || id != 2 && (c < Shards/(n-1) || c > Shards/(n-1)+1) {
				t.Errorf("%d nodes without 2: %d leads %d", n, id, c)
			}
		}
	}
	m := genesis(t, 3).Map()
	if got := Leaders(m, none); got != [Shards]uint64{} {
		t.Errorf("nobody is eligible, %v lead", countLeaders(got))
	}
}

// Where the sets do not allow an even spread, the result is still the best there is: compared with a search that
// raises the limit per node until all shards fit.
func TestLeadersAreOptimal(t *testing.T) {
	r := random(1)
	for range 200 {
		m := genesis(t, 6).Map()
		for s := range m.Replicas {
			var set []uint64
			for range 1 + r.IntN(3) {
				set = with(set, 0, 1+min(r.Uint64N(6), r.Uint64N(6)))
			}
			m.Replicas[s] = set
		}
		most := 0
		for _, c := range countLeaders(Leaders(m, all)) {
			most = max(most, c)
		}
		limit := Shards / 6
		for !fits(m, limit) {
			limit++
		}
		if most != limit {
			t.Fatalf("somebody leads %d, possible is at most %d", most, limit)
		}
	}
}

// fits: every shard can have a leader with nobody leading more than limit (bipartite matching by augmenting paths).
func fits(m *Map, limit int) bool {
	leads := map[uint64][]int{}
	var place func(s int, seen map[uint64]bool) bool
	place = func(s int, seen map[uint64]bool) bool {
		for _, id := range m.Replicas[s] {
			if seen[id] {
				continue
			}
			seen[id] = true
			if len(leads[id]) < limit {
				leads[id] = append(leads[id], s)
				return true
			}
			for i, other := range leads[id] {
				if place(other, seen) {
					leads[id][i] = s
					return true
				}
			}
		}
		return false
	}
	for s := range m.Replicas {
		if !place(s, map[uint64]bool{}) {
			return false
		}
	}
	return true
}

// Small changes move few leaders: a leader that moves costs its clients a moment.
func TestLeadersAreStable(t *testing.T) {
	changed := func(a, b [Shards]uint64) (n int) {
		for s := range a {
			if a[s] != b[s] {
				n++
			}
		}
		return n
	}
	for n := 4; n <= 9; n++ {
		m := genesis(t, n).Map()
		base := Leaders(m, all)
		worst := 0
		for s := range uint32(Shards) {
			set := m.Replicas[s]
			var out uint64
			for id := uint64(1); id <= uint64(n) && out == 0; id++ {
				if !has(set, id) {
					out = id
				}
			}
			c := m.Clone()
			applied(t, c, &SetReplicas{s, set, with(set, set[0], out)})
			worst = max(worst, changed(base, Leaders(c, all)))
		}
		if worst > 12 {
			t.Errorf("%d nodes: a change of one set moved %d leaders", n, worst)
		}
		led := countLeaders(base)[2]
		if got := changed(base, Leaders(m, but(2))); got > led+led/2 {
			t.Errorf("%d nodes: 2 died, which led %d, and %d leaders changed", n, led, got)
		}
	}
	// A wiped disk comes back under another id.
	m := genesis(t, 5).Map()
	base := Leaders(m, all)
	join(t, m, "n02", 2)
	m2 := Leaders(m, all)
	if got := changed(base, m2); got > 2*Shards/5+20 {
		t.Errorf("a new id moved %d leaders", got)
	}
	if !slices.Contains(m2[:], uint64(6)) {
		t.Error("the new node leads nothing")
	}
}
