package delay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPauses: the first pass at odds of one in one pauses, which a signal may cut short now and then; at odds of 0
// no place counts, let alone pauses.
func TestPauses(t *testing.T) {
	defer func(o uint64) { odds = o }(odds)
	odds = 0
	P(0)
	require.Zero(t, calls[0].Load())
	odds = 1
	for site := 1; site < 100; site++ {
		start := time.Now()
		if P(site); time.Since(start) >= time.Millisecond {
			return
		}
	}
	t.Fatal("99 passes without a pause")
}

func TestOddsComeFromTheEnvironment(t *testing.T) {
	t.Setenv("PERTURB", "")
	require.Zero(t, fromEnvironment())
	t.Setenv("PERTURB", "30")
	require.EqualValues(t, 30, fromEnvironment())
	t.Setenv("PERTURB", "often")
	require.Panics(t, func() { fromEnvironment() })
}
