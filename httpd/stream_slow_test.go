package httpd

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"
)

func (s *streamServer) closedFor(c cause) uint64 { return s.metrics.streams.closed[c].Get() }

// A reader that stalls and comes back finds events without a gap and then 1008, never half a frame. The writer does
// not wait for it: the store here applies on the writer's goroutine, and all writes are made while it stalls.
func TestStreamSlowConsumer(t *testing.T) {
	for _, size := range []int{10, 700, 5000, 40_000, 60_000, 300_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := startStreams(t, func(c *Config) { c.Streams.StallTimeout = 100 * time.Millisecond })
			s.store.create("c")
			c := s.dialBuffered(t, "c", "", smallBuffer)
			versions := 4_000_000/(size+200) + 1
			for range versions {
				s.store.append("c", 1, size)
			}
			require.Eventually(t, func() bool { return s.closedFor(causeSlow) == 1 }, testWait, time.Millisecond)

			seq, version := uint64(0), uint64(0)
			for {
				e, err := c.next()
				var closed *websocket.CloseError
				if errors.As(err, &closed) {
					require.Equal(t, 1008, closed.Code)
					require.Equal(t, "slow_consumer", closed.Text)
					break
				}
				if errors.Is(err, io.ErrUnexpectedEOF) {
					require.NoError(t, err, "the stream was cut in the middle of a frame")
				}
				require.NoError(t, err)
				switch e.Type {
				case "message":
					seq++
					require.Equal(t, seq, e.Seq)
				case "context":
					version++
					require.Equal(t, version, e.Version)
				}
			}
			require.Less(t, seq, uint64(versions), "it was slow, after all")

			// It resumes where it was.
			c = s.dialWS(t, "c", fmt.Sprintf("?cursor=%d", version))
			require.Equal(t, version+1, c.must().Seq)
		})
	}
}

// A client that takes a little now and then, but too little, is slow as well.
func TestStreamTrickle(t *testing.T) {
	s := startStreams(t, func(c *Config) { c.Streams.StallTimeout = 100 * time.Millisecond })
	s.store.create("c")
	c := s.dialBuffered(t, "c", "", smallBuffer)
	for range 400 {
		s.store.append("c", 1, 30_000)
	}
	buf := make([]byte, 512)
	require.Eventually(t, func() bool {
		c.NetConn().Read(buf)
		return s.closedFor(causeSlow) == 1
	}, testWait, 20*time.Millisecond)
}

func TestStreamLag(t *testing.T) {
	s := startStreams(t, func(c *Config) { c.Streams.StallTimeout, c.Streams.MaxLag = 40*time.Second, 100 })
	s.store.create("c")
	s.dialBuffered(t, "c", "", smallBuffer)
	for range 100 { // fills the socket
		s.store.append("c", 1, 30_000)
	}
	require.Eventually(t, func() bool { // blocked now, and falling behind; long before StallTimeout
		for range 10 {
			s.store.append("c", 1, 10)
		}
		return s.closedFor(causeSlow) == 1
	}, testWait, 20*time.Millisecond)
}

// An SSE client that stalls is cut off; what it reads afterwards ends with a whole event, and it resumes by id.
func TestSSESlowConsumer(t *testing.T) {
	s := startStreams(t, func(c *Config) { c.Streams.StallTimeout = 100 * time.Millisecond })
	s.store.create("c")
	c := s.dialSSE(t, "c", "", "")
	for range 600 {
		s.store.append("c", 2, 10_000)
	}
	require.Eventually(t, func() bool { return s.closedFor(causeSlow) == 1 }, testWait, time.Millisecond)
	seq := uint64(0)
	for {
		e, err := c.next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if e.Type == "message" {
			seq++
			require.Equal(t, seq, e.Seq)
		}
	}
	require.Less(t, seq, uint64(1200))
	last := c.lastID
	c = s.dialSSE(t, "c", "", last)
	for {
		if e := c.must(); e.Type == "message" {
			require.Equal(t, seq+1, e.Seq, "after %s", last)
			break
		}
	}
}

// Shutdown does not wait for a client that stalls, whether it blocks a write or lingers after 1008.
func TestStreamShutdownWithStalledClients(t *testing.T) {
	s := startStreams(t, func(c *Config) { c.Streams.StallTimeout = time.Minute })
	s.store.create("c")
	blocked := s.dialBuffered(t, "c", "", smallBuffer)
	for range 200 {
		s.store.append("c", 1, 30_000)
	}
	time.Sleep(50 * time.Millisecond) // most likely blocked by now
	s.streams.shutdown(t.Context())
	seq := uint64(0)
	for {
		e, err := blocked.next()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			require.Equal(t, 1001, closed.Code)
			break
		}
		require.NoError(t, err)
		if e.Type == "message" {
			seq++
			require.Equal(t, seq, e.Seq)
		}
	}
}

// Even when the server has stopped waiting, the kernel delivers what it was given.
func TestStreamSlowConsumerAfterLinger(t *testing.T) {
	s := startStreams(t, func(c *Config) {
		c.Streams.StallTimeout, c.Streams.Linger = 100*time.Millisecond, 10*time.Millisecond
	})
	s.store.create("c")
	c := s.dialBuffered(t, "c", "", smallBuffer)
	for range 200 {
		s.store.append("c", 1, 30_000)
	}
	require.Eventually(t, func() bool {
		return s.closedFor(causeSlow) == 1 && s.metrics.streams.open[kindWS].Load() == 0 && s.metrics.connections.Load() == 0
	}, testWait, time.Millisecond)
	code, reason := c.closeCode()
	require.Equal(t, 1008, code)
	require.Equal(t, "slow_consumer", reason)
}
