package shard

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
)

func checkBlock(t *testing.T, e *blockEncoder, src []byte) int {
	block := e.encode(nil, src)
	require.LessOrEqual(t, len(block), maxBlockLen(len(src)))
	n, err := s2.DecodedLen(block)
	require.NoError(t, err)
	require.Equal(t, len(src), n)
	got, err := s2.Decode(nil, block)
	require.NoError(t, err)
	require.True(t, bytes.Equal(src, got))
	return len(block)
}

func TestBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var e blockEncoder
	noise := make([]byte, chunkMax)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	zeros := make([]byte, chunkMax)
	for _, n := range []int{0, 1, 7, 8, 15, 16, 17, 59, 60, 61, 64, 255, 256, 257, 4096, 1 << 16, 1<<16 + 1, chunkMax} {
		checkBlock(t, &e, noise[:n])
		checkBlock(t, &e, zeros[:n])
	}
	require.Less(t, checkBlock(t, &e, zeros), chunkMax/20)
	// Runs of noise and of copies of every length and distance, around the limits of both.
	for range 300 {
		var src []byte
		for len(src) < 200_000 && rng.IntN(60) > 0 {
			if n := 1 + rng.IntN(200); rng.IntN(2) == 0 || len(src) == 0 {
				from := rng.IntN(len(noise) - n)
				src = append(src, noise[from:from+n]...)
			} else {
				from := max(0, len(src)-1-rng.IntN(70_000))
				for range n {
					src = append(src, src[from])
					from++
				}
			}
		}
		checkBlock(t, &e, src)
	}
	raw := rawOf(t, snapshotOf(t, chatMachine(t, 2<<20)))
	require.Less(t, checkBlock(t, &e, raw[:chunkMax]), chunkMax*60/100)
}

func FuzzBlock(f *testing.F) {
	f.Add([]byte("abcdefghabcdefghabcdefghabcdefghabcdefghabcdefgh"))
	var e blockEncoder
	f.Fuzz(func(t *testing.T, src []byte) { checkBlock(t, &e, src[:min(len(src), chunkMax)]) })
}
