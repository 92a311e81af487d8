//go:build planted

package sim

import (
	"sync"
	"testing"

	"fastpaca/jepsen/planted"
)

// within is the number of seeds in which each planted bug must be found: several times what it took when the table was
// made (behind each), so that an innocent change of the schedule does not fail the test.
var within = [planted.End]uint64{
	planted.AckBeforeSync:         20,  // 1
	planted.VoteBeforeDurable:     100, // 5
	planted.VoteForgotten:         60,  // 5
	planted.VoteForAnybody:        20,  // 1
	planted.SuffixKept:            20,  // 1
	planted.CommitWithoutLeader:   20,  // 1
	planted.HeartbeatCommits:      20,  // 1
	planted.LeaderCountsUnsynced:  200, // 37
	planted.LearnerCounted:        200, // 18
	planted.ConfWithoutJoint:      120, // 18
	planted.ReadBeforeTermCommit:  100, // 2
	planted.ReadRoundReused:       800, // 37
	planted.ReadWithoutRound:      100, // 1
	planted.VoteNotPersisted:      60,  // 5
	planted.SnapshotNotSynced:     40,  // 2
	planted.SnapshotNameNotSynced: 40,  // 2
	planted.HistoryNotSynced:      60,  // 6
	planted.KeysNotInSnapshot:     40,  // 1
	planted.LostAnsweredOK:        40,  // 6
	planted.UnknownAnsweredLost:   20,  // 4
	planted.ApplyTwice:            20,  // 1
	planted.GuardIgnored:          20,  // 1
	planted.CommitOldTerm:         0,   // raft's own simulation finds it: raft/planted_test.go
	planted.ConfBeforeTermCommit:  0,   // in no 25,000 seeds; a transcript shows it: raft/planted_test.go
}

// TestPlantedBugsAreFound shows that the rig is evidence: each bug, alone, is found. go test -tags planted.
func TestPlantedBugsAreFound(t *testing.T) {
	for b := planted.None + 1; b < planted.End; b++ {
		t.Run(b.String(), func(t *testing.T) {
			limit := within[b]
			if limit == 0 {
				t.Skip("found in package raft")
			}
			planted.Plant(b)
			defer planted.Plant(planted.None)
			seed, err := firstFailure(limit)
			if err == nil {
				t.Fatalf("not found in %d seeds", limit)
			}
			t.Logf("seed %d of %d: %.300v", seed, limit, err)
		})
	}
}

// TestNothingPlanted: the tag alone breaks nothing.
func TestNothingPlanted(t *testing.T) {
	if seed, err := firstFailure(10); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
}

// firstFailure plays seeds 1..n until one fails, and returns the lowest that did.
func firstFailure(n uint64) (seed uint64, err error) {
	var mu sync.Mutex
	each(n, func(i uint64) {
		mu.Lock()
		over := err != nil && seed < i+1
		mu.Unlock()
		if over {
			return
		}
		r := New(Config{Seed: i + 1}).Run()
		mu.Lock()
		defer mu.Unlock()
		if r.Err != nil && (err == nil || i+1 < seed) {
			seed, err = i+1, r.Err
		}
	})
	return seed, err
}
