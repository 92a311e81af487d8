package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGarbageIsAFloorOrAShare(t *testing.T) {
	require.Equal(t, percentMax, gcPercent(0))
	require.Equal(t, percentMax, gcPercent(1<<20), "a small heap does not collect all the time")
	require.Equal(t, 100, gcPercent(64<<20))
	require.Equal(t, garbagePercent, gcPercent(10<<30), "a big heap is not held twice")
}
