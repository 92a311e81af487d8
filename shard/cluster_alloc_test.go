//go:build !race

package shard

import (
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestAllocThreeNodes: an append through three nodes, and a read with its round, allocate next to nothing on all of them
// together: what is left are the pages, the blocks of the logs' memory and the WALs' buffers, which serve hundreds of
// appends each, and the heartbeats of 256 groups in between.
func TestAllocThreeNodes(t *testing.T) {
	c := newTestCluster(t, 3, func(_ uint64, o *Options) {
		o.FS, o.Dir = walfs.OS(), t.TempDir() // the one in memory copies a block at each write after a sync
		o.SnapshotBytes = 1 << 30
		o.SegmentBytes = 64 << 20
		o.WALSoftBytes, o.WALHardBytes = 1<<30, 2<<30
	})
	c.put("x")
	id := []byte("x")
	group := Of(id)
	n := c.node(c.leader(group))
	template := encodeText(nil, "x", "a message of an ordinary length, as people write them in chats")
	r := AcquireRequest()
	do := func() {
		r.Cmd = append(r.Cmd[:0], template...)
		n.Do(group, r)
		if r.Result.Code != CodeOK {
			t.Fatal(r.Result.Code)
		}
	}
	var v View
	read := func() {
		if code := n.Read(id, &v); code != CodeOK {
			t.Fatal(code)
		}
	}
	for range 3000 {
		do()
		read()
	}
	require.LessOrEqual(t, testing.AllocsPerRun(3000, do), 1.0)
	require.LessOrEqual(t, testing.AllocsPerRun(3000, read), 1.0)
}
