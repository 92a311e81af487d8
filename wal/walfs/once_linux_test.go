package walfs

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestReadOncePastThePageCache: the same bytes, aligned or not, at the end of the file and beyond it, cached or not.
func TestReadOncePastThePageCache(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	data := make([]byte, 1<<20+1234)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	require.NoError(t, os.WriteFile(name, data, 0o600))
	for _, drop := range []bool{false, true} {
		if drop {
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // best effort
			require.NoError(t, f.Close())
		}
		f, err := OS().(OnceOpener).OpenOnce(name)
		require.NoError(t, err)
		if _, direct := f.(onceFile); drop && !direct {
			t.Log("the file stays in the page cache here: direct reads are not tested")
		}
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, len(data), size)
		buf := make([]byte, len(data)+DirectAlign)
		for _, r := range []struct{ at, off, n int }{
			{0, 0, 64 << 10},
			{0, 4096, len(data) - 4096}, // not whole blocks
			{0, 4096, len(data)},        // beyond the end
			{4096, 8192, 4096},
			{1, 4096, 4096},    // memory that is not aligned
			{0, 100, 4096},     // nor is the offset
			{0, 4096, 100},     // nor the length
			{0, 1 << 20, 8192}, // the last block
			{0, 2 << 20, 4096}, // nothing
		} {
			p := buf[r.at : r.at+r.n]
			clear(p)
			n, err := f.ReadAt(p, int64(r.off))
			want := min(r.n, max(len(data)-r.off, 0))
			require.Equal(t, want, n, "%+v", r)
			require.True(t, bytes.Equal(p[:n], data[min(r.off, len(data)):][:n]), "%+v", r)
			if n < r.n {
				require.ErrorIs(t, err, io.EOF, "%+v", r)
			} else {
				require.NoError(t, err, "%+v", r)
			}
		}
		require.NoError(t, f.Close())
	}
	_, err := OS().(OnceOpener).OpenOnce(name + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
}
