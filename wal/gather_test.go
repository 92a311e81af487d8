package wal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnlyABusyLogGathers: the writer yields once where one client writes, or a few; some times where a block or so waits
// as a rule, until it does; and never beyond its bound.
func TestOnlyABusyLogGathers(t *testing.T) {
	var g gather
	yields := func(waits func(yield int) int) (n int) {
		g.begin()
		for g.more(waits(n)) {
			n++
		}
		return n
	}
	constant := func(n int) func(int) int { return func(int) int { return n } }
	for range 100 {
		require.Equal(t, 1, yields(constant(300)))
	}
	for range 100 {
		require.Equal(t, 1, yields(constant(6*300)))
	}
	for range 100 {
		require.Equal(t, 1, yields(constant(5000)))
	}
	require.Equal(t, 4, yields(func(yield int) int { return 1000 * yield }), "until there is a block")
	require.Equal(t, gatherYields, yields(constant(300)), "a lone one in a busy time")
	for range 100 {
		yields(constant(300))
	}
	require.Equal(t, 1, yields(constant(300)), "the busy time is over")
}
