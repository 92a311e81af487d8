package pulse

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUntil: a multiple of the period lies where Until says.
func TestUntil(t *testing.T) {
	for _, d := range []time.Duration{time.Nanosecond, 7, time.Microsecond, 50 * time.Millisecond, time.Hour} {
		for range 1000 {
			before := time.Since(began)
			u := Until(d)
			after := time.Since(began)
			require.Positive(t, u)
			require.LessOrEqual(t, u, d)
			require.GreaterOrEqual(t, (after+u)/d*d, before+u, "no multiple of %v in [%v, %v]", d, before+u, after+u)
		}
	}
}

// TestTicker: ticks are due at the multiples of their period, each at a later one, and none comes before its time.
func TestTicker(t *testing.T) {
	const every = 5 * time.Millisecond
	tick := NewTicker(every)
	defer tick.Stop()
	for range 5 {
		due := tick.due
		require.Zero(t, due%every)
		<-tick.C
		require.GreaterOrEqual(t, time.Since(began), due)
		tick.Next()
		require.Greater(t, tick.due, due)
	}
}

// TestLateTicker: who comes after several ticks has had one of them, and gets the next in its time.
func TestLateTicker(t *testing.T) {
	const every = time.Hour
	tick := NewTicker(every)
	defer tick.Stop()
	first := tick.due
	tick.due -= 5 * every // as if it had been taken four hours late
	tick.Next()
	require.Equal(t, first, tick.due)
	require.Empty(t, tick.C)
}
