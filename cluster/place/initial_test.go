package place

import (
	"hash/fnv"
	"slices"
	"testing"
)

// The hash decides where clusters that exist have their data. Do not change it: add another beside it.
func TestScoreIsFixedForEver(t *testing.T) {
	h := fnv.New64a()
	for s := range uint32(2 * Shards) {
		for id := range uint64(64) {
			x := score(s, id+1)
			h.Write([]byte{byte(x), byte(x >> 8), byte(x >> 16), byte(x >> 24), byte(x >> 32), byte(x >> 40), byte(x >> 48), byte(x >> 56)})
		}
	}
	if got := h.Sum64(); got != 0xbfb36ab66ebca322 {
		t.Errorf("hash of all scores is %#x", got)
	}
	if got := score(0, 1); got != 0x5e41ab087439611e {
		t.Errorf("score(0, 1) is %#x", got)
	}
}

func TestInitialIsEven(t *testing.T) {
	for n := 1; n <= MaxNodes; n++ {
		var ids []uint64
		for i := range n {
			ids = append(ids, uint64(3*i+1))
		}
		sets := Initial(ids)
		count := make([]int, n)
		for s, set := range sets {
			if len(set) != min(n, Replicas) || !ascending(set) {
				t.Fatalf("%d nodes: shard %d is on %v", n, s, set)
			}
			for _, id := range set {
				i, ok := slices.BinarySearch(ids, id)
				if !ok {
					t.Fatalf("%d nodes: shard %d is on %v", n, s, set)
				}
				count[i]++
			}
		}
		if slices.Max(count)-slices.Min(count) > 1 {
			t.Errorf("%d nodes: replicas per node %v", n, count)
		}
	}
}

// The placement of five founders, for ever.
func TestInitialIsFixedForEver(t *testing.T) {
	h := fnv.New64a()
	for _, set := range Initial([]uint64{1, 2, 3, 4, 5}) {
		for _, id := range set {
			h.Write([]byte{byte(id)})
		}
		h.Write([]byte{0})
	}
	if got := h.Sum64(); got != 0xc7bf78bad30ce743 {
		t.Errorf("placement has hash %#x", got)
	}
}
