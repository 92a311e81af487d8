package history

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTransfer(t *testing.T) {
	from := open(t, Options{Dir: t.TempDir()})
	defer from.Close()
	m := model{}
	for range 20 {
		require.NoError(t, spill(from, 3, m, 4, 60))
	}
	whole := transfer(t, from, 3)

	for name, had := range map[string]int{"empty": 0, "behind": 3, "the same": 20} {
		t.Run(name, func(t *testing.T) {
			to := open(t, Options{Dir: t.TempDir()})
			defer to.Close()
			old := model{}
			for range had {
				require.NoError(t, spill(to, 3, old, 0, 60))
			}
			var before, after Stats
			to.Stats(&before)
			r := bytes.NewReader(append(bytes.Clone(whole), "what follows"...))
			require.NoError(t, to.Receive(3, r))
			require.Equal(t, len("what follows"), r.Len())
			check(t, to, 3, m)
			to.Stats(&after)
			if name == "the same" {
				require.Equal(t, before.Files, after.Files, "nothing was new")
			}
		})
	}
	t.Run("cut or damaged anywhere", func(t *testing.T) {
		to := open(t, Options{Dir: t.TempDir()})
		defer to.Close()
		rng := rand.New(rand.NewPCG(3, 4))
		for range 200 {
			require.Error(t, to.Receive(3, bytes.NewReader(whole[:rng.IntN(len(whole))])))
			bad := bytes.Clone(whole)
			bad[rng.IntN(len(bad)-4)] ^= 4
			require.Error(t, to.Receive(3, bytes.NewReader(bad)))
		}
		require.Empty(t, to.shards[3].files)
		require.NoError(t, to.Receive(3, bytes.NewReader(whole)))
		check(t, to, 3, m)
	})
}

func transfer(t testing.TB, s *Store, shard uint32) []byte {
	tr, err := s.Transfer(shard)
	require.NoError(t, err)
	b, err := io.ReadAll(tr)
	require.NoError(t, err)
	require.EqualValues(t, len(b), tr.Size())
	require.NoError(t, tr.Close())
	return b
}

func FuzzReceive(f *testing.F) {
	from := open(f, Options{Dir: f.TempDir()})
	defer from.Close()
	m := model{}
	_ = spill(from, 0, m, 0, 3)
	f.Add(transfer(f, from, 0))
	f.Add([]byte{0, 0, 0, 0})
	to := open(f, Options{Dir: f.TempDir()})
	defer to.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksums are made right, so that the fuzzer gets behind them.
		for i := 0; i+4 < len(b); {
			n := int(le.Uint32(b[i:]))
			if n < blockHeader || n > len(b)-i-4 {
				break
			}
			le.PutUint32(b[i+4:], checksum(b[i+8:i+4+n]))
			i += 4 + n
		}
		_ = to.Receive(0, bytes.NewReader(b))
	})
}
