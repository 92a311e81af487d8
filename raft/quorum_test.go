package raft

import (
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
)

// scene is a membership of up to seven nodes with something known of each.
type scene struct {
	conf  Conf
	value [8]uint64 // by id
	vote  [8]int8
}

func (scene) Generate(r *rand.Rand, _ int) reflect.Value {
	var s scene
	pick := func() (list []uint64) {
		for id := uint64(1); id < 8; id++ {
			if r.Intn(2) == 0 {
				list = append(list, id)
			}
		}
		return list
	}
	for len(s.conf.Voters) == 0 {
		s.conf.Voters = pick()
	}
	if r.Intn(2) == 0 {
		s.conf.Outgoing = pick()
	}
	for id := range s.value {
		s.value[id] = uint64(r.Intn(6))
		s.vote[id] = int8(r.Intn(3) - 1)
	}
	return reflect.ValueOf(s)
}

// quorums calls f with every set of ids that is a quorum: more than half of each half.
func (c *Conf) quorums(f func(set uint) bool) bool {
	return c.subsets(func(set uint) bool {
		if majority(c.Voters, set) && (!c.Joint() || majority(c.Outgoing, set)) {
			return f(set)
		}
		return true
	})
}

func (c *Conf) subsets(f func(set uint) bool) bool {
	for set := uint(0); set < 1<<8; set++ {
		if !f(set) {
			return false
		}
	}
	return true
}

func majority(list []uint64, set uint) bool {
	n := 0
	for _, id := range list {
		if set&(1<<id) != 0 {
			n++
		}
	}
	return n > len(list)/2
}

// The commit index is the largest value for which some quorum has it all.
func TestQuorumIndexAgainstBruteForce(t *testing.T) {
	require.NoError(t, quick.Check(func(s scene) bool {
		best := uint64(0)
		s.conf.quorums(func(set uint) bool {
			low := ^uint64(0)
			for id := uint64(1); id < 8; id++ {
				if set&(1<<id) != 0 && s.conf.Voter(id) {
					low = min(low, s.value[id])
				}
			}
			best = max(best, low)
			return true
		})
		return best == s.conf.quorumIndex(func(id uint64) uint64 { return s.value[id] })
	}, &quick.Config{MaxCount: 2000}))
}

// An election is won if those who said yes are a quorum, lost if those who did not say no are none.
func TestQuorumVoteAgainstBruteForce(t *testing.T) {
	require.NoError(t, quick.Check(func(s scene) bool {
		yes, possible := false, false
		s.conf.quorums(func(set uint) bool {
			all, none := true, true
			for id := uint64(1); id < 8; id++ {
				if set&(1<<id) != 0 && s.conf.Voter(id) {
					all = all && s.vote[id] == 1
					none = none && s.vote[id] != -1
				}
			}
			yes, possible = yes || all, possible || none
			return true
		})
		want := votePending
		if yes {
			want = voteWon
		} else if !possible {
			want = voteLost
		}
		return want == s.conf.quorumVote(func(id uint64) int8 { return s.vote[id] })
	}, &quick.Config{MaxCount: 2000}))
}

func TestQuorumOfNobody(t *testing.T) {
	var c Conf
	require.Equal(t, ^uint64(0), c.quorumIndex(nil))
	require.Equal(t, voteWon, c.quorumVote(nil))
}

// walk is a random sequence of membership changes.
type walk []ConfChange

func (walk) Generate(r *rand.Rand, _ int) reflect.Value {
	w := make(walk, 10)
	for i := range w {
		w[i].Joint, w[i].Stay = r.Intn(3) == 0, r.Intn(2) == 0
		for range r.Intn(4) {
			w[i].Changes = append(w[i].Changes, Change{ChangeKind(r.Intn(3)), uint64(r.Intn(8))})
		}
	}
	return reflect.ValueOf(w)
}

// What makes changes safe: all quorums of one membership and of the next one overlap.
func TestConfChangesKeepQuorumsOverlapping(t *testing.T) {
	steps := 0
	require.NoError(t, quick.Check(func(w walk) bool {
		c := Conf{Voters: []uint64{1, 2, 3}}
		for _, cc := range w {
			before := c.Clone()
			n, err := c.next(cc)
			if !before.Equal(&c) {
				t.Logf("next changed its receiver: %v", cc)
				return false
			}
			if err != nil {
				continue
			}
			steps++
			if n.Validate() != nil || len(n.Voters) == 0 {
				t.Logf("%s -> %s", c.String(), n.String())
				return false
			}
			overlap := c.quorums(func(a uint) bool {
				return n.quorums(func(b uint) bool { return a&b != 0 })
			})
			back, err := DecodeConf(AppendConf(nil, &n))
			if !overlap || err != nil || !back.Equal(&n) {
				t.Logf("%s -> %s, overlapping %v, decoded %v %v", c.String(), n.String(), overlap, back, err)
				return false
			}
			c = n
		}
		return true
	}, &quick.Config{MaxCount: 50}))
	require.Greater(t, steps, 100)
}

// A joint membership is left for what was asked for.
func TestConfChangeResult(t *testing.T) {
	for _, c := range []struct {
		from    Conf
		change  ConfChange
		joint   string // "" none
		want    string
		invalid bool
	}{
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{Changes: []Change{{AddVoter, 2}}}, want: "voters=(1 2)"},
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{Changes: []Change{{AddVoter, 2}}, Joint: true}, joint: "voters=(1 2)&&(1) autoleave", want: "voters=(1 2)"},
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{Changes: []Change{{AddLearner, 2}, {AddLearner, 3}}}, want: "voters=(1) learners=(2 3)"},
		{from: Conf{Voters: []uint64{1, 2}}, change: ConfChange{Changes: []Change{{RemoveNode, 2}, {AddVoter, 3}}}, joint: "voters=(1 3)&&(1 2) autoleave", want: "voters=(1 3)"},
		{from: Conf{Voters: []uint64{1, 2}}, change: ConfChange{Changes: []Change{{AddLearner, 2}, {AddVoter, 3}}}, joint: "voters=(1 3)&&(1 2) next=(2) autoleave", want: "voters=(1 3) learners=(2)"},
		{from: Conf{Voters: []uint64{1, 2}, Learners: []uint64{3}}, change: ConfChange{Changes: []Change{{AddVoter, 3}}}, want: "voters=(1 2 3)"},
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{Changes: []Change{{RemoveNode, 1}}}, invalid: true},
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{Changes: []Change{{RemoveNode, 2}}}, invalid: true},
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{}, invalid: true},
		{from: Conf{Voters: []uint64{1}}, change: ConfChange{Changes: []Change{{9, 2}}}, invalid: true},
	} {
		n, err := c.from.next(c.change)
		require.Equal(t, c.invalid, err != nil, "%+v", c)
		if c.invalid {
			continue
		}
		if c.joint != "" {
			require.Equal(t, c.joint, n.String())
			n = n.left()
		}
		require.Equal(t, c.want, n.String())
	}
}

func FuzzDecodeConf(f *testing.F) {
	c := Conf{Voters: []uint64{1, 3}, Outgoing: []uint64{2, 3}, Learners: []uint64{4}, LearnersNext: []uint64{2}, AutoLeave: true}
	f.Add(AppendConf(nil, &c))
	f.Add(AppendConf(nil, &Conf{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeConf(b)
		if err == nil && !slices.Equal(AppendConf(nil, &c), b) {
			t.Fatalf("%v is not the one encoding of %s", b, c.String())
		}
	})
}
