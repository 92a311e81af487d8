//go:build !race

package hist

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecordDoesNotAllocate(t *testing.T) {
	var h H
	require.Zero(t, testing.AllocsPerRun(1000, func() { h.Record(123 * time.Microsecond) }))
}
