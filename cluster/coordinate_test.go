package cluster

import (
	"fmt"
	"testing"
	"time"

	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// A drained node is removed on the word of leaders that know the present map: one with an older map may be about to make it a voter
// again. Where it is one of two, the other never leads again once it is gone. Found by jepsen/sim; one group is enough.
func TestADrainedNodeIsNeededUntilEveryLeaderKnowsTheMap(t *testing.T) {
	g, err := newGenesis("cluster-1", []Seen{{"a", "inc-a", "h1:1"}, {"b", "inc-b", "h2:1"}, {"c", "inc-c", "h3:1"}})
	require.NoError(t, err)
	pm := g.Map()
	apply := func(cmd place.Command) {
		t.Helper()
		b, err := place.Append(nil, cmd)
		require.NoError(t, err)
		out, err := pm.Apply(b)
		require.NoError(t, err)
		require.Equal(t, place.Applied, out.Result, "%v", out.Reason)
	}
	apply(&place.Drain{ID: 3})
	for group := range uint32(place.Group + 1) {
		apply(&place.SetReplicas{Group: group, From: pm.Set(group), To: []uint64{1, 2}})
	}
	all := func() *reports {
		r := new(reports)
		for group := range r {
			r[group] = groupReport{leader: 1, mapVersion: pm.Version, settled: true, members: []memberReport{{id: 1}, {id: 2}}}
		}
		r[place.Group].members = append(r[place.Group].members, memberReport{id: 3, learner: true}) // which it is to the end
		return r
	}
	require.True(t, empty(pm, all(), 3))
	for _, group := range []int{0, 7, place.Shards - 1, place.Group} {
		for what, change := range map[string]func(r *groupReport){
			"its leader has an older map": func(r *groupReport) { r.mapVersion-- },
			"nobody leads it":             func(r *groupReport) { r.leader = 0 },
			"it votes there":              func(r *groupReport) { r.members = append(r.members, memberReport{id: 3}) },
		} {
			r := all()
			change(&r[group])
			require.False(t, empty(pm, r, 3), "group %d: %s", group, what)
		}
	}
	require.False(t, empty(pm, all(), 2))
}

// A coordinator that was stopped for longer than the grace time (SIGSTOP, a virtual machine that was paused) has not seen anybody be
// away for that long: a node that is just not connected yet when it goes on keeps its replicas for another grace time.
func TestACoordinatorThatStoodStillWaits(t *testing.T) {
	r := newRig(t)
	r.found(func(o *Options) { o.pace.settleIn = 10 * time.Minute }, "a", "b", "c", "d") // their own do nothing here
	a, gone := r.nodes["a"], r.nodes["d"].member.Load().id
	c := coordinator{n: a.Node, m: a.member.Load(), seen: map[uint64]time.Time{}, out: map[uint32]time.Time{}}
	r.wait("everybody is seen", func() bool { live := a.live(c.m); return live(2) && live(3) && live(4) })
	now := time.Now()
	c.started = now.Add(-2 * time.Hour)
	c.tick(now)
	r.nodes["d"].stop()
	r.wait("d is gone", func() bool { return !a.live(c.m)(gone) })
	load := a.Map().Load(gone)
	now = now.Add(2 * time.Hour)
	c.tick(now)
	require.Equal(t, load, a.Map().Load(gone), "it was away for a moment")
	began := now
	r.wait("it is replaced when it was away for long", func() bool {
		now = now.Add(stoodStill / 2)
		c.tick(now)
		return a.Map().Load(gone) < load
	})
	require.Greater(t, now.Sub(began), a.opt.Grace)
}

// A node whose disk hangs is near the end of the log wherever little is written, and acknowledges nothing: no leadership goes there.
func TestNoLeadershipForWhoDoesNotKeepUp(t *testing.T) {
	st := shard.MemberStatus{Commit: 20, Peers: []raft.PeerStatus{
		{ID: 1, Match: 20, Active: true}, {ID: 2, Match: 19, Active: true}, {ID: 3, Match: 20, Active: true, Learner: true}, {ID: 4, Match: 20},
	}}
	require.True(t, keepsUp(&st, 1, 20))
	require.True(t, keepsUp(&st, 2, 19), "an entry is on its way")
	require.False(t, keepsUp(&st, 2, 20), "it was there already when this node looked last")
	require.False(t, keepsUp(&st, 1, 0), "nobody has looked yet")
	require.False(t, keepsUp(&st, 3, 20), "a learner")
	require.False(t, keepsUp(&st, 4, 20), "nobody hears it")
	require.False(t, keepsUp(&st, 5, 20), "no member")
}

// A node that was drained and removed serves no streams: nothing ever happens there any more. Those that it has are told to look elsewhere.
func TestStreamsOnARemovedNodeEnd(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("ctx-%d", i))
		r.wait("a write", func() bool { return r.nodes["a"].put(keys[i]) == shard.CodeOK })
	}
	d := r.listen("d").start(r.seeds, func(o *Options) { o.pace.forgetAfter = 1 << 60 }) // it is removed before it forgets
	r.waitReady("d")
	var followed []*shard.Context
	r.wait("d has replicas", func() bool {
		followed = followed[:0]
		for _, key := range keys {
			if c, code := d.Stream([]byte(key)); code == shard.CodeOK {
				followed = append(followed, c)
			}
		}
		return len(followed) >= 5
	})
	require.NoError(t, r.nodes["a"].Drain("d"))
	r.wait("d knows that it was removed", func() bool { _, reason := d.Ready(); return reason == "removed" })
	for _, c := range followed {
		r.wait("whoever follows "+c.ID()+" is told", c.Replaced)
	}
	for _, key := range keys {
		_, code := d.Stream([]byte(key))
		require.Equal(t, shard.CodeUnavailable, code)
	}
	r.settled("a", 3)
}
