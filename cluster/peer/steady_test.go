package peer

import (
	"sync"
	"testing"
	"time"

	"fastpaca/jepsen/faults"

	"github.com/stretchr/testify/require"
)

// TestWallClockIsNoTimer: somebody turns the wall clock. Back, and a call still ends when its time is over; forward, and neither calls
// nor connections end early.
func TestWallClockIsNoTimer(t *testing.T) {
	var clock faults.Clock
	leave := make(chan struct{})
	a, _ := pair(t, func(_ *rig, c *Config) {
		c.Now = clock.Now
		c.Serve = func(_ uint64, kind uint8, _, dst []byte) []byte {
			if kind == 2 {
				<-leave
			}
			return append(dst, "done"...)
		}
	})
	release := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(release) // before the transports are closed, which waits for those who serve
	s := a.tr.view.Load().peers[0].data.session.Load()
	call := func(timeout time.Duration) <-chan error {
		before := s.waiting()
		ended := make(chan error, 1)
		go func() {
			_, err := a.tr.Call(2, 2, nil, nil, timeout)
			ended <- err
		}()
		eventually(t, "the call waits", func() bool { return s.waiting() > before })
		return ended
	}
	ends := func(ended <-chan error) (err error) {
		select {
		case err = <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("the call does not end")
		}
		return err
	}
	short := call(time.Second)
	clock.Set(-2*time.Hour, 0)
	require.ErrorIs(t, ends(short), ErrTimeout)

	long := call(time.Minute)
	clock.Set(2*time.Hour, 0)
	require.ErrorIs(t, ends(call(100*time.Millisecond)), ErrTimeout) // housekeeping has looked at all of it since
	select {
	case err := <-long:
		t.Fatalf("it ended early: %v", err)
	default:
	}
	release()
	require.NoError(t, ends(long))
	require.Same(t, s, a.tr.view.Load().peers[0].data.session.Load(), "the connection is the same")
}

func (s *session) waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.calls.slots {
		if x.waiting {
			n++
		}
	}
	return n
}
