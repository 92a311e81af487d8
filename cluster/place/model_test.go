package place

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"fastpaca/raft"
)

// maxTestID is above all ids that a run gives out.
const maxTestID = 80

// group is a group of a cluster without its log: who is a member, who leads, and who has the log.
type group struct {
	number uint32
	conf   raft.Conf
	leader uint64   // 0: none
	caught []uint64 // ascending: who has everything that is committed
	steps  int
}

// quorum: more than half of each list of voters is alive and has the log.
func (g *group) quorum(live func(uint64) bool) bool {
	for _, half := range [...][]uint64{g.conf.Voters, g.conf.Outgoing} {
		n := 0
		for _, id := range half {
			if live(id) && has(g.caught, id) {
				n++
			}
		}
		if len(half) > 0 && n <= len(half)/2 {
			return false
		}
	}
	return true
}

// elect makes a live voter that has the log leader, if the present one is not.
func (g *group) elect(live func(uint64) bool) {
	if g.leader != 0 && live(g.leader) && g.conf.Voter(g.leader) {
		return
	}
	g.leader = 0
	for _, id := range g.conf.Voters {
		if live(id) && has(g.caught, id) {
			g.leader = id
			return
		}
	}
}

func (g *group) view(live func(uint64) bool) *MemberView {
	v := &MemberView{Self: g.leader, Conf: g.conf.Clone(), ConfCommitted: true, Commit: 10_000}
	for id := range uint64(maxTestID) {
		if g.conf.Member(id) {
			p := raft.PeerStatus{ID: id, Active: live(id), Learner: !g.conf.Voter(id)}
			if has(g.caught, id) {
				p.Match = 10_000
			}
			v.Peers = append(v.Peers, p)
		}
	}
	return v
}

// next makes the membership that cc makes, as raft does (thesis 4.3); an error where raft would refuse it.
func next(c raft.Conf, cc raft.ConfChange) (raft.Conf, error) {
	n := c.Clone()
	if c.Joint() {
		return n, fmt.Errorf("a change of the joint %s", c.String())
	}
	for _, ch := range cc.Changes {
		switch ch.Kind {
		case raft.AddVoter:
			n.Learners, n.Voters = with(n.Learners, ch.ID, 0), with(n.Voters, 0, ch.ID)
		case raft.AddLearner:
			n.Voters, n.Learners = with(n.Voters, ch.ID, 0), with(n.Learners, 0, ch.ID)
		case raft.RemoveNode:
			if !c.Member(ch.ID) {
				return n, fmt.Errorf("%d is no member", ch.ID)
			}
			n.Voters, n.Learners = with(n.Voters, ch.ID, 0), with(n.Learners, ch.ID, 0)
		}
	}
	if n.Equal(&c) || len(n.Voters) == 0 {
		return n, fmt.Errorf("%s becomes %s", c.String(), n.String())
	}
	moved := 0
	for _, id := range n.Voters {
		if !has(c.Voters, id) {
			moved++
		}
	}
	for _, id := range c.Voters {
		if !has(n.Voters, id) {
			moved++
		}
	}
	if moved > 1 {
		n.Outgoing, n.AutoLeave = slices.Clone(c.Voters), true
		for _, id := range slices.Clone(n.Learners) {
			if has(n.Outgoing, id) {
				n.Learners, n.LearnersNext = with(n.Learners, id, 0), with(n.LearnersNext, 0, id)
			}
		}
	}
	return n, n.Validate()
}

// step lets the leader do its next step. It fails the test for what raft would refuse and for what costs the
// group its quorum.
func (g *group) step(t testing.TB, m *Map, live func(uint64) bool) bool {
	t.Helper()
	g.elect(live)
	if g.leader == 0 || !g.quorum(live) {
		return false
	}
	if g.conf.Joint() { // the leader leaves it when it is committed
		for _, id := range g.conf.LearnersNext {
			g.conf.Learners = with(g.conf.Learners, 0, id)
		}
		g.conf.Outgoing, g.conf.LearnersNext, g.conf.AutoLeave = nil, nil, false
	} else {
		s, ok := NextConf(g.number, m, g.view(live))
		if !ok {
			return false
		}
		g.steps++
		if s.Transfer != 0 {
			if s.Transfer == g.leader || !g.conf.Voter(s.Transfer) || !live(s.Transfer) {
				t.Fatalf("group %d: %d hands over to %d in %s", g.number, g.leader, s.Transfer, g.conf.String())
			}
			g.leader = s.Transfer
			return true
		}
		before := g.conf.String()
		n, err := next(g.conf, s.Change)
		if err != nil {
			t.Fatalf("group %d: %s, %+v: %v", g.number, before, s, err)
		}
		for _, id := range n.Learners {
			if !g.conf.Member(id) {
				g.caught = with(g.caught, id, 0) // of an earlier membership: it starts from nothing
			}
		}
		g.conf = n
	}
	if !g.quorum(live) {
		t.Fatalf("group %d lost its quorum by its own doing: %s, caught up %v", g.number, g.conf.String(), g.caught)
	}
	if !g.conf.Joint() && !g.conf.Voter(g.leader) {
		t.Fatalf("group %d: %d removed itself: %s", g.number, g.leader, g.conf.String())
	}
	return true
}

