package wal

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

func TestSoftLimitScalesWithinTheHardOne(t *testing.T) {
	o := testOptions(walfs.NewMem(), 1)
	o.SoftLimitBytes, o.HardLimitBytes = 10*o.SegmentBytes, 100*o.SegmentBytes
	w, err := Open(o, nil)
	require.NoError(t, err)
	require.Equal(t, 10*o.SegmentBytes, w.softLimit())
	w.ScaleSoftLimit(3 * o.SegmentBytes)
	require.Equal(t, 10*o.SegmentBytes, w.softLimit(), "never below the option")
	w.ScaleSoftLimit(30 * o.SegmentBytes)
	require.Equal(t, 30*o.SegmentBytes, w.softLimit())
	w.ScaleSoftLimit(300 * o.SegmentBytes)
	require.Equal(t, 50*o.SegmentBytes, w.softLimit(), "half of the hard limit at most")
	require.NoError(t, w.Close())
}
