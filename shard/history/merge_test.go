package history

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestMessagesAreRewrittenTwice: however long a shard's history becomes, each byte is written when it is spilled and twice by
// merges, and there are few small files.
func TestMessagesAreRewrittenTwice(t *testing.T) {
	const spillBytes = 325_000
	for name, size := range map[string]func(*rand.Rand) int64{
		"equal spills":   func(*rand.Rand) int64 { return spillBytes },
		"uneven":         func(r *rand.Rand) int64 { return spillBytes/2 + r.Int64N(spillBytes) },
		"one in ten big": func(r *rand.Rand) int64 { return spillBytes * (1 + 4*int64((r.IntN(10)+1)/10)) },
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			var files []*file
			var spilled, merged int64
			most := 0
			for i := range 5000 {
				h := &file{size: size(rng)}
				spilled += h.size
				files = append(files, h)
				for {
					i, j := pick(files, mergeGrowth)
					if i == j {
						break
					}
					one := &file{}
					for _, h := range files[i:j] {
						one.size += h.size
					}
					merged += one.size
					require.LessOrEqual(t, one.size, int64(MergeMax))
					files = append(append(append([]*file(nil), files[:i]...), one), files[j:]...)
				}
				most = max(most, countSmall(files))
				if i%1666 == 0 || i == 27 || i == 55 || i == 255 {
					t.Logf("%5d spills, %5d MB: rewritten %.2f times, %d files", i+1, spilled>>20, float64(merged)/float64(spilled), len(files))
				}
				require.LessOrEqual(t, float64(merged), 2.1*float64(spilled))
			}
			t.Logf("at most %d small files", most)
			require.LessOrEqual(t, most, filesShare*mergeGrowth)
		})
	}
}

// TestShardsMergeAtDifferentTimes: of shards that get the same, few merge after the same spill.
func TestShardsMergeAtDifferentTimes(t *testing.T) {
	s := &Store{growth: mergeGrowth}
	shards := map[int64]int{} // by growth
	sum := int64(0)
	for shard := range uint32(256) {
		g := s.growthOf(shard)
		shards[g]++
		sum += g
		require.InDelta(t, mergeGrowth, g, mergeGrowth/4)
	}
	require.InDelta(t, mergeGrowth, sum/256, 1)
	for g, n := range shards {
		require.LessOrEqual(t, n, 256/10, "growth %d", g)
	}
}

// TestAnyFilesEnd: whatever sizes there are, merging ends, and leaves no more files than are allowed.
func TestAnyFilesEnd(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		var files []*file
		for range 1 + rng.IntN(300) {
			files = append(files, &file{size: 200 + rng.Int64N(1<<(8+rng.IntN(18)))})
		}
		for {
			i, j := pick(files, mergeGrowth)
			if i == j {
				break
			}
			require.GreaterOrEqual(t, j-i, mergeGrowth)
			one := &file{}
			for _, h := range files[i:j] {
				one.size += h.size
			}
			files = append(append(append([]*file(nil), files[:i]...), one), files[j:]...)
		}
		require.LessOrEqual(t, countSmall(files), filesShare*mergeGrowth)
	}
}

func countSmall(files []*file) (n int) {
	for _, h := range files {
		if h.size <= MergeMax/mergeGrowth {
			n++
		}
	}
	return n
}

// TestALookupAsksOneFile: a page is looked for in one file, however many the shard has and whatever context it is of; only
// among thousands of contexts are those files asked that have too many to keep them in mind.
func TestALookupAsksOneFile(t *testing.T) {
	for _, c := range []struct {
		contexts int
		asked    float64 // index pages a lookup, on average
	}{{1, 1}, {40, 1}, {spansMax + 200, 4}} {
		t.Run(fmt.Sprint(c.contexts), func(t *testing.T) {
			s := open(t, Options{FS: walfs.NewMem(), Dir: "/h"})
			defer s.Close()
			s.growth = 4
			rng := rand.New(rand.NewPCG(5, uint64(c.contexts)))
			last := make([]uint64, c.contexts)
			for range 63 {
				w, err := s.Writer(1)
				require.NoError(t, err)
				for i := range last {
					if c.contexts > 1 && rng.IntN(1+c.contexts/10) > 0 {
						continue
					}
					for range 5 {
						last[i]++
						id := fmt.Sprintf("context-%04d", i)
						require.NoError(t, w.Message([]byte(id), last[i], message(id, int(last[i]))))
					}
				}
				require.NoError(t, w.Commit())
				_, err = s.Merge(1)
				require.NoError(t, err)
			}
			require.Greater(t, len(s.shards[1].files), 2)
			lookups := 0
			for i, n := range last {
				id := fmt.Sprintf("context-%04d", i)
				for seq := uint64(1); seq <= n; seq += 2 {
					lookups++
					has, err := s.Has(1, id, seq)
					require.NoError(t, err)
					require.True(t, has, "%s %d", id, seq)
				}
				has, err := s.Has(1, id, n+1)
				require.NoError(t, err)
				require.False(t, has)
			}
			var st Stats
			s.Stats(&st)
			t.Logf("%d files, %.2f index pages a lookup", len(s.shards[1].files), float64(st.Asked)/float64(lookups))
			require.LessOrEqual(t, float64(st.Asked), c.asked*float64(lookups))
		})
	}
}
