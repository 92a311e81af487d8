//go:build !race

package shard

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestAllocAppendThroughNode: an append from Do through mailbox, raft, WAL and apply to its answer allocates
// nothing, pages and arena blocks aside (both are one allocation for hundreds of appends, so that the average
// rounds down to none).
func TestAllocAppendThroughNode(t *testing.T) {
	o := testOptions(walfs.OS()) // the one in memory copies a block at each write after a sync
	o.Dir = t.TempDir()
	o.SnapshotBytes = 1 << 30
	o.SegmentBytes = 64 << 20
	o.WALSoftBytes, o.WALHardBytes = 1<<30, 2<<30
	n := openNode(t, o)
	require.Equal(t, CodeOK, put(n, "x"))
	id := []byte("x")
	shard := Of(id)
	template := encodeText(nil, "x", "a message of an ordinary length, as people write them in chats")
	r := AcquireRequest()
	do := func() {
		r.Cmd = append(r.Cmd[:0], template...)
		n.Do(shard, r)
		if r.Result.Code != CodeOK {
			t.Fatal(r.Result.Code)
		}
	}
	for range 2000 {
		do()
	}
	require.Zero(t, testing.AllocsPerRun(2000, do))

	var v View
	buf := make([]byte, 0, 64<<10)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if n.Read(id, &v) != CodeOK {
			t.Fatal("read")
		}
		buf = v.AppendWindow(buf[:0], 0)
	}))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if n.Read(id, &v) != CodeOK {
			t.Fatal("read")
		}
		buf = v.AppendTail(buf[:0], 50, 0)
	}))
	require.NoError(t, n.Close())
}
