//go:build planted

package sim

import (
	"sync"
	"testing"

	"fastpaca/jepsen/planted"
)

// within is the number of seeds in which each planted bug must be found: at least three times what it took when the
// table was made, so that an innocent change of the schedule does not fail the test.
var within = map[planted.Bug]uint64{}

// TestPlantedBugsAreFound shows that the rig is evidence: each bug, alone, is found. go test -tags planted.
func TestPlantedBugsAreFound(t *testing.T) {
	for b := planted.None + 1; b < planted.End; b++ {
		t.Run(b.String(), func(t *testing.T) {
			limit := within[b]
			if limit == 0 {
				limit = *seedsFlag
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
