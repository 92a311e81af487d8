package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fastpaca/cluster/place"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// write puts count contexts named prefix-0, prefix-1, ... through the nodes in turn. A write may be answered unavailable.
func (r *rig) write(prefix string, count int, names ...string) {
	r.t.Helper()
	r.each("writes", count, func(i int) bool {
		return r.nodes[names[i%len(names)]].put(fmt.Sprintf("%s-%d", prefix, i)) == shard.CodeOK
	})
}

// holds reads all of them through every one of the nodes.
func (r *rig) holds(prefix string, count int, names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.reads(r.nodes[name], count, func(i int) string { return fmt.Sprintf("%s-%d", prefix, i) })
	}
}

// settled waits until every group is as the map wants it, with a leader, and has want voters where it is a shard.
func (r *rig) settled(via string, want int) {
	r.t.Helper()
	r.wait(fmt.Sprintf("every shard has %d replicas", want), func() bool {
		n := r.nodes[via]
		m := n.member.Load()
		pm := m.machine.picture()
		all := n.collect(m, time.Second)
		for g := range uint32(place.Group + 1) {
			if !all[g].settledAt(pm.Version) || g < place.Group && len(all[g].voters()) != want {
				return false
			}
		}
		return true
	})
}

func (r *rig) join(name string, seeds ...string) *rigNode {
	r.t.Helper()
	return r.listen(name).start(seeds)
}

// A cluster of one without seeds grows to three and to five, online, and is drained back to three. Nothing is lost on the way.
func TestGrowAndShrink(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a")
	a := r.nodes["a"]
	r.write("one", 100, "a")

	r.join("b", a.addr)
	r.join("c", a.addr)
	r.waitReady("a", "b", "c")
	r.write("growing", 100, "a", "b", "c")
	r.settled("a", 3)
	r.holds("one", 100, "a", "b", "c")
	a.stop() // it is one of three now
	r.write("three", 50, "b", "c")
	a.start(nil)

	r.join("d", r.nodes["b"].addr)
	r.join("e", r.nodes["b"].addr)
	r.waitReady("a", "b", "c", "d", "e")
	r.write("more", 100, "a", "b", "c", "d", "e")
	r.settled("a", 3)
	r.wait("replicas are even", func() bool {
		pm := a.Map()
		for i := range pm.Nodes {
			if load := pm.Load(pm.Nodes[i].ID); load < 3*place.Shards/5 || load > 3*place.Shards/5+1 {
				return false
			}
		}
		return len(pm.Nodes) == 5
	})
	r.settled("a", 3)
	r.wait("leaders are even", func() bool { return r.even(place.Shards/5, "a", "b", "c", "d", "e") })
	r.wait("what was left is dropped", func() bool {
		for _, n := range r.nodes {
			held := 0
			for _, g := range n.Status().Groups {
				if g.Member || g.Applied > 0 {
					held++
				}
			}
			if held > 3*place.Shards/5+1 {
				return false
			}
		}
		return true
	})
	for _, prefix := range []string{"one", "growing", "more"} {
		r.holds(prefix, 100, "a", "e")
	}

	require.NoError(t, r.nodes["d"].Drain("b"))
	require.NoError(t, r.nodes["d"].Drain("e"))
	require.NoError(t, r.nodes["d"].Drain("e"), "twice is once")
	require.ErrorIs(t, a.Drain("z"), ErrNoSuchNode)
	r.write("shrinking", 100, "a", "c", "d")
	r.wait("b and e are removed", func() bool {
		pm := a.Map()
		return pm.ByName("b") == nil && pm.ByName("e") == nil
	})
	for _, name := range []string{"b", "e"} {
		r.wait(name+" knows that it was removed", func() bool { _, reason := r.nodes[name].Ready(); return reason == "removed" })
		r.nodes[name].stop()
	}
	r.settled("a", 3)
	for _, prefix := range []string{"one", "growing", "more", "shrinking"} {
		r.holds(prefix, 100, "a", "c", "d")
	}
	r.holds("three", 50, "a", "c", "d")
}