// learn lets live members catch up, each with probability p.
func (g *group) learn(r *rand.Rand, live func(uint64) bool, p float64) {
	for id := range uint64(maxTestID) {
		if g.conf.Member(id) && live(id) && !has(g.caught, id) && r.Float64() < p {
			g.caught = with(g.caught, 0, id)
		}
	}
}

// TestNextConfConverges: from any membership, by way of any changes of the map in the middle, a group comes to what
// the map wants once its nodes are alive; never by a change that raft refuses, never by one that costs its quorum.
func TestNextConfConverges(t *testing.T) {
	for seed := range uint64(1000) {
		r := random(seed)
		pick := func(n int) (set []uint64) {
			for len(set) < n {
				set = with(set, 0, 1+r.Uint64N(8))
			}
			return set
		}
		m := genesis(t, 8).Map()
		g := &group{number: []uint32{0, Group}[r.IntN(2)], conf: raft.Conf{Voters: pick(1 + r.IntN(5))}}
		g.caught = slices.Clone(g.conf.Voters)
		for range r.IntN(3) {
			if id := 1 + r.Uint64N(8); !g.conf.Voter(id) {
				g.conf.Learners = with(g.conf.Learners, 0, id)
			}
		}
		var dead []uint64
		live := func(id uint64) bool { return !slices.Contains(dead, id) }
		for range r.IntN(30) {
			switch r.IntN(6) {
			case 0:
				set := pick(1 + r.IntN(5))
				if g.number == Group {
					m.Voters = set
				} else {
					m.Replicas[g.number] = set
				}
			case 1:
				dead = append(dead, 1+r.Uint64N(8))
				if !g.quorum(live) {
					dead = dead[:len(dead)-1]
				}
			case 2:
				dead = nil
			case 3:
				g.learn(r, live, 0.5)
			default:
				g.step(t, m, live)
			}
		}
		dead = nil
		quiet := 0
		for range 100 {
			g.learn(r, live, 0.5)
			if !g.step(t, m, live) {
				quiet++
			}
		}
		if !Settled(g.number, m, &g.conf) || quiet < 50 {
			t.Fatalf("seed %d: group %d is %s, wanted %v", seed, g.number, g.conf.String(), m.Set(g.number))
		}
	}
}

// cluster is a map and all groups.
type cluster struct {
	t      testing.TB
	r      *rand.Rand
	m      *Map
	groups [Group + 1]group
	dead   []uint64
	late   bool // the dead are past their grace time
	disks  int
	moves  int
}

func newCluster(t testing.TB, seed uint64, n int) *cluster {
	c := &cluster{t: t, r: random(seed), m: genesis(t, n).Map()}
	for g := range c.groups {
		conf := genesis(t, n).Conf(uint32(g))
		c.groups[g] = group{number: uint32(g), conf: conf, caught: slices.Clone(conf.Voters)}
	}
	return c
}

func (c *cluster) live(id uint64) bool  { return !slices.Contains(c.dead, id) && !c.m.Departed(id) }
func (c *cluster) grace(id uint64) bool { return c.late && slices.Contains(c.dead, id) }

func (c *cluster) settled(g uint32) bool { return Settled(g, c.m, &c.groups[g].conf) }

// kill stops a node, if every group can spare it.
func (c *cluster) kill(id uint64) bool {
	c.dead = append(c.dead, id)
	for g := range c.groups {
		if !c.groups[g].quorum(c.live) {
			c.dead = c.dead[:len(c.dead)-1]
			return false
		}
	}
	return true
}

// drained are the draining nodes that no set names and no group has: those that the coordinator removes.
func (c *cluster) drained() (ids []uint64) {
	for _, id := range c.members(Draining) {
		used := has(c.m.Voters, id) || has(c.groups[Group].conf.Voters, id) || has(c.groups[Group].conf.Outgoing, id)
		for g := range uint32(Shards) {
			used = used || has(c.m.Set(g), id) || c.groups[g].conf.Member(id)
		}
		if !used {
			ids = append(ids, id)
		}
	}
	return ids
}

// turn lets the coordinator and the leaders do one thing each. False: nobody had anything to do.
func (c *cluster) turn() bool {
	worked := false
	for _, mv := range Rebalance(c.m, c.live, c.grace, c.settled, 24) {
		applied(c.t, c.m, &mv.SetReplicas)
		c.moves++
		worked = true
	}
	for _, id := range c.drained() {
		applied(c.t, c.m, &Remove{id})
		worked = true
	}
	for g := range c.groups {
		gr := &c.groups[g]
		if c.r.IntN(4) > 0 {
			worked = gr.step(c.t, c.m, c.live) || worked
		} else {
			worked = true // it is slow this time
		}
		gr.learn(c.r, c.live, 0.5)
	}
	return worked
}

