package cluster

import (
	"fmt"
	"testing"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// What the map wants is ahead of what is: a replica that is to come hears of no election yet, and one that is to go may still
// lead. A request finds the leader all the same, through a node that has been given a replica and has nothing of it, and where
// none of those that the map names leads.
func TestTheMapIsAheadOfTheGroups(t *testing.T) {
	r := newRig(t)
	still := func(o *Options) { o.pace.settleIn = 1 << 60 } // nobody coordinates: replicas stay where they are
	r.found(still, "a")
	b := r.listen("b").start(r.seeds, still)
	r.waitReady("a", "b")
	own := b.member.Load().id
	for i, set := range [][]uint64{{1}, {1, own}, {own}} {
		// b alone believes in this map, so that a does nothing about it.
		pm := b.Map().Clone()
		for g := range pm.Replicas {
			pm.Replicas[g] = set
		}
		b.member.Load().machine.shown.Store(pm)
		for j := range 20 {
			key := fmt.Sprintf("k-%d-%d", i, j)
			group := shard.Of([]byte(key))
			b.hints.leader[group].Store(0)
			require.Equal(t, shard.CodeOK, b.put(key), "a write, by a map that wants %v", set)
			b.hints.leader[group].Store(0)
			require.Equal(t, shard.CodeOK, b.get(key), "a read, by a map that wants %v", set)
		}
	}
}