// wipe stops a node and removes its data directory.
func (n *rigNode) wipe() {
	n.stop()
	require.NoError(n.r.t, os.RemoveAll(n.path))
}

// A wiped disk under an old name is a new node: it gets a new id, and votes only when it has caught up. ANCHORS B.19.
func TestWipedDirectoryComesBackAsALearner(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.write("before", 100, "a", "b", "c")
	old := r.nodes["b"].member.Load().id
	r.nodes["b"].wipe()
	r.write("during", 50, "a", "c")
	r.nodes["b"].start(r.seeds)
	r.waitReady("a", "b", "c")
	require.NotEqual(t, old, r.nodes["b"].member.Load().id)
	require.True(t, r.nodes["b"].dir.Identity.Joined)
	r.settled("a", 3)
	require.True(t, r.nodes["a"].Map().Departed(old))
	r.nodes["c"].stop() // now b's vote is needed
	r.write("after", 50, "a", "b")
	r.holds("before", 100, "a", "b")
	r.holds("during", 50, "a", "b")
}

// A node that is gone for longer than the grace time is replaced where there is a spare.
func TestDeadNodeIsReplaced(t *testing.T) {
	r := newRig(t)
	grace := func(o *Options) { o.Grace = 2 * time.Second }
	r.found(grace, "a", "b", "c", "d")
	r.write("k", 50, "a")
	dead := r.nodes["c"].member.Load().id
	r.nodes["c"].stop()
	r.wait("no shard wants c", func() bool { return r.nodes["a"].Map().Load(dead) == 0 })
	r.settled("a", 3)
	r.holds("k", 50, "a", "b", "d")
}

// A node of another cluster is left alone, said once, and so is this one.
func TestOtherClusterIsRefused(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a")
	x := r.listen("x").start(nil)
	r.waitReady("a", "x")
	a := r.nodes["a"]
	r.write("k", 10, "a")
	a.stop()
	a.start([]string{x.addr})
	r.wait("it is logged", func() bool { return a.logged("other_cluster") > 0 })
	for range 3 {
		a.round()
	}
	require.Equal(t, 1, a.logged("other_cluster"))
	require.NotEqual(t, a.ClusterID(), x.ClusterID())
	require.Len(t, a.Map().Nodes, 1)
	require.Len(t, x.Map().Nodes, 1)
	r.holds("k", 10, "a")
}

func (n *rigNode) logged(event string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, line := range n.log {
		if strings.Fields(line)[1] == event {
			count++
		}
	}
	return count
}

// A name whose owner is alive is not given away.
func TestLiveNameIsNotTaken(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	impostor := r.listen("b2")
	impostor.name = "b"
	impostor.start(r.seeds)
	r.wait("it is refused", func() bool { return impostor.logged("join_refused") > 0 })
	require.Empty(t, impostor.ClusterID())
	ok, reason := impostor.Ready()
	require.False(t, ok)
	require.Equal(t, "raft_sync", reason)
	require.Len(t, r.nodes["a"].Map().Nodes, 3)
}

// A node that comes back under another address is found by its seeds, and the map follows.
func TestAddressChanges(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	b := r.nodes["b"]
	b.stop()
	moved := r.listen("b-moved")
	b.addr, b.ln = moved.addr, moved.ln
	delete(r.nodes, "b-moved")
	b.start(r.seeds)
	r.wait("the map has the new address", func() bool { return r.nodes["a"].Map().ByName("b").Addr == b.addr })
	r.waitReady("a", "b", "c")
	r.nodes["c"].stop()
	r.write("k", 20, "a", "b")
}

// HandOver leaves nothing led where there is somebody to lead it.
func TestHandOver(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	a := r.nodes["a"]
	r.wait("a leads", func() bool { var st shard.Stats; a.Stats(&st); return st.Leading > 0 })
	r.wait("a leads nothing", func() bool { // again, where a follower was taken for dead at that moment
		a.HandOver(t.Context())
		var st shard.Stats
		a.Stats(&st)
		return st.Leading == 0
	})
	r.write("k", 20, "a", "b", "c")
}

