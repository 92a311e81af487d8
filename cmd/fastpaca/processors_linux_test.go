package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCountProcessors(t *testing.T) {
	for list, want := range map[string]int{
		"0": 1, "0-1": 2, "0-3,8,10-11": 7, "0-127": 128,
		"": 0, "all": 0, "3-0": 0, "0-": 0, "-1": 0, "0,,1": 0, "0-99999999": 0,
	} {
		require.Equal(t, want, countProcessors(list), "%q", list)
	}
	require.GreaterOrEqual(t, machineProcessors(), runtime.NumCPU())
}
