package shard

import (
	"fmt"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// sameShard returns n ids that live in one shard.
func sameShard(n int) (group uint32, ids []string) {
	group = Of([]byte("id-0"))
	for i := 0; len(ids) < n; i++ {
		if id := fmt.Sprintf("id-%d", i); Of([]byte(id)) == group {
			ids = append(ids, id)
		}
	}
	return group, ids
}

// TestListWalksInOrderOfCreation pages through a shard while it grows, and again after a restart.
func TestListWalksInOrderOfCreation(t *testing.T) {
	fs := walfs.NewMem()
	n := openNode(t, testOptions(fs))
	group, ids := sameShard(25)
	walk := func(n *Node, limit int) (got []string) {
		t.Helper()
		for from, more := uint32(0), true; more; {
			var page []*Context
			var code Code
			page, more, code = n.List(group, from, limit, nil)
			require.Equal(t, CodeOK, code)
			require.LessOrEqual(t, len(page), limit)
			for _, c := range page {
				got = append(got, c.ID())
			}
			from += uint32(len(page))
		}
		return got
	}
	require.Empty(t, walk(n, 10))
	for i, id := range ids {
		require.Equal(t, CodeOK, put(n, id))
		require.Equal(t, ids[:i+1], walk(n, 1+i%7))
	}
	page, more, code := n.List(group, 20, ListMax+1, []*Context{nil})
	require.Equal(t, CodeOK, code)
	require.False(t, more)
	require.Len(t, page, 6, "appended to what was there")
	page, more, code = n.List(group, 1<<31, 1, nil)
	require.Equal(t, CodeOK, code)
	require.False(t, more)
	require.Empty(t, page)
	_, _, code = n.List(PlacementGroup, 0, 1, nil)
	require.Equal(t, CodeUnavailable, code)
	require.NoError(t, n.Close())
	_, _, code = n.List(group, 0, 1, nil)
	require.NotEqual(t, CodeOK, code, "a node that is closed lists nothing, and does not hang")

	n = openNode(t, testOptions(fs))
	require.Equal(t, ids, walk(n, 4))
	require.NoError(t, n.Close())
}
