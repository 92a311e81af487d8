package wal

import "fastpaca/wal/walfs"

const (
	zeroChunk = 1 << 20 // written at once
	zeroSync  = 2 << 20 // and synced after, where that is not one operation
)

// zeros pre-writes a file. Where the file can do it, past the page cache: a segment's worth of pages, on every node, is a tenth
// of what a busy node spends where memory is dear (PERF.md, "Three nodes"), and writes of whole blocks (blocks.go) miss none of them.
type zeros struct {
	file   File
	direct walfs.BlockWriter // nil: it cannot
	chunk  []byte
	done   int64
	size   int64
}

func newZeros(f File, size int64) *zeros {
	z := &zeros{file: f, chunk: walfs.Aligned(int(min(zeroChunk, size))), size: size}
	z.direct, _ = f.(walfs.BlockWriter)
	return z
}

// next writes the next chunk. durable says that all of it so far is.
func (z *zeros) next() (durable bool, err error) {
	chunk := z.chunk[:min(int64(len(z.chunk)), z.size-z.done)]
	end := z.done + int64(len(chunk))
	if z.direct != nil {
		done, err := z.direct.WriteBlocks(chunk, z.done)
		if err != nil {
			return false, err
		}
		if done {
			z.done = end
			return true, nil
		}
		z.direct = nil
	}
	if _, err := z.file.WriteAt(chunk, z.done); err != nil {
		return false, err
	}
	z.done = end
	if end%zeroSync != 0 && end < z.size {
		return false, nil
	}
	return true, z.file.Sync()
}
