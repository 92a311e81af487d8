package walfs

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// flat is a file as plain bytes: what processes see, and what is durable.
type flat struct{ now, synced []byte }

func (f *flat) write(p []byte, off int) {
	if end := off + len(p); end > len(f.now) {
		f.now = append(f.now, make([]byte, end-len(f.now))...)
	}
	copy(f.now[off:], p)
}

func (f *flat) resize(size int) {
	if size > len(f.now) {
		f.now = append(f.now, make([]byte, size-len(f.now))...)
	}
	f.now = append([]byte(nil), f.now[:size]...)
}

// TestLivesShareNothingThatChanges: files whose blocks are shared, between what is seen and what is durable and between
// lives of a disk that all go on being written, are at every moment what plain copies of their bytes would be.
func TestLivesShareNothingThatChanges(t *testing.T) {
	const longest = 5 * BlockBytes
	type life struct {
		mem  *Mem
		file File
		flat
	}
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 4))
		first := &life{mem: NewMem()}
		first.file = create(t, first.mem, "/d/f", "")
		require.NoError(t, first.mem.SyncDir("/d"))
		lives := []*life{first}
		for range 200 {
			l := lives[rng.IntN(len(lives))]
			size := len(l.now)
			switch k := rng.IntN(20); {
			case k < 9:
				p, off := make([]byte, 1+rng.IntN(2*BlockBytes)), rng.IntN(longest-2*BlockBytes)
				if rng.IntN(4) > 0 { // else zeros
					for i := range p {
						p[i] = byte(rng.Uint32())
					}
				}
				_, err := l.file.WriteAt(p, int64(off))
				require.NoError(t, err)
				l.write(p, off)
			case k < 12:
				size = rng.IntN(longest)
				require.NoError(t, l.file.Truncate(int64(size)))
				l.resize(size)
			case k < 16:
				require.NoError(t, l.file.Sync())
				l.synced = bytes.Clone(l.now)
			case k == 16 && len(l.synced) > 0 && size > 0:
				off, bit := rng.IntN(min(size, len(l.synced))), uint(rng.IntN(8)) // rot is of what is durable
				require.NoError(t, l.mem.Flip("/d/f", int64(off), bit))
				l.now[off] ^= 1 << bit
				l.synced[off] ^= 1 << bit
			case k > 16:
				next := &life{mem: l.mem.Crash(rng, CrashOptions{})} // nothing unsynced survives
				next.now, next.synced = bytes.Clone(l.synced), bytes.Clone(l.synced)
				var err error
				next.file, err = next.mem.Open("/d/f")
				require.NoError(t, err)
				if len(lives) < 6 {
					lives = append(lives, next)
				} else {
					lives[rng.IntN(len(lives))] = next
				}
			}
			for _, l := range lives {
				require.True(t, string(l.now) == contents(t, l.mem, "/d/f"), "what is seen, seed %d", seed)
				require.True(t, string(l.synced) == contents(t, l.mem.Crash(rng, CrashOptions{}), "/d/f"), "what is durable, seed %d", seed)
			}
		}
	}
}
