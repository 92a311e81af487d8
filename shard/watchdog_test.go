package shard

import (
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/raft"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestHangingDiskGivesUpLeadership: a leader whose disk hangs hands its groups to the others, which go on, says that it is not
// ready, takes no more appends than fit, and comes back when the disk does.
func TestHangingDiskGivesUpLeadership(t *testing.T) {
	var mu sync.Mutex
	hang := map[uint64]chan struct{}{}
	c := newTestCluster(t, 3, func(id uint64, o *Options) {
		noSnapshots(id, o)
		o.RequestTimeout = 10 * time.Second
		o.FS = walfs.NewFaulty(o.FS, func(c walfs.Call) walfs.Fault {
			mu.Lock()
			defer mu.Unlock()
			if hang[id] != nil && c.Op == walfs.OpSync && strings.Contains(c.Path, "/wal/") {
				return walfs.Fault{Hang: hang[id]}
			}
			return walfs.Fault{}
		})
	})
	c.put("x")
	c.mustAppend("x", "before")
	group := Of([]byte("x"))
	sick := c.leader(group)
	mu.Lock()
	held := make(chan struct{})
	hang[sick] = held
	mu.Unlock()
	heal := sync.OnceFunc(func() {
		mu.Lock()
		hang[sick] = nil
		mu.Unlock()
		close(held)
	})
	t.Cleanup(heal) // before the cluster's own: it could not be closed

	c.mustAppend("x", "the other two are a quorum")
	next := c.leader(group, sick)
	require.Eventually(t, func() bool { return !c.node(sick).groups[group].leads.Load() }, 40*time.Second, time.Millisecond)
	ready, why := c.node(sick).Ready()
	require.False(t, ready)
	require.Equal(t, "disk_stalled", why)
	for range 50 {
		c.mustAppend("x", "without the sick")
	}
	terms := c.node(next).groups[group].termNow.Load()
	time.Sleep(2 * electionTicks * tickInterval)
	_, term := c.node(next).Leader(group)
	require.Equal(t, terms, term, "the sick node does not disturb the others")
	// Not when it is asked to lead either: it could not have its vote on disk.
	c.node(sick).Deliver(next, []raft.Message{{Type: raft.MsgTimeoutNow, Group: group, From: next, To: sick, Term: term}})
	var st MemberStatus
	for range 3 {
		c.node(sick).Member(group, &st) // a pass of the loop, after that of the message
	}
	require.Equal(t, term, st.Term)
	require.Equal(t, raft.Follower, st.Role)

	heal()
	c.converge(group)
	require.Eventually(t, func() bool { ok, _ := c.node(sick).Ready(); return ok }, 40*time.Second, time.Millisecond)
}
