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

// TestHealedStaysHealed: a group had been forgotten with a log that was longer than what was ever committed of it. All its
// replicas heal, one after the other, by what a later leader gives them, and then start at the same time.
func TestHealedStaysHealed(t *testing.T) {
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprint("kept ", keep), func(t *testing.T) {
			c := newTestCluster(t, 3, func(_ uint64, o *Options) { o.SnapshotBytes = 512 })
			c.put("x")
			group := Of([]byte("x"))
			var st MemberStatus
			for _, id := range c.ids { // each has a snapshot: of a group that was left, what it was founded with does not count
				for st.Snapshot = 0; st.Snapshot == 0; c.node(id).Member(group, &st) {
					c.mustAppend("x", strings.Repeat("s", 200))
				}
			}
			marks := func(id uint64) (out []string) {
				names, err := c.disks[id].List(snapDir("/data"))
				require.NoError(t, err)
				for _, name := range names {
					if of, _, ok := parseLeftName(name); ok && of == group {
						out = append(out, name)
					}
				}
				return out
			}
			// Of a replica that has the log a mark is a lie, and a harmless one.
			for _, id := range c.ids {
				c.stop(id)
				for _, last := range []uint64{3, 1 << 20} {
					f, err := c.disks[id].Create(snapDir("/data") + "/" + leftName(group, last))
					require.NoError(t, err)
					require.NoError(t, f.Close())
				}
				require.NoError(t, c.disks[id].SyncDir(snapDir("/data")))
				c.start(id)
				require.True(t, c.damaged(id, group))
				require.Eventually(t, func() bool { // until there is a leader of a later term
					lead := c.leader(group)
					_ = c.node(lead).Transfer(group, 1+2+3-lead-id)
					c.append("x", "y")
					return !c.damaged(id, group)
				}, time.Minute, 20*time.Millisecond)
				if !keep {
					continue
				}
				require.Len(t, marks(id), 2)
				require.NoError(t, c.node(id).KeepHealed())
				require.Equal(t, []string{leftName(group, 0)}, marks(id))
			}
			rng := rand.New(rand.NewPCG(1, 9))
			for _, id := range c.ids {
				c.kill(id, rng, 0)
			}
			for _, id := range c.ids {
				c.start(id)
			}
			if !keep { // what KeepHealed is there for
				for _, id := range c.ids {
					require.True(t, c.damaged(id, group))
				}
				return
			}
			c.mustAppend("x", "works")
			c.converge(group)
		})
	}
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

// TestForgetRemovesHistory: the history files of a group that moved away go with it, also where a crash kept some.
func TestForgetRemovesHistory(t *testing.T) {
	c := newTestCluster(t, 1, func(_ uint64, o *Options) { o.TailKeep, o.SpillBytes = 10, 1 })
	_, code := c.do("x", narrow)
	require.Equal(t, CodeOK, code)
	group := Of([]byte("x"))
	for i := 0; len(histories(t, c.disks[1])) == 0; i++ {
		c.mustAppend("x", fmt.Sprint(i, strings.Repeat("f", 2000)))
	}
	c.join(2)
	c.move(group, []uint64{1}, []uint64{2})
	kept := histories(t, c.disks[1])[0]
	f, err := c.disks[1].Open(kept)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Eventually(t, func() bool {
		err := c.node(1).Forget(group)
		require.True(t, err == nil || errors.Is(err, ErrBusy), "%v", err)
		return err == nil
	}, 40*time.Second, 20*time.Millisecond)
	require.Empty(t, histories(t, c.disks[1]))
	// With a snapshot, or written there after the log had brought the messages.
	require.Eventually(t, func() bool { return len(histories(t, c.disks[2])) > 0 }, 40*time.Second, 5*time.Millisecond, "it moved with the group")

	c.stop(1)
	f, err = c.disks[1].Create(kept)
	require.NoError(t, err)
	_, err = f.WriteAt(content, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	c.start(1)
	require.Empty(t, histories(t, c.disks[1]))
}
