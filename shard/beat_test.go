package shard

import (
	"testing"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// TestLeadersBeatInStep: whenever the groups got their leaders, a node sends the heartbeats of all that it leads at one tick, and
// none at the tick after.
func TestLeadersBeatInStep(t *testing.T) {
	s := newStepped(t, 3, 3)
	s.tune = func(o *Options) { o.Loops = 1 }
	for _, id := range s.ids {
		s.start(id)
	}
	s.settle()
	beats := func() (of map[uint64]int) { // a tick in which everything arrives
		of = map[uint64]int{}
		for _, m := range s.tick(1) {
			if m.Type == raft.MsgHeartbeat {
				of[m.From]++
			}
		}
		return of
	}
	for range 4 {
		beats() // what was under way
	}
	last := beats()
	for range 20 {
		now := beats()
		for _, id := range s.ids {
			led := 0
			for group := uint32(0); group < Shards; group += 64 {
				if s.nodes[id].groups[group].leads.Load() {
					led++
				}
			}
			require.ElementsMatch(t, []int{0, 2 * led}, []int{last[id], now[id]}, "node %d", id)
		}
		last = now
	}
	s.close()
}
