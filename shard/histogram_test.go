package shard

import (
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

func TestLatencyBuckets(t *testing.T) {
	for _, c := range []struct {
		took   time.Duration
		bucket int
	}{{-1, 0}, {0, 0}, {16 * time.Microsecond, 0}, {16*time.Microsecond + 1, 1}, {32 * time.Microsecond, 1}, {time.Hour, LatencyBuckets - 1}} {
		var h latency
		h.observe(int64(c.took))
		var out Latency
		h.add(&out)
		require.Equal(t, uint64(1), out.Buckets[c.bucket], "%v", c.took)
		require.Equal(t, uint64(1), out.Count)
		require.Equal(t, uint64(max(c.took, 0)), out.Nanos)
		require.True(t, c.bucket == LatencyBuckets-1 || c.took <= LatencyBucket(c.bucket))
	}
}

// TestLatenciesAreCounted: each append that was proposed here counts once.
func TestLatenciesAreCounted(t *testing.T) {
	n := openNode(t, testOptions(walfs.NewMem()))
	require.Equal(t, CodeOK, put(n, "x"))
	for range 10 {
		_, code := appendText(n, "x", "counted")
		require.Equal(t, CodeOK, code)
	}
	var st Stats
	n.Stats(&st)
	require.Equal(t, uint64(11), st.Commit.Count)
	require.GreaterOrEqual(t, st.Apply.Count, uint64(11))
	require.Positive(t, st.Commit.Nanos)
	require.NoError(t, n.Close())
}
