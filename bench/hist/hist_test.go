package hist

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBucketsAreContiguousAndOrdered(t *testing.T) {
	// Every bucket's upper bound belongs to it and the next value to the next bucket.
	for i := range buckets - 1 {
		require.Equal(t, i, index(upper(i)), "bucket %d", i)
		require.Equal(t, i+1, index(upper(i)+1), "bucket %d", i)
	}
	require.Equal(t, buckets-1, index(math.MaxUint64), "huge values saturate")
}

func TestQuantileAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h H
	var all []time.Duration
	for range 100_000 {
		d := time.Duration(math.Exp(rng.Float64()*18)) + 1 // 1 ns .. 65 ms, log-uniform
		all = append(all, d)
		h.Record(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		rank := max(int(math.Ceil(q*float64(len(all)))), 1)
		want := all[rank-1]
		got := h.Quantile(q)
		require.GreaterOrEqual(t, got, want, "q=%v", q)
		require.LessOrEqual(t, float64(got), float64(want)*(1+1.0/subs), "q=%v", q)
	}
	require.Equal(t, all[len(all)-1], h.Max())
	require.Equal(t, uint64(len(all)), h.Count())
}

func TestEmptyNegativeAndSaturated(t *testing.T) {
	var h H
	require.Zero(t, h.Quantile(0.99))
	require.Zero(t, h.Mean())
	h.Record(-time.Second)
	require.Zero(t, h.Quantile(1))
	h.Record(time.Duration(math.MaxInt64))
	require.Equal(t, time.Duration(math.MaxInt64), h.Max())
	require.Equal(t, uint64(2), h.Count())
}

func TestAddAndReset(t *testing.T) {
	var a, b H
	a.Record(10)
	b.Record(30)
	b.Record(20)
	a.Add(&b)
	require.Equal(t, uint64(3), a.Count())
	require.Equal(t, time.Duration(20), a.Mean())
	require.Equal(t, time.Duration(20), a.Quantile(0.5))
	require.Equal(t, time.Duration(30), a.Quantile(1))
	a.Reset()
	require.Zero(t, a.Count())
}

func TestStatistics(t *testing.T) {
	xs := []float64{3, 1, 2}
	require.Equal(t, 2.0, Median(xs))
	require.Equal(t, []float64{3, 1, 2}, xs, "the input is not sorted in place")
	require.Equal(t, 2.0, Median([]float64{4, 1, 2, 3}))
	require.Zero(t, Median[float64](nil))

	require.Equal(t, []float64{0.5, 2}, Ratios([]float64{1, 7, 4}, []float64{2, 0, 2}))
	require.Empty(t, Ratios([]float64{1}, nil))

	lo, hi := Spread(xs)
	require.Equal(t, [2]float64{1, 3}, [2]float64{lo, hi})
	lo, hi = Spread(nil)
	require.Zero(t, lo+hi)
}
