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
	const contexts = 300
	var written [contexts]bool
	r.each("a write, and its read through another node, at once", contexts, func(i int) bool {
		key := fmt.Sprintf("ctx-%d", i)
		if !written[i] {
			if written[i] = nodes[i%3].put(key) == shard.CodeOK; !written[i] {
				return false
			}
		}
		code := nodes[(i+1)%3].get(key)
		if code == shard.CodeUnavailable || code == shard.CodeTimeout {
			return false
		}
		if code != shard.CodeOK {
			t.Errorf("%s: %v", key, code)
		}
		return true
	})
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
		key := func(i int) string { return fmt.Sprintf("ctx-%d", i) }
		r.each("writes without "+gone, 60, func(i int) bool { return other.put(key(written+i)) == shard.CodeOK })
		written += 60
		r.nodes[gone].start(r.seeds)
		r.waitReady(names...)
		r.reads(r.nodes[gone], written, key)
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
