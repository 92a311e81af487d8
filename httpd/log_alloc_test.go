//go:build !race

package httpd

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// gate is a sink that takes nothing until it is closed.
type gate chan struct{}

func (g gate) Write(p []byte) (int, error) { <-g; return len(p), nil }

func TestLogAllocatesNothing(t *testing.T) {
	id := []byte("support-123")
	off := NewLogger(io.Discard, LevelInfo)
	defer off.Close()
	require.Zero(t, testing.AllocsPerRun(1000, func() { off.appended(id, 1, 1, 1) }), "disabled level")

	// All the lines that can be under way at once are made beforehand: the measurement may get through before
	// the logger's goroutine has its first turn.
	sink := gate(make(chan struct{}))
	on := NewLogger(sink, LevelDebug)
	defer on.Close()
	for on.Dropped() == 0 {
		on.appended(id, 1, 1, 1)
	}
	close(sink)
	eventually(t, func() bool { return len(on.queue) == 0 })
	require.Zero(t, testing.AllocsPerRun(1000, func() { on.appended(id, 1, 1, 1) }), "enabled level")
}

func TestMetricsAllocateNothing(t *testing.T) {
	m := newMetrics(bareServer(t))
	role := []byte("assistant")
	m.observe(routeMessages, 201, 1)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		m.observe(routeMessages, 201, 123456)
		m.appended(role, 128, true)
	}))
}
