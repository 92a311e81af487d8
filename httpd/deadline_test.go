package httpd

import (
	"net"
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
	d.set(1000, real.set)
	d.sweep(0, real.set)
	d.set(2000, real.set)
	d.sweep(1500, real.set)
	require.Empty(t, real.calls, "nothing has passed")

	d.sweep(2000, real.set)
	d.sweep(3000, real.set)
	require.Equal(t, []time.Time{longAgo()}, real.calls, "fired, once")

	d.set(5000, real.set)
	require.Equal(t, []time.Time{longAgo(), {}}, real.calls, "a deadline moved on clears what was fired")
	d.set(0, real.set)
	d.sweep(1<<60, real.set)
	require.Len(t, real.calls, 2, "no deadline, nothing to fire")
}

// TestLazyDeadlineRace: the connection moves its deadline between the sweeper's look and its shot. Whatever the
// order, no shot stays.
func TestLazyDeadlineRace(t *testing.T) {
	var d lazyDeadline
	d.set(1000, func(time.Time) error { return nil })
	var last time.Time
	moved := false
	d.sweep(1000, func(t time.Time) error {
		last = t
		if !moved { // in the middle of firing
			moved = true
			d.set(9000, func(t time.Time) error { last = t; return nil })
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

// TestDeadlinesCountFromTheStart: the wall clock, which somebody may turn, has no part in them.
func TestDeadlinesCountFromTheStart(t *testing.T) {
	before := time.Now()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, newMemoryStore())
	cfg.ReadTimeout = 100 * time.Millisecond // swept often
	l := newListener(New(cfg), ln)
	defer func() {
		require.NoError(t, l.Close())
		l.closeConns()
		l.group.Wait()
	}()
	require.NotZero(t, l.after(0), "0 is no deadline")
	eventually(t, func() bool { return l.clock.Load() > 0 })
	at := l.after(time.Minute)
	require.Greater(t, at, int64(time.Minute))
	require.LessOrEqual(t, at, int64(time.Since(before)+l.period+time.Minute))
}
