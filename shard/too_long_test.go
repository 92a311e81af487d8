package shard

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/wal"

	"github.com/stretchr/testify/require"
)

// TestEntryLongerThanTheLogTakes: one of three nodes has smaller segments than the others, and they take a request that its log
// cannot hold. It does without that group, and keeps the others; with segments like theirs it has all of it.
func TestEntryLongerThanTheLogTakes(t *testing.T) {
	var told atomic.Int32
	var small atomic.Bool
	small.Store(true)
	c := newTestCluster(t, 3, func(id uint64, o *Options) {
		o.SnapshotBytes, o.MaxCommandBytes = 1<<40, 2<<20 // what it lacks has to come out of the log
		if id == 3 && small.Load() {
			o.SegmentBytes = wal.MinSegmentBytes(groupCount) // 2 MiB
			o.Logf = func(event string, _ ...any) {
				if event == "entry_too_long" {
					told.Add(1)
				}
			}
		}
	})
	c.put("x")
	group, other := Of([]byte("x")), "y"
	for Of([]byte(other)) == group {
		other += "y"
	}
	require.Eventually(t, func() bool {
		if n := c.node(3); n.groups[group].leads.Load() { // it would refuse the request
			_ = n.Transfer(group, 1)
			return false
		}
		_, code := c.append("x", strings.Repeat("l", 1300<<10))
		return code == CodeOK
	}, time.Minute, 5*time.Millisecond)
	c.append("x", strings.Repeat("l", 1300<<10)) // one of them may still find room in the segment
	require.Eventually(t, func() bool { return told.Load() > 0 }, time.Minute, time.Millisecond)
	require.False(t, c.node(3).Follows(group))
	c.mustAppend("x", "two are enough")
	c.put(other)
	c.converge(Of([]byte(other)))
	require.EqualValues(t, 1, told.Load())

	c.stop(3)
	small.Store(false)
	c.start(3)
	c.converge(group)
}
