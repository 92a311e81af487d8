package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The published vectors of xxHash64 (seed 0), one per branch of the function, and the shard of a few
// ids. If this test fails, contexts would be looked for in shards that do not hold them.
func TestHashIsPinned(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
	}{
		{"", 0xef46db3751d8e999},
		{"a", 0xd24ec4f1a98c6e5b},
		{"as", 0x1c330fb2d66be179},
		{"asd", 0x631c37ce72a97393},
		{"asdf", 0x415872f599cea71e},
		{"abc", 0x44bc2cf5ad770999},
		{"Call me Ishmael. Some years ago--never mind how long precisely-", 0x02a2e85470d6fd96},
	} {
		require.Equal(t, c.want, hash64([]byte(c.in)), "%q", c.in)
	}
	require.Equal(t, uint32(0x99), Of([]byte("abc")))
	require.Equal(t, uint32(0x96), Of([]byte("Call me Ishmael. Some years ago--never mind how long precisely-")))
}

// Ids as people choose them must spread evenly: no shard may hold more than twice its share.
func TestHashSpreads(t *testing.T) {
	for _, format := range []string{"support-%d", "%d", "user/%08d/chat", strings.Repeat("x", 200) + "%d"} {
		var per [Shards]int
		const n = Shards * 200
		for i := range n {
			per[Of(fmt.Appendf(nil, format, i))]++
		}
		for s, got := range per {
			require.Less(t, got, 400, "shard %d of ids like %q", s, format)
			require.Greater(t, got, 100, "shard %d of ids like %q", s, format)
		}
	}
}
