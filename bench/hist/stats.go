package hist

import (
	"cmp"
	"slices"
)

// Median returns the middle of xs, the lower of the two middle ones where their number is even (a value that was
// measured, and the stricter one for a ratio), 0 of none. xs is not changed.
func Median[T cmp.Ordered](xs []T) T {
	var zero T
	if len(xs) == 0 {
		return zero
	}
	s := slices.Clone(xs)
	slices.Sort(s)
	return s[(len(s)-1)/2]
}

// Ratios divides a by b pairwise, leaving out pairs whose divisor is 0. The shorter slice decides the length.
//
// The benchmark measures in rounds A/B/A/B and takes the median of the ratios of each round, not the ratio of two
// medians: a neighbour that slows the machine down for a while slows both halves of a round, and the ratio stays.
func Ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// Spread returns the smallest and the largest of xs, 0 and 0 of none.
func Spread(xs []float64) (lo, hi float64) {
	if len(xs) == 0 {
		return 0, 0
	}
	return slices.Min(xs), slices.Max(xs)
}