// A node without a replica of a shard has its streams served by one that has.
func TestStreams(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c", "d")
	for i := range 30 {
		key := fmt.Sprintf("ctx-%d", i)
		r.wait("a write", func() bool { return r.nodes["a"].put(key) == shard.CodeOK })
		set := r.nodes["a"].Map().Set(shard.Of([]byte(key)))
		for _, n := range r.nodes {
			if slices.Contains(set, n.member.Load().id) {
				r.wait("a stream of the replica", func() bool { // a new one may know nothing of its shard yet, and says so
					c, code := n.Stream([]byte(key))
					require.Contains(t, []shard.Code{shard.CodeOK, shard.CodeNotLeader}, code)
					return code == shard.CodeOK && c.ID() == key
				})
				continue
			}
			_, code := n.Stream([]byte(key))
			require.Equal(t, shard.CodeNotLeader, code)
			conn, code := n.Remote([]byte(key), []byte("hello"))
			require.Equal(t, shard.CodeOK, code)
			got := make([]byte, len("stream hello"))
			_, err := conn.Read(got)
			require.NoError(t, err)
			require.Equal(t, "stream hello", string(got))
			require.NoError(t, conn.Close())
		}
	}
	_, code := r.nodes["a"].Stream([]byte("nobody"))
	require.Contains(t, []shard.Code{shard.CodeNotFound, shard.CodeNotLeader}, code)
}

// The status is one JSON object with what httpd.Router says, and adds up.
func TestStatus(t *testing.T) {
	r := newRig(t)
	lone := r.listen("lone").start([]string{"127.0.0.1:1"})
	require.True(t, json.Valid(lone.AppendStatus(nil)))
	r.found(nil, "a", "b", "c")
	var st struct {
		Node, Coordinator string
		ClusterID         string `json:"cluster_id"`
		Ready             bool
		Nodes             []struct {
			Name, Address, State   string
			Self, Alive            bool
			Replicas, Leading, Lag int
			ID                     uint64
		}
		Shards struct {
			Count, Moving int
			WithLeader    int `json:"with_leader"`
		}
		Leaders []struct {
			Leader   *string
			Replicas []string
		}
	}
	r.wait("everything has a leader, and everybody is seen", func() bool {
		st.Nodes, st.Leaders = nil, nil
		require.NoError(t, json.Unmarshal(r.nodes["b"].AppendStatus(nil), &st))
		leading := 0
		for _, x := range st.Nodes {
			if !x.Alive {
				return false
			}
			leading += x.Leading
		}
		return st.Shards.WithLeader == place.Shards && leading == place.Shards && st.Ready
	})
	require.Equal(t, "b", st.Node)
	require.Equal(t, "a", st.Coordinator)
	require.True(t, st.Ready)
	require.Equal(t, r.nodes["a"].ClusterID(), st.ClusterID)
	require.Len(t, st.Nodes, 3)
	for i, x := range st.Nodes {
		require.Equal(t, string("abc"[i]), x.Name)
		require.Equal(t, r.nodes[x.Name].addr, x.Address)
		require.Equal(t, "active", x.State)
		require.Equal(t, x.Name == "b", x.Self)
		require.Equal(t, place.Shards, x.Replicas)
	}
	require.Len(t, st.Leaders, place.Shards)
	require.Equal(t, []string{"a", "b", "c"}, st.Leaders[7].Replicas)
}

// A node that stops right after it was given a place takes it when it is back: its word of it is on disk, the map is not yet.
func TestJoinSurvivesARestart(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.write("k", 30, "a")
	x := r.listen("x")
	for range 3 {
		x.start(r.seeds)
		r.wait("x has a place", func() bool { return x.ClusterID() != "" })
		x.stop()
	}
	id := x.dir.Identity.RaftID
	x.start(r.seeds)
	r.waitReady("x")
	require.Equal(t, id, x.member.Load().id, "the same place")
	require.Len(t, r.nodes["a"].Map().Nodes, 4)
	r.settled("a", 3)
	r.holds("k", 30, "x")
}
