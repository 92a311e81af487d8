//go:build !race

package tokenize

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCountDoesNotAllocate(t *testing.T) {
	texts := corpus(t) // invalid.txt among them
	texts["long CJK"] = bytes.Repeat([]byte("我们在这里等待着明天的到来"), 100)
	texts["longer than a window"] = bytes.Repeat([]byte("abcd"), windowSize)
	for i := range encodings {
		c := encodings[i].ours()
		for name, text := range texts {
			c.Count(text) // fills the pools
			require.Zero(t, testing.AllocsPerRun(20, func() { c.Count(text) }), "%s %s", encodings[i].name, name)
		}
	}
	chars := mustNew("chars:4")
	for name, text := range texts {
		require.Zero(t, testing.AllocsPerRun(20, func() { chars.Count(text) }), "chars %s", name)
	}
}
