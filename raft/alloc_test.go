//go:build !race

package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// One voter: propose, ready, persisted, committed, applied. Nothing is allocated in steady state.
func TestProposeAllocatesNothing(t *testing.T) {
	g := soleVoter(t, Config{})
	data := make([]byte, 200)
	var rd Ready
	cycle := func() {
		for range 8 {
			if _, _, err := g.Propose(KindNormal, data); err != nil {
				t.Fatal(err)
			}
		}
		g.Ready(&rd)
		g.Persisted(rd.Mark)
		for g.HasReady() {
			g.Ready(&rd)
		}
		g.Applied(g.Commit())
	}
	for range 100 {
		cycle()
	}
	require.Zero(t, testing.AllocsPerRun(1000, cycle))
	require.Equal(t, g.Status().Last, g.Status().Applied)
	require.Equal(t, g.Status().Last+1, g.Status().First, "nothing is kept in memory for nobody")
}

func TestReadIndexAllocatesNothing(t *testing.T) {
	g := soleVoter(t, Config{})
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, ready, err := g.ReadIndex(); !ready || err != nil {
			t.Fatal("a sole voter answers at once")
		}
	}))
}
