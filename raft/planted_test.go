//go:build planted

package raft

import (
	"testing"

	"fastpaca/jepsen/planted"
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
