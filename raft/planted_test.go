//go:build planted

package raft

import (
	"os"
	"testing"

	"fastpaca/jepsen/planted"

	"github.com/stretchr/testify/require"
)

// TestPlantedCommitOldTerm: entries of earlier terms that commit by counting copies (paper, figure 8) take more elections
// than jepsen/sim, which finds all other planted bugs, has time for. Seed 1930 when this was written.
func TestPlantedCommitOldTerm(t *testing.T) {
	const within = 6000
	planted.Plant(planted.CommitOldTerm)
	defer planted.Plant(planted.None)
	for seed := uint64(1); seed <= within; seed++ {
		if err := newSim(seed, false).play(12000); err != nil {
			t.Logf("seed %d of %d: %v", seed, within, err)
			return
		}
	}
	t.Fatalf("not found in %d seeds", within)
}

// TestPlantedConfBeforeTermCommit: two leaders whose next memberships have no quorum in common need more coincidences than
// 25,000 seeds of jepsen/sim had. A transcript that every test run plays notices the bug where it begins, and another one
// shows what comes of it: two nodes have applied different entries at the same index.
func TestPlantedConfBeforeTermCommit(t *testing.T) {
	planted.Plant(planted.ConfBeforeTermCommit)
	defer planted.Plant(planted.None)
	raw, err := os.ReadFile("testdata/confchange_needs_own_commit.txt")
	require.NoError(t, err)
	_, diff := play(&env{t: t}, string(raw), false)
	require.Contains(t, diff, "wanted:\n", "the transcript does not notice")
	t.Log("confchange_needs_own_commit ", diff)

	const consequence = "testdata/planted/conf_before_term_commit.txt"
	playFile(t, consequence)
	raw, err = os.ReadFile(consequence)
	require.NoError(t, err)
	e := &env{t: t}
	_, diff = play(e, string(raw), false)
	require.Empty(t, diff)
	one, two := e.node(1), e.node(2)
	require.Equal(t, one.sm.index, two.sm.index)
	require.NotEqual(t, one.sm.hash, two.sm.hash, "state-machine safety holds: nothing was broken")

	planted.Plant(planted.None)
	_, diff = play(&env{t: t}, string(raw), false)
	require.Contains(t, diff, "membership change not possible yet", "without the bug, the change is refused")
}
