package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// TestPartitionedLeader: a leader that is cut off answers nothing stale: its reads fail, its appends are answered
// "unknown" as soon as it stops leading, and not only when their time is up. The others go on.
func TestPartitionedLeader(t *testing.T) {
	c := newTestCluster(t, 3, func(id uint64, o *Options) {
		noSnapshots(id, o)
		o.RequestTimeout = 30 * time.Second
	})
	c.put("x")
	c.mustAppend("x", "first")
	group := Of([]byte("x"))
	old := c.leader(group)
	n := c.node(old)
	c.isolate(old, true)

	began := time.Now()
	answers := make(chan Code, 2)
	go func() {
		_, code := appendText(n, "x", "lost")
		answers <- code
	}()
	go func() {
		var v View
		answers <- n.Read([]byte("x"), &v)
	}()
	next := c.leader(group, old)
	_, code := appendText(c.node(next), "x", "second") // the old one may not know yet that it leads no more
	require.Equal(t, CodeOK, code)
	got := []Code{<-answers, <-answers}
	slices.Sort(got)
	require.Equal(t, []Code{CodeTimeout, CodeNotLeader}, got)
	require.Less(t, time.Since(began), 20*time.Second, "answered before their time was up")
	require.Zero(t, n.inflight.Load(), "what is on disk and cannot be decided here does not hold the budget")

	// However often it is asked, it never shows the state without the second message.
	var v View
	for range 100 {
		require.Contains(t, []Code{CodeNotLeader, CodeUnavailable}, n.Read([]byte("x"), &v))
	}
	_, code = n.Barrier(group)
	require.Equal(t, CodeNotLeader, code)
	require.Equal(t, []string{"first", "second"}, texts(t, c.node(next), "x"))

	c.isolate(old, false)
	c.converge(group)
	id, term := n.Leader(group)
	require.NotZero(t, id)
	require.NotZero(t, term)
	require.Equal(t, []string{"first", "second"}, texts(t, c.node(c.leader(group)), "x"))
}

// TestReadsFollowWrites: under a steady stream of leaderships that move, a read on whoever says that it leads shows every
// message acknowledged before.
func TestReadsFollowWrites(t *testing.T) {
	c := newTestCluster(t, 3, noSnapshots)
	c.put("x")
	group := Of([]byte("x"))
	rng := rand.New(rand.NewPCG(3, 3))
	acked := 0
	for round := range 30 {
		_, code := c.append("x", fmt.Sprint("m", round))
		if code == CodeOK {
			acked++
		} else {
			require.Contains(t, []Code{CodeTimeout, CodeUnavailable}, code)
		}
		for _, id := range c.ids {
			var v View
			if c.node(id).Read([]byte("x"), &v) == CodeOK {
				require.GreaterOrEqual(t, int(v.Last), acked)
			}
		}
		lead := c.leader(group)
		require.NoError(t, ignoreNotLeader(c.node(lead).Transfer(group, uint64(1+rng.IntN(3)))))
	}
	c.converge(group)
}

func ignoreNotLeader(err error) error {
	if _, ok := err.(*raft.NotLeaderError); ok {
		return nil
	}
	return err
}

// TestTransfer: leadership goes where it is asked to, writes and reads find it, and the waiting channel says so.
func TestTransfer(t *testing.T) {
	c := newTestCluster(t, 3, noSnapshots)
	c.put("x")
	group := Of([]byte("x"))
	for range 6 {
		from := c.leader(group)
		to := from%3 + 1
		changed := c.node(to).LeaderChanged()
		require.NoError(t, ignoreNotLeader(c.node(from).Transfer(group, to)))
		<-changed
		require.Eventually(t, func() bool {
			id, _ := c.node(from).Leader(group)
			return id == to || id != 0 && id != from
		}, 40*time.Second, time.Millisecond)
		c.mustAppend("x", "after the transfer")
	}
	c.converge(group)
}

// TestCatchUpByEntries: a follower that was away gets what it missed from the leader's disk; memory has let go of it.
func TestCatchUpByEntries(t *testing.T) {
	c := newTestCluster(t, 3, noSnapshots)
	c.put("x")
	group := Of([]byte("x"))
	lead := c.leader(group)
	away := lead%3 + 1
	c.stop(away)
	for i := range 1000 {
		c.mustAppend("x", fmt.Sprint(i, strings.Repeat("e", 500)))
	}
	lead = c.leader(group)
	first := uint64(0)
	n := c.node(lead)
	require.NoError(t, n.groups[group].loop.call(func() { first = n.groups[group].raft.Status().First }))
	require.Greater(t, first, uint64(500), "the memory of the log is bounded")
	c.start(away)
	c.converge(group)
	var st Stats
	c.node(away).Stats(&st)
	require.Zero(t, st.SnapshotsReceived)
}