func (c *cluster) members(state State) (ids []uint64) {
	for i := range c.m.Nodes {
		if c.m.Nodes[i].State == state {
			ids = append(ids, c.m.Nodes[i].ID)
		}
	}
	return ids
}

func (c *cluster) event() {
	active := c.members(Active)
	pick := active[c.r.IntN(len(active))]
	switch c.r.IntN(6) {
	case 0:
		if len(active) < 9 {
			c.disks++
			join(c.t, c.m, fmt.Sprintf("j%04d", c.disks), 1)
		}
	case 1:
		if len(active)-len(c.dead) > 3 && c.live(pick) {
			applied(c.t, c.m, &Drain{pick})
		}
	case 2:
		if draining := c.members(Draining); len(draining) > 0 {
			applied(c.t, c.m, &Undrain{draining[0]})
		}
	case 3:
		if len(c.dead) == 0 && c.kill(pick) {
			c.late = c.r.IntN(2) == 0
		}
	case 4:
		c.dead, c.late = nil, false
	case 5: // the dead node comes back with an empty disk
		if len(c.dead) > 0 {
			if n := c.m.Node(c.dead[0]); n != nil && n.Member() {
				c.disks++
				join(c.t, c.m, n.Name, 1000+c.disks)
			}
			c.dead, c.late = nil, false
		}
	}
}

// TestClusterConverges: whatever sequence of joins, drains, deaths and wiped disks, no group ever loses its quorum
// through what the coordinator and the leaders do, and in the end everything is where the map wants it, evenly,
// after a number of moves that shows that nothing went to and fro.
func TestClusterConverges(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() || raceDetector {
		seeds = 6
	}
	for seed := range seeds {
		c := newCluster(t, seed, 1+int(seed%6))
		events := 0
		for range 40 {
			if c.r.IntN(3) == 0 {
				c.event()
				events++
			}
			c.turn()
		}
		// Peace. Whoever is dead stays dead in half of the runs.
		if len(c.dead) > 0 && c.r.IntN(2) == 0 {
			c.dead = nil
		}
		c.late = true
		turns := 0
		for idle := 0; idle < 20; turns++ {
			if turns > 2000 {
				t.Fatalf("seed %d: no end", seed)
			}
			if c.turn(); c.finished() {
				idle++
			} else {
				idle = 0
			}
		}
		c.check(seed)
		if limit := (events + 1) * Shards * Replicas; c.moves > limit {
			t.Errorf("seed %d: %d moves for %d events", seed, c.moves, events)
		}
	}
}

// finished: nobody wants anything.
func (c *cluster) finished() bool {
	for g := range c.groups {
		gr := &c.groups[g]
		gr.elect(c.live)
		if gr.conf.Joint() {
			return false
		}
		if _, ok := NextConf(gr.number, c.m, gr.view(c.live)); ok {
			return false
		}
	}
	return len(Rebalance(c.m, c.live, c.grace, c.settled, 24)) == 0 && len(c.drained()) == 0
}

func (c *cluster) check(seed uint64) {
	t := c.t
	if c.m.NextID > maxTestID {
		t.Fatalf("seed %d: raise maxTestID", seed)
	}
	var up []uint64
	for _, id := range c.members(Active) {
		if c.live(id) {
			up = append(up, id)
		}
	}
	if d := c.members(Draining); len(d) > 0 {
		t.Errorf("seed %d: %v never got empty", seed, d)
	}
	least, most := Shards, 0
	for _, id := range up {
		least, most = min(least, c.m.Load(id)), max(most, c.m.Load(id))
	}
	if most-least > 1 && len(up) >= Replicas {
		t.Errorf("seed %d: the nodes hold %d to %d replicas", seed, least, most)
	}
	for g := range c.groups {
		gr := &c.groups[g]
		if !slices.ContainsFunc(c.dead, gr.conf.Member) && !c.settled(gr.number) {
			t.Errorf("seed %d: group %d is %s, wanted %v", seed, g, gr.conf.String(), c.m.Set(uint32(g)))
		}
		want := min(Replicas, len(up))
		if len(c.dead) > 0 {
			want = min(2, want)
		}
		if n := len(gr.conf.Voters); n < want || gr.number < Group && n > Replicas || !gr.quorum(c.live) {
			t.Errorf("seed %d: group %d has %s with %d nodes up", seed, g, gr.conf.String(), len(up))
		}
	}
	lead := Leaders(c.m, c.live)
	count := countLeaders(lead)
	for _, id := range up {
		if n := count[id]; len(up) >= Replicas && (n < Shards/len(up)-1 || n > Shards/len(up)+1) {
			t.Errorf("seed %d: %d leads %d of %d nodes", seed, id, n, len(up))
		}
	}
}
