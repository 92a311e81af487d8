package tokenize

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The hash tables are as sparse where it matters as their comments say: a hash that does not spread changes
// no count, only the speed, and so would pass all other tests (one did: all long tokens shared one chain).
func TestHashesSpread(t *testing.T) {
	t.Parallel()
	for i := range encodings {
		e := encodings[i].ours().bpe

		// Over absent keys, how many buckets are looked at?
		looked, keys := 0, 0
		for k := range uint64(50_000) {
			lo, hi := shortKey([]byte{byte(k), byte(k >> 8), 0xFF, 0xFE, byte(k >> 16), 0xFD}) // no token has these
			for h, step := e.pieces.probe(lo, hi); ; h = (h + step) & uint64(len(e.pieces.short)-1) {
				looked++
				if e.pieces.short[h][3].hi == 0 {
					break
				}
			}
			keys++
		}
		require.Less(t, float64(looked)/float64(keys), 2.2, "%s: buckets for an absent piece", encodings[i].name)

		require.Less(t, longestRun(e.pieces.long), 40, "%s: chain of long tokens", encodings[i].name)
		require.Less(t, longestRun(e.pairs.slots), 40, "%s: chain of pairs", encodings[i].name)

		hit, left := 0, uint32(0)
		for range 100_000 {
			left = (left*69069 + 12345) % uint32(e.pairs.tokens)
			if bit := (uint64(left)<<18 | uint64(left^1)) * pairMul >> (64 - filterBits); e.pairs.filter[bit/64]>>(bit%64)&1 != 0 {
				hit++
			}
		}
		require.Less(t, hit, 15_000, "%s: pairs that pass the filter", encodings[i].name)
	}
}

func longestRun[T uint32 | uint64](slots []T) int {
	run, longest := 0, 0
	for _, s := range slots {
		if run++; s == 0 {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}
