package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fastpaca/raft"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// move has group move from the nodes in from to those in to, one joint change.
func (c *testCluster) move(group uint32, from, to []uint64) {
	c.t.Helper()
	cc := raft.ConfChange{}
	for _, id := range to {
		cc.Changes = append(cc.Changes, raft.Change{Kind: raft.AddVoter, ID: id})
	}
	for _, id := range from {
		cc.Changes = append(cc.Changes, raft.Change{Kind: raft.RemoveNode, ID: id})
	}
	require.Eventually(c.t, func() bool { return c.node(c.leader(group)).ProposeConf(group, cc) == nil }, 40*time.Second, 5*time.Millisecond)
	require.Eventually(c.t, func() bool {
		var st MemberStatus
		c.node(c.leader(group, from...)).Member(group, &st)
		return st.ConfCommitted && !st.Conf.Joint()
	}, 40*time.Second, 5*time.Millisecond)
}

// TestForget: a group moves from its founders to three other nodes. The founders forget it; after a power loss they have
// nothing of it, and do not found it anew, although they are a majority of those that did. One of them comes back.
func TestForget(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	c.put("x")
	group := Of([]byte("x"))
	for i := range 60 {
		c.mustAppend("x", fmt.Sprint(i, strings.Repeat("f", 200)))
	}
	for id := uint64(4); id <= 6; id++ {
		c.join(id)
	}
	c.move(group, []uint64{1, 2, 3}, []uint64{4, 5, 6})
	c.mustAppend("x", "moved")

	for id := uint64(1); id <= 3; id++ {
		ctx, code := c.node(id).Replica([]byte("x"))
		require.Eventually(t, func() bool {
			err := c.node(id).Forget(group)
			require.True(t, err == nil || errors.Is(err, ErrBusy), "%v", err)
			return err == nil
		}, 40*time.Second, 20*time.Millisecond)
		if code == CodeOK {
			require.True(t, ctx.Replaced())
		}
		_, code = c.node(id).Replica([]byte("x"))
		require.Equal(t, CodeUnavailable, code)
	}
	rng := rand.New(rand.NewPCG(4, 2))
	for id := uint64(1); id <= 3; id++ {
		c.kill(id, rng, 0)
		c.start(id)
		names, err := c.disks[id].List(snapDir("/data"))
		require.NoError(t, err)
		for _, name := range names {
			of, _, ok := parseSnapName(name)
			require.False(t, ok && of == group, "%s is left", name)
		}
	}
	time.Sleep(2 * electionTicks * tickInterval) // they would have elected one by now
	for id := uint64(1); id <= 3; id++ {
		require.False(t, c.node(id).groups[group].leads.Load(), "the founders found the group again")
		require.False(t, c.node(id).groups[group].member.Load())
		require.True(t, c.damaged(id, group), "a node that forgot what it acknowledged would vote for anybody")
	}
	c.mustAppend("x", "still there")

	c.move(group, []uint64{5}, []uint64{2})
	c.mustAppend("x", "back")
	c.converge(group)
	have := texts(t, c.node(c.leader(group)), "x")
	require.Equal(t, []string{"moved", "still there", "back"}, have[60:])
	require.False(t, c.damaged(2, group), "it has the log again")
	require.True(t, c.damaged(1, group))
}

// damaged asks whether the node neither votes nor campaigns in a group. Found by jepsen/sim, seed 2007: a founder that
// forgot the group and became a learner of it again campaigned with the beginning of the log, in which it was a voter, and
// the others that had forgotten it voted for it.
func (c *testCluster) damaged(id uint64, group uint32) (damaged bool) {
	g := c.node(id).groups[group]
	require.NoError(c.t, g.loop.call(func() { damaged = g.raft.Status().Damaged }))
	return damaged
}

// join adds a node that was no founder.
func (c *testCluster) join(id uint64) {
	c.t.Helper()
	tune := c.tune
	c.tune = func(other uint64, o *Options) {
		if tune != nil {
			tune(other, o)
		}
		if other == id {
			o.Genesis = func(uint32) raft.Conf { return raft.Conf{} }
		}
	}
	c.ids = append(c.ids, id)
	c.disks[id] = walfs.NewMem()
	c.start(id)
}

// TestForgetIsRefused: a group that hears from a leader may be one that this node was made a member of again.
func TestForgetIsRefused(t *testing.T) {
	c := newTestCluster(t, 3, noSnapshots)
	c.put("x")
	group := Of([]byte("x"))
	for id := uint64(1); id <= 3; id++ {
		require.ErrorIs(t, c.node(id).Forget(group), ErrBusy)
	}
	require.Error(t, c.node(1).Forget(PlacementGroup))
	require.Error(t, c.node(1).Forget(9999))
	c.mustAppend("x", "works")
	c.converge(group)
}
