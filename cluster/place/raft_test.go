package place

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"fastpaca/raft"
)

// NextConf against real groups of package raft: nodes in memory, a disk that is always fast, a network that
// delivers what is addressed to a live node. Steps go through raft's own checks, elections and joint memberships.

// replica is a node with a group and what it persisted.
type replica struct {
	id      uint64
	g       *raft.Group
	rd      raft.Ready
	log     []raft.Entry // all that was ever persisted, the newest of each index
	applied []string
	down    bool
}

// net is a group, its nodes, and the network between them.
type net struct {
	t     testing.TB
	m     *Map
	group uint32
	seed  uint64
	nodes []*replica
	sent  int
	steps int
	why   string // of the steps, for messages
}

func newNet(t testing.TB, seed uint64, m *Map, group uint32, conf raft.Conf) *net {
	n := &net{t: t, m: m, group: group, seed: seed}
	for i := range m.Nodes {
		n.add(m.Nodes[i].ID, conf)
	}
	return n
}

// add starts a node; one that is no member of conf has an empty membership, as in a cluster.
func (n *net) add(id uint64, conf raft.Conf) {
	if !conf.Member(id) {
		conf = raft.Conf{}
	}
	rand := random(n.seed*1000 + id)
	g, err := raft.New(raft.Config{
		ID: id, Group: n.group, ElectionTicks: 10, HeartbeatTicks: 2, RetainBytes: 1 << 20, Rand: rand.Uint64,
	}, raft.Restored{Snapshot: raft.SnapshotMeta{Conf: conf}})
	if err != nil {
		n.t.Fatal(err)
	}
	n.nodes = append(n.nodes, &replica{id: id, g: g})
}

func (n *net) node(id uint64) *replica {
	for _, x := range n.nodes {
		if x.id == id {
			return x
		}
	}
	return nil
}

// run exchanges messages until nobody has anything to say.
func (n *net) run() {
	for worked := true; worked; {
		worked = false
		for _, x := range n.nodes {
			for !x.down && x.g.HasReady() {
				worked = true
				n.ready(x)
			}
		}
	}
}

func (n *net) ready(x *replica) {
	x.g.Ready(&x.rd)
	for _, e := range x.rd.Entries {
		x.log = append(x.log[:e.Index-1], e)
	}
	for _, e := range x.rd.Committed {
		if e.Kind == raft.KindNormal {
			x.applied = append(x.applied, string(e.Data))
		}
		x.g.Applied(e.Index)
	}
	var out []raft.Message
	for _, m := range x.rd.Messages {
		m.Entries = slices.Clone(m.Entries)
		out = append(out, m)
	}
	need := slices.Clone(x.rd.Need)
	if x.rd.MustSync {
		x.g.Persisted(x.rd.Mark)
	}
	for _, q := range need {
		x.g.Supply(q.To, x.log[q.Lo-1:min(q.Hi-1, uint64(len(x.log)))])
	}
	for i := range out {
		to := n.node(out[i].To)
		if to == nil || to.down {
			continue
		}
		if err := to.g.Step(&out[i]); err != nil {
			n.t.Fatalf("seed %d: %d: %v", n.seed, to.id, err)
		}
	}
}

func (n *net) tick() {
	for _, x := range n.nodes {
		if !x.down {
			x.g.Tick()
		}
	}
	n.run()
}

// leader is the live leader of the latest term.
func (n *net) leader() *replica {
	var best *replica
	for _, x := range n.nodes {
		if !x.down && x.g.IsLeader() && (best == nil || x.g.Term() > best.g.Term()) {
			best = x
		}
	}
	return best
}

// step lets the leader write something and do what NextConf says.
func (n *net) step() {
	x := n.leader()
	if x == nil {
		return
	}
	data := fmt.Sprint(n.sent)
	if _, _, err := x.g.Propose(raft.KindNormal, []byte(data)); err == nil {
		n.sent++
	}
	st := x.g.Status()
	v := &MemberView{Self: x.id, Conf: x.g.Conf(), ConfCommitted: st.ConfCommitted, Commit: st.Commit, Transferee: st.Transferee, Peers: x.g.Peers(nil)}
	s, ok := NextConf(n.group, n.m, v)
	if !ok {
		return
	}
	n.steps++
	n.why += " " + printStep(s, ok)
	var err error
	if s.Transfer != 0 {
		err = x.g.Transfer(s.Transfer)
	} else {
		_, _, err = x.g.ProposeConf(s.Change)
	}
	if err != nil && !errors.Is(err, raft.ErrConfPending) {
		n.t.Fatalf("seed %d: raft refuses %s in %s: %v", n.seed, printStep(s, ok), v.Conf.String(), err)
	}
}

// quorum: every membership that some node knows as its newest has a majority in both halves that is alive and not
// the node without.
func (n *net) quorum(without uint64) bool {
	for _, x := range n.nodes {
		c := x.g.Conf()
		for _, half := range [...][]uint64{c.Voters, c.Outgoing} {
			up := 0
			for _, id := range half {
				if y := n.node(id); !y.down && id != without {
					up++
				}
			}
			if len(half) > 0 && up <= len(half)/2 {
				return false
			}
		}
	}
	return true
}

func TestNextConfOnRaft(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() || raceDetector {
		seeds = 30
	}
	steps := 0
	for seed := range seeds {
		r := random(seed)
		m := genesis(t, 7).Map()
		pick := func() (set []uint64) {
			for want := 1 + r.IntN(5); len(set) < want; {
				set = with(set, 0, 1+r.Uint64N(7))
			}
			return set
		}
		group := []uint32{3, Group}[r.IntN(2)]
		want := func(set []uint64) {
			if group == Group {
				m.Voters = set
			} else {
				m.Replicas[group] = set
			}
		}
		n := newNet(t, seed, m, group, raft.Conf{Voters: pick()})
		want(pick())
		for range 150 {
			switch r.IntN(10) {
			case 0:
				want(pick())
			case 1:
				if x := n.nodes[r.IntN(len(n.nodes))]; n.quorum(x.id) {
					x.down = true
				}
			case 2, 3:
				for _, x := range n.nodes {
					x.down = false
				}
			case 4, 5, 6:
				n.step()
			}
			n.tick()
		}
		for _, x := range n.nodes {
			x.down = false
		}
		for range 400 {
			n.step()
			n.tick()
		}
		x := n.leader()
		if x == nil {
			t.Fatalf("seed %d: nobody leads", seed)
		}
		c := x.g.Conf()
		if !Settled(group, m, &c) || !c.Voter(x.id) {
			t.Fatalf("seed %d: group %d is %s, led by %d, wanted %v, after%s", seed, group, c.String(), x.id, m.Set(group), n.why)
		}
		before := n.steps
		for range 50 {
			n.step()
			n.tick()
		}
		if n.steps != before {
			t.Errorf("seed %d: %d steps where nothing is to be done", seed, n.steps-before)
		}
		// Nothing that was committed anywhere is lost on the way.
		for _, y := range n.nodes {
			if k := len(y.applied); k > len(x.applied) || !slices.Equal(x.applied[:k], y.applied) {
				t.Errorf("seed %d: %d applied what leader %d did not", seed, y.id, x.id)
			}
		}
		steps += n.steps
	}
	if steps < 5*int(seeds) {
		t.Errorf("only %d steps in %d runs: the test tests nothing", steps, seeds)
	}
}
