package place

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fastpaca/raft"
)

func printStep(s Step, ok bool) string {
	if !ok {
		return "-"
	}
	if s.Transfer != 0 {
		return fmt.Sprintf("%s to %d", s.Why, s.Transfer)
	}
	text := []string{s.Why}
	for _, c := range s.Change.Changes {
		text = append(text, fmt.Sprintf("%s%d", [...]string{"voter+", "learner+", "-"}[c.Kind], c.ID))
	}
	return strings.Join(text, " ")
}

// placed is a map of nodes 1 to n in which group 0 wants set.
func placed(t *testing.T, n int, set ...uint64) *Map {
	t.Helper()
	m := genesis(t, n).Map()
	m.Replicas[0] = set
	return m
}

func TestNextConf(t *testing.T) {
	const commit = 1000
	conf := func(voters ...uint64) raft.Conf { return raft.Conf{Voters: voters} }
	learning := func(c raft.Conf, learners ...uint64) raft.Conf { c.Learners = learners; return c }
	joint := raft.Conf{Voters: []uint64{1, 2, 4}, Outgoing: []uint64{1, 2, 3}}
	left := joint
	left.AutoLeave = true
	for _, c := range []struct {
		name   string
		set    []uint64
		self   uint64
		conf   raft.Conf
		behind []uint64 // not caught up
		dead   []uint64 // not heard of lately
		want   string
	}{
		{"done", []uint64{1, 2, 3}, 1, conf(1, 2, 3), nil, nil, "-"},
		{"done, with a dead voter", []uint64{1, 2, 3}, 1, conf(1, 2, 3), nil, []uint64{3}, "-"},
		{"one is missing", []uint64{1, 2, 4}, 1, conf(1, 2, 3), nil, nil, "learners learner+4"},
		{"two are missing", []uint64{1, 2, 3}, 1, conf(1), nil, nil, "learners learner+2 learner+3"},
		{"it learns", []uint64{1, 2, 4}, 1, learning(conf(1, 2, 3), 4), []uint64{4}, nil, "-"},
		{"it died while it learned", []uint64{1, 2, 4}, 1, learning(conf(1, 2, 3), 4), nil, []uint64{4}, "-"},
		{"it has caught up", []uint64{1, 2, 4}, 1, learning(conf(1, 2, 3), 4), nil, nil, "swap voter+4 -3"},
		{"the map wants another one now", []uint64{1, 2, 5}, 1, learning(conf(1, 2, 3), 4), nil, nil, "learners learner+5 -4"},
		{"the map wants the old one again", []uint64{1, 2, 3}, 1, learning(conf(1, 2, 3), 4), []uint64{4}, nil, "learners -4"},
		{"one of two has caught up", []uint64{1, 2, 3}, 1, learning(conf(1), 2, 3), []uint64{3}, nil, "-"},
		{"grow", []uint64{1, 2, 3}, 1, learning(conf(1), 2, 3), nil, nil, "swap voter+2 voter+3"},
		{"shrink", []uint64{1, 2}, 1, conf(1, 2, 3), nil, nil, "swap -3"},
		{"shrink onto the dead", []uint64{1, 2}, 1, conf(1, 2, 3), nil, []uint64{2}, "-"},
		{"the dead one is replaced", []uint64{1, 2, 4}, 1, learning(conf(1, 2, 3), 4), nil, []uint64{3}, "swap voter+4 -3"},
		{"one of those that stay is dead", []uint64{1, 2, 4}, 1, learning(conf(1, 2, 3), 4), nil, []uint64{2}, "swap voter+4 -3"},
		{"the leader is to go", []uint64{2, 3, 4}, 1, learning(conf(1, 2, 3), 4), []uint64{2}, nil, "hand over to 3"},
		{"the leader is to go, nobody else has the log", []uint64{2, 3, 4}, 1, learning(conf(1, 2, 3), 4), []uint64{2, 3}, nil, "swap voter+4"},
		{"the leader hands over only when the new one is there", []uint64{2, 3, 4}, 1, learning(conf(1, 2, 3), 4), []uint64{4}, nil, "-"},
		{"everybody goes", []uint64{4, 5, 6}, 1, learning(conf(1, 2, 3), 4, 5, 6), nil, nil, "swap voter+4 voter+5 voter+6 -2 -3"},
		{"everybody went but the leader", []uint64{4, 5, 6}, 1, conf(1, 4, 5, 6), nil, nil, "hand over to 4"},
		{"and it, too", []uint64{4, 5, 6}, 4, conf(1, 4, 5, 6), nil, nil, "swap -1"},
		{"from one node to another", []uint64{2}, 1, learning(conf(1), 2), nil, nil, "swap voter+2"},
		{"a joint membership that is being left", []uint64{1, 2, 4}, 1, left, nil, nil, "-"},
		{"a joint membership that stays", []uint64{1, 2, 4}, 1, joint, nil, nil, "leave"},
		{"a learner that nobody wants, of a wiped disk", []uint64{1, 2, 3}, 1, learning(conf(1, 2, 3), 9), nil, []uint64{9}, "learners -9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &MemberView{Self: c.self, Conf: c.conf, ConfCommitted: true, Commit: commit}
			for id := range uint64(10) {
				if !c.conf.Member(id) {
					continue
				}
				p := raft.PeerStatus{ID: id, Match: commit - CatchUpEntries, Active: !slices.Contains(c.dead, id), Learner: !c.conf.Voter(id)}
				if slices.Contains(c.behind, id) {
					p.Match--
				}
				v.Peers = append(v.Peers, p)
			}
			m := placed(t, 6, c.set...)
			if got := printStep(NextConf(0, m, v)); got != c.want {
				t.Errorf("%s, want %v: %q, not %q", c.conf.String(), c.set, got, c.want)
			}
			v.ConfCommitted = false
			if s, ok := NextConf(0, m, v); ok {
				t.Errorf("with a change under way: %s", printStep(s, ok))
			}
			v.ConfCommitted, v.Transferee = true, 2
			if s, ok := NextConf(0, m, v); ok {
				t.Errorf("while leadership is handed over: %s", printStep(s, ok))
			}
			if done := Settled(0, m, &c.conf); done != strings.HasPrefix(c.name, "done") {
				t.Errorf("settled: %v", done)
			}
		})
	}
}

