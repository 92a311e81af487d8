package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNodesHere(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}
	f := func(want int, listen string, seeds ...string) {
		t.Helper()
		require.Equal(t, want, nodesHere(listen, seeds, own), "%s %v", listen, seeds)
	}
	f(1, ":4000")
	f(3, ":4002", "127.0.0.1:4001", "127.0.0.1:4002", "127.0.0.1:4003")
	f(3, "127.0.0.1:4003", "localhost:4001", "127.0.0.1:4001", "[::1]:4002", "localhost:4003")
	f(2, ":4004", "127.0.0.1:4001")                                           // joins
	f(3, "10.0.0.5:4000", "10.0.0.5:4000", "10.0.0.5:4001", "[fd00::5]:4002") // a large machine cut into pieces
	f(2, ":4000", "10.0.0.5:4000", "10.0.0.5:4001", "10.0.0.6:4000", "10.0.0.6:4001")
	f(1, ":4000", "10.0.0.4:4000", "10.0.0.5:4000", "10.0.0.6:4000") // a machine each
	f(1, ":4000", "fastpaca:4000", "fastpaca-2:4001")                // names may be anywhere
	f(1, ":4000", "127.0.0.1:4000", "10.0.0.5:4000", "[::ffff:10.0.0.5]:4000")
}

func TestProcessorShare(t *testing.T) {
	require.Equal(t, 1, processorShare(2, 2, 3, false))
	require.Equal(t, 21, processorShare(64, 64, 3, false))
	require.Zero(t, processorShare(64, 64, 1, false), "alone")
	require.Zero(t, processorShare(64, 64, 3, true), "somebody chose all")
	require.Zero(t, processorShare(64, 4, 3, false), "a part of the machine already")
	require.Zero(t, processorShare(0, 2, 3, false), "nobody knows what the machine has")
}
