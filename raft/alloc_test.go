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

// Three voters, the followers' steps included: a proposal is replicated, acknowledged, committed and
// applied everywhere, and a read round confirmed, without an allocation.
func TestReplicationAllocatesNothing(t *testing.T) {
	var groups [3]*Group
	var rds [3]Ready
	for i := range groups {
		var err error
		groups[i], err = New(fill(Config{ID: uint64(i + 1), RetainBytes: 4 << 10}), voters(1, 2, 3))
		require.NoError(t, err)
	}
	run := func(i int) {
		g, rd := groups[i], &rds[i]
		for g.HasReady() {
			g.Ready(rd)
			if rd.MustSync {
				g.Persisted(rd.Mark)
			}
			if n := len(rd.Committed); n > 0 {
				g.Applied(rd.Committed[n-1].Index)
			}
			for k := range rd.Messages {
				if err := groups[rd.Messages[k].To-1].Step(&rd.Messages[k]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	busy := func() bool { return groups[0].HasReady() || groups[1].HasReady() || groups[2].HasReady() }
	all := func() {
		for busy() {
			for i := range groups {
				run(i)
			}
		}
	}
	groups[0].Campaign()
	all()
	require.True(t, groups[0].IsLeader())
	data := make([]byte, 200)
	cycle := func() {
		for range 4 {
			if _, _, err := groups[0].Propose(KindNormal, data); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := groups[0].ReadIndex(); err != nil {
			t.Fatal(err)
		}
		groups[0].Tick()
		all()
	}
	for range 100 {
		cycle()
	}
	require.Zero(t, testing.AllocsPerRun(1000, cycle))
	s := groups[2].Status()
	require.Equal(t, s.Last, s.Applied)
	require.Greater(t, s.Applied, uint64(4000))
	require.LessOrEqual(t, s.Last-s.First, uint64(4<<10/(200+entryOverhead)+1), "memory is bounded by RetainBytes")
}

func BenchmarkProposeOneVoter(b *testing.B) {
	g := soleVoter(b, Config{})
	data := make([]byte, 200)
	var rd Ready
	b.ReportAllocs()
	for b.Loop() {
		for range 16 {
			_, _, _ = g.Propose(KindNormal, data)
		}
		g.Ready(&rd)
		g.Persisted(rd.Mark)
		for g.HasReady() {
			g.Ready(&rd)
		}
		g.Applied(g.Commit())
	}
}
