package httpd

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// spy records what reaches the real connection.
type spy struct{ calls []time.Time }

func (s *spy) set(t time.Time) error { s.calls = append(s.calls, t); return nil }

func TestLazyDeadlineTouchesTheConnectionOnlyWhenItPasses(t *testing.T) {
	var d lazyDeadline
	var real spy
	now := time.Now()
	at := func(dt time.Duration) int64 { return now.Add(dt).UnixNano() }

	require.NoError(t, d.set(now.Add(time.Second), real.set))
	d.sweep(at(0), real.set)
	require.NoError(t, d.set(now.Add(2*time.Second), real.set))
	d.sweep(at(1500*time.Millisecond), real.set)
	require.Empty(t, real.calls, "nothing has passed")

	d.sweep(at(2*time.Second), real.set)
	d.sweep(at(3*time.Second), real.set)
	require.Equal(t, []time.Time{longAgo()}, real.calls, "fired, once")

	require.NoError(t, d.set(now.Add(5*time.Second), real.set))
	require.Equal(t, []time.Time{longAgo(), {}}, real.calls, "a deadline moved on clears what was fired")
	require.NoError(t, d.set(time.Time{}, real.set))
	d.sweep(at(time.Hour), real.set)
	require.Len(t, real.calls, 2, "no deadline, nothing to fire")
}

// TestLazyDeadlineRace: the connection moves its deadline between the sweeper's look and its shot. Whatever the
// order, no shot stays.
func TestLazyDeadlineRace(t *testing.T) {
	var d lazyDeadline
	now := time.Now()
	require.NoError(t, d.set(now, func(time.Time) error { return nil }))
	var last time.Time
	moved := false
	d.sweep(now.UnixNano(), func(t time.Time) error {
		last = t
		if !moved { // in the middle of firing
			moved = true
			_ = d.set(now.Add(time.Hour), func(t time.Time) error { last = t; return nil })
		}
		return nil
	})
	require.True(t, last.IsZero(), "the connection is left without a deadline that has passed")
}

func TestSweepPeriodFollowsTheShortestTimeout(t *testing.T) {
	require.Equal(t, time.Second, sweepEvery(time.Minute, time.Hour))
	require.Equal(t, 100*time.Millisecond, sweepEvery(1600*time.Millisecond, time.Minute))
	require.Equal(t, sweepMin, sweepEvery(time.Millisecond))
}
