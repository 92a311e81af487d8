//go:build !race

package httpd

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogAllocatesNothing(t *testing.T) {
	id := []byte("support-123")
	off := NewLogger(io.Discard, LevelInfo)
	defer off.Close()
	require.Zero(t, testing.AllocsPerRun(1000, func() { off.appended(id, 1, 1, 1) }), "disabled level")

	on := NewLogger(io.Discard, LevelDebug)
	defer on.Close()
	for range 4 * logQueue { // warm the pool
		on.appended(id, 1, 1, 1)
	}
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