// A learner of which nothing is known has not caught up, even with a log of three entries.
func TestUnknownLearnerHasNotCaughtUp(t *testing.T) {
	v := &MemberView{Self: 1, Conf: raft.Conf{Voters: []uint64{1}, Learners: []uint64{2}}, ConfCommitted: true, Commit: 3,
		Peers: []raft.PeerStatus{{ID: 1, Match: 3, Active: true}, {ID: 2, Active: true, Learner: true}}}
	if s, ok := NextConf(0, placed(t, 2, 1, 2), v); ok {
		t.Errorf("%s", printStep(s, ok))
	}
}

func TestNextConfOfThePlacementGroup(t *testing.T) {
	view := func(c raft.Conf, dead ...uint64) *MemberView {
		v := &MemberView{Self: c.Voters[0], Conf: c, ConfCommitted: true, Commit: 10}
		for id := range uint64(10) {
			if c.Member(id) {
				v.Peers = append(v.Peers, raft.PeerStatus{ID: id, Match: 10, Active: !slices.Contains(dead, id)})
			}
		}
		return v
	}
	m := genesis(t, 3).Map()
	join(t, m, "n04", 1)
	three := raft.Conf{Voters: []uint64{1, 2, 3}}
	if got := printStep(NextConf(Group, m, view(three))); got != "learners learner+4" {
		t.Error(got)
	}
	// A dead learner holds up nothing.
	three.Learners = []uint64{4}
	if got := printStep(NextConf(Group, m, view(three, 4))); got != "-" {
		t.Error(got)
	}
	join(t, m, "n05", 1)
	settle(t, m, all, none, 20)
	three.Learners = []uint64{4, 5}
	if got := printStep(NextConf(Group, m, view(three, 4))); got != "-" {
		t.Error(got)
	}
	if got := printStep(NextConf(Group, m, view(three))); got != "swap voter+4 voter+5" {
		t.Error(got)
	}
	// Back to three voters: those that stay in the cluster learn.
	applied(t, m, &Drain{1})
	settle(t, m, all, none, 300)
	if got := printStep(NextConf(Group, m, view(raft.Conf{Voters: []uint64{1, 2, 3, 4, 5}}))); got != "hand over to 2" {
		t.Error(got)
	}
	v := view(raft.Conf{Voters: []uint64{1, 2, 3, 4, 5}})
	v.Self = 2
	if got := printStep(NextConf(Group, m, v)); got != "swap learner+1 learner+5" {
		t.Error(got)
	}
	applied(t, m, &Remove{1})
	if got := printStep(NextConf(Group, m, view(raft.Conf{Voters: []uint64{2, 3, 4}, Learners: []uint64{1, 5}}))); got != "learners -1" {
		t.Error(got)
	}
	if Settled(Group, m, &raft.Conf{Voters: []uint64{2, 3, 4}}) || !Settled(Group, m, &raft.Conf{Voters: []uint64{2, 3, 4}, Learners: []uint64{5}}) {
		t.Error("settled")
	}
}
