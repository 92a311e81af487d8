package cluster

import (
	"fmt"
	"testing"

	"fastpaca/cluster/place"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

func putCommand(dst []byte, key string) ([]byte, error) {
	return shard.EncodePut(dst, &shard.Put{ID: []byte(key)}), nil
}

// Three nodes find one another by their seeds, found one cluster, and any of them takes any request.
func TestThreeNodes(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	a, b, c := r.nodes["a"], r.nodes["b"], r.nodes["c"]
	require.Equal(t, a.ClusterID(), b.ClusterID())
	require.Equal(t, a.ClusterID(), c.ClusterID())
	nodes := []*rigNode{a, b, c}
	for i := range 300 {
		key := fmt.Sprintf("ctx-%d", i)
		require.Equal(t, shard.CodeOK, r.answer("a write", func() shard.Code { return nodes[i%3].put(key) }))
		require.Equal(t, shard.CodeOK, r.answer("a read", func() shard.Code { return nodes[(i+1)%3].get(key) }), "through another node, at once")
	}
}

// One of three may go; what was written stays, and writing goes on; when it is back, the next may go.
func TestOneOfThreeGoes(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	names := []string{"a", "b", "c"}
	written := 0
	for round, gone := range names {
		r.nodes[gone].stop()
		other := r.nodes[names[(round+1)%3]]
		for range 60 {
			key := fmt.Sprintf("ctx-%d", written)
			r.wait("a write without "+gone, func() bool { return other.put(key) == shard.CodeOK })
			written++
		}
		r.nodes[gone].start(r.seeds)
		r.waitReady(names...)
		for i := range written {
			key := fmt.Sprintf("ctx-%d", i)
			require.Equal(t, shard.CodeOK, r.answer("a read", func() shard.Code { return r.nodes[gone].get(key) }))
		}
	}
}

// All stop and start again, under the cluster that they had.
func TestAllStopAndStart(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	id := r.nodes["a"].ClusterID()
	require.Equal(t, shard.CodeOK, r.answer("a write", func() shard.Code { return r.nodes["a"].put("ctx") }))
	for _, n := range r.nodes {
		n.stop()
	}
	for _, n := range r.nodes {
		n.start(nil) // members need no seeds
	}
	r.waitReady("a", "b", "c")
	for _, n := range r.nodes {
		require.Equal(t, id, n.ClusterID())
		require.Equal(t, shard.CodeOK, r.answer("a read", func() shard.Code { return n.get("ctx") }))
	}
}

// A majority that is gone is answered unavailable, within the bound, by the one that is left.
func TestNoMajority(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.nodes["b"].stop()
	r.nodes["c"].stop()
	code := r.nodes["a"].put("ctx")
	require.Contains(t, []shard.Code{shard.CodeUnavailable, shard.CodeTimeout}, code)
	r.wait("a knows that it leads nothing", func() bool { return r.nodes["a"].put("ctx") == shard.CodeUnavailable })
}

// Leaders are spread evenly, and kept so.
func TestLeadersAreSpread(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a", "b", "c")
	r.wait("85 or 86 leaders each", func() bool { return r.even(place.Shards/3, "a", "b", "c") })
	r.nodes["b"].stop()
	r.wait("128 leaders each", func() bool { return r.even(place.Shards/2, "a", "c") })
	r.nodes["b"].start(r.seeds)
	r.wait("85 or 86 leaders each again", func() bool { return r.even(place.Shards/3, "a", "b", "c") })
}

// even: every one of the nodes leads least shards, or one more.
func (r *rig) even(least int, names ...string) bool {
	for _, name := range names {
		leading := 0
		for _, g := range r.nodes[name].Status().Groups {
			if g.Leading {
				leading++
			}
		}
		if leading < least || leading > least+1 {
			return false
		}
	}
	return true
}
