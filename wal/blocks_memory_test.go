package wal

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestBlocksAreTheFile: whatever is appended and written, in pieces of any length, whole is what the file has from the block
// on in which the piece begins, padded what it has from the piece on, and the memory is as a disk wants it.
func TestBlocksAreTheFile(t *testing.T) {
	noise := make([]byte, 202000)
	for i := range noise {
		noise[i] = byte(i*i>>3) | 1
	}
	for seed := range uint64(9) {
		rng := rand.New(rand.NewPCG(seed, 1))
		keep := []int{blockBytes, 5 * blockBytes, 64 << 10}[rng.IntN(3)]
		var m blocks
		var buf, file []byte // file: all that was written
		for range 100 {
			start := len(file)
			piece := make([]byte, []int{8, 100, 3000, blockBytes, 30000, 200000}[rng.IntN(6)]+rng.IntN(3)*8)
			copy(piece, noise[rng.IntN(1000):])
			for len(piece) > 0 { // as an encoder does: room for more than it takes
				n := min(len(piece), 1+rng.IntN(20000))
				if cap(buf)-len(buf) < n+24 {
					buf = m.grow(buf, n+24)
				}
				buf = append(buf, piece[:n]...)
				file = append(file, piece[:n]...)
				piece = piece[n:]
			}
			end := int(alignUp(int64(len(file)), blockBytes))
			want := append(bytes.Clone(file[start&^(blockBytes-1):]), make([]byte, end-len(file))...)
			got := m.whole(buf)
			require.True(t, bytes.Equal(want, got), "seed %d: %d to %d", seed, start, len(file))
			require.True(t, bytes.Equal(want[start%blockBytes:], m.padded(buf)))
			require.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(got)))%walfs.DirectAlign)
			require.Equal(t, start%blockBytes, m.front)
			buf = m.wrote(buf, keep)
			require.Empty(t, buf)
			require.LessOrEqual(t, len(m.mem), keep)
		}
	}
}
