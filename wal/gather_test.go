package wal

import (
	"testing"
	"time"

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

// TestRoundsEnd: with one processor, the writer lets others run until that brings nothing more to write, and never beyond its bounds.
func TestRoundsEnd(t *testing.T) {
	rounds := func(waits func(round int) int, each time.Duration) (n int) {
		now := time.Unix(0, 0)
		r := rounds{began: now}
		for ; r.more(waits(n), now); n++ {
			now = now.Add(each)
		}
		return n
	}
	require.Equal(t, 1, rounds(func(int) int { return 300 }, 0), "nothing came")
	require.Equal(t, 1, rounds(func(int) int { return 0 }, 0), "nothing to write")
	require.Equal(t, 3, rounds(func(round int) int { return min(300*(round+1), 900) }, 0), "until nothing comes")
	require.Equal(t, arriveRounds, rounds(func(round int) int { return 300 * (round + 1) }, 0))
	require.Equal(t, 0, rounds(func(int) int { return arriveBytes }, 0), "enough for a sync")
	require.Equal(t, 2, rounds(func(round int) int { return 300 * (round + 1) }, arriveTime*2/3), "something else has the processor")
}