// TestCatchUpBySnapshot: a follower whose missing entries are gone gets a snapshot, under appends that go on; streams of
// the old state are told. It survives power loss afterwards.
func TestCatchUpBySnapshot(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	c.put("x")
	c.mustAppend("x", "seen by all")
	group := Of([]byte("x"))
	c.converge(group)
	lead := c.leader(group)
	away := lead%3 + 1
	c.isolate(away, true)
	old, code := c.node(away).Replica([]byte("x"))
	require.Equal(t, CodeOK, code)
	wake := make(chan struct{}, 1)
	old.Subscribe(wake)

	require.Eventually(t, func() bool { // what it misses is in a snapshot, and has left the memory of the log
		c.mustAppend("x", strings.Repeat("s", 3000))
		n, behind := c.node(c.leader(group, away)), c.node(away).Applied(group)+10
		first := uint64(0)
		var st MemberStatus
		n.Member(group, &st)
		require.NoError(t, n.groups[group].loop.call(func() { first = n.groups[group].raft.Status().First }))
		return st.Snapshot > behind && first > behind
	}, 40*time.Second, time.Millisecond)
	c.isolate(away, false)
	for range 50 {
		c.mustAppend("x", "meanwhile")
	}
	c.converge(group)
	var st Stats
	c.node(away).Stats(&st)
	require.Positive(t, st.SnapshotsReceived)
	require.True(t, old.Replaced())
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Fatal("the stream was not told that its context was replaced")
	}
	again, code := c.node(away).Replica([]byte("x"))
	require.Equal(t, CodeOK, code)
	require.False(t, again.Replaced())

	c.kill(away, rand.New(rand.NewPCG(5, 5)), 0)
	c.start(away)
	c.converge(group)
	for _, id := range c.ids {
		names, err := c.disks[id].List(snapDir("/data"))
		require.NoError(t, err)
		for _, name := range names {
			require.False(t, strings.Contains(name, "recv"), "node %d: %s is left", id, name)
		}
	}
}

// TestOneThreeOne: a cluster of one grows to three voters and shrinks to one again, which is not the first.
func TestOneThreeOne(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.put("x")
	group := Of([]byte("x"))
	for i := range 50 {
		c.mustAppend("x", fmt.Sprint(i))
	}
	require.True(t, c.node(1).groups[group].serving.Load())
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		_, code := c.node(id).Replica([]byte("x"))
		require.Equal(t, CodeUnavailable, code)
	}
	change := func(cc raft.ConfChange) {
		t.Helper()
		require.Eventually(t, func() bool {
			return c.node(c.leader(group)).ProposeConf(group, cc) == nil
		}, 40*time.Second, 5*time.Millisecond)
		require.Eventually(t, func() bool {
			var st MemberStatus
			c.node(c.leader(group)).Member(group, &st)
			return st.ConfCommitted && !st.Conf.Joint()
		}, 40*time.Second, 5*time.Millisecond)
	}
	change(raft.ConfChange{Changes: []raft.Change{{Kind: raft.AddLearner, ID: 2}, {Kind: raft.AddLearner, ID: 3}}})
	c.mustAppend("x", "with learners")
	c.converge(group)
	require.True(t, c.node(1).groups[group].serving.Load(), "learners do not vote")
	change(raft.ConfChange{Changes: []raft.Change{{Kind: raft.AddVoter, ID: 2}, {Kind: raft.AddVoter, ID: 3}}})
	require.False(t, c.node(1).groups[group].serving.Load())
	c.mustAppend("x", "with voters")
	c.converge(group)

	// Whoever is left has to do without the others, and to know it after a power loss.
	rng := rand.New(rand.NewPCG(9, 9))
	for _, id := range c.ids {
		c.kill(id, rng, 50)
		c.start(id)
	}
	c.mustAppend("x", "after a power loss")
	c.converge(group)
	change(raft.ConfChange{Changes: []raft.Change{{Kind: raft.RemoveNode, ID: 1}, {Kind: raft.RemoveNode, ID: 2}}})
	require.Equal(t, uint64(3), c.leader(group))
	require.Eventually(t, func() bool { return c.node(3).groups[group].serving.Load() }, 40*time.Second, time.Millisecond)
	c.mustAppend("x", "alone")
	c.stop(1)
	c.stop(2)
	c.kill(3, rng, 0)
	c.start(3)
	require.Equal(t, uint64(3), c.leader(group))
	have := texts(t, c.node(3), "x")
	require.Equal(t, []string{"with learners", "with voters", "after a power loss", "alone"}, have[50:])
}

// TestBarrierCoversAcknowledged: the index that a barrier gives is never before a write that was acknowledged, for a sole
// voter, whose replicas are learners, as for three.
func TestBarrierCoversAcknowledged(t *testing.T) {
	for _, voters := range []int{1, 3} {
		c := newTestCluster(t, voters, noSnapshots)
		c.put("x")
		group := Of([]byte("x"))
		n := c.node(c.leader(group))
		rounds := 2000
		if voters > 1 || raceEnabled {
			rounds = 200
		}
		var st MemberStatus
		n.Member(group, &st)
		index := st.Applied
		for i := range rounds {
			_, code := appendText(n, "x", "m")
			require.Equal(t, CodeOK, code)
			index++
			got, code := n.Barrier(group)
			require.Equal(t, CodeOK, code)
			require.GreaterOrEqual(t, got, index, "after append %d", i)
		}
	}
}
