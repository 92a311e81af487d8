package history

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// model is what the store must hold: per context, messages 1..n.
type model map[string]int

func message(id string, seq int) []byte {
	return fmt.Appendf(nil, `{"seq":%d,"role":"user","parts":[{"type":"text","text":"%s says %s"}]}`, seq, id, strings.Repeat("word ", seq%40))
}

// spill writes the next n messages of each context as one generation, beginning back messages before the end of
// what was written, as a node does that lost its place.
func spill(s *Store, shard uint32, m model, back, n int) error {
	w, err := s.Writer(shard)
	if err != nil {
		return err
	}
	for _, id := range []string{"a", "a\x01", "b", "long-" + strings.Repeat("x", 250)} {
		for seq := max(m[id]-back, 0) + 1; seq <= m[id]+n; seq++ {
			if err := w.Message([]byte(id), uint64(seq), message(id, seq)); err != nil {
				w.Abort()
				return err
			}
		}
	}
	if err := w.Commit(); err != nil {
		return err
	}
	for _, id := range []string{"a", "a\x01", "b", "long-" + strings.Repeat("x", 250)} {
		m[id] += n
	}
	return nil
}

// check reads everything back, whole and by pages.
func check(t *testing.T, s *Store, shard uint32, m model) {
	t.Helper()
	for id, n := range m {
		got, next, err := s.Append(nil, shard, id, 1, uint64(n), 1<<30)
		require.NoError(t, err)
		require.EqualValues(t, n+1, next)
		var want []byte
		for seq := 1; seq <= n; seq++ {
			if seq > 1 {
				want = append(want, ',')
			}
			want = append(want, message(id, seq)...)
		}
		require.Equal(t, string(want), string(got))
	}
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	o.Shards = 4
	s, err := Open(o)
	require.NoError(t, err)
	return s
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	defer s.Close()
	s.growth = 4
	m := model{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		require.NoError(t, spill(s, 2, m, rng.IntN(50), 1+rng.IntN(100)))
		if rng.IntN(3) == 0 {
			_, err := s.Merge(2)
			require.NoError(t, err)
		}
	}
	check(t, s, 2, m)
	for id, n := range m {
		for range 200 {
			from := 1 + rng.IntN(n)
			to := from + rng.IntN(100)
			limit := 1 + rng.IntN(5000)
			got, next, err := s.Append([]byte("x"), 2, id, uint64(from), uint64(to), limit)
			require.NoError(t, err)
			require.Greater(t, next, uint64(from), "at least one message")
			require.LessOrEqual(t, next, uint64(min(to, n)+1))
			want := "x"
			for seq := from; seq < int(next); seq++ {
				if seq > from {
					want += ","
				}
				want += string(message(id, seq))
			}
			require.Equal(t, want, string(got))
			require.True(t, len(got)-1 <= limit || next == uint64(from)+1, "%d bytes for a limit of %d", len(got)-1, limit)
			if next <= uint64(min(to, n)) && len(got)-1 < limit/2-400 {
				t.Fatalf("stopped at %d of %d..%d with %d bytes for a limit of %d", next, from, to, len(got)-1, limit)
			}
		}
	}
	got, next, err := s.Append(nil, 2, "nobody", 1, 10, 100)
	require.NoError(t, err)
	require.Empty(t, got)
	require.EqualValues(t, 1, next)
	got, next, err = s.Append(nil, 1, "a", 1, 10, 100)
	require.NoError(t, err)
	require.Empty(t, got, "another shard")
	require.EqualValues(t, 1, next)
}

func TestMergesBoundFilesAndKeepOneCopy(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	m := model{}
	for range 300 {
		require.NoError(t, spill(s, 0, m, 30, 10))
		for {
			worked, err := s.Merge(0)
			require.NoError(t, err)
			if !worked {
				break
			}
		}
		require.LessOrEqual(t, len(s.shards[0].files), filesShare*mergeGrowth)
	}
	check(t, s, 0, m)
	var st Stats
	s.Stats(&st)
	require.EqualValues(t, len(s.shards[0].files), st.Files)
	total := 0
	for _, n := range m {
		total += n
	}
	require.Less(t, st.Messages, int64(2*total), "copies are dropped by merges")
	require.Less(t, st.MergedBytes, 2*st.WrittenBytes)
	s.Close()

	s = open(t, Options{Dir: s.opt.Dir})
	defer s.Close()
	check(t, s, 0, m)
}

// TestCrashAtEveryOperation runs spills and merges, crashes at every file operation with whatever was not synced lost or
// torn, and requires that what was committed is there, that the store opens, and that it goes on.
func TestCrashAtEveryOperation(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		for at := 1; ; at++ {
			mem := walfs.NewMem()
			boom := errors.New("crash")
			count := 0
			fs := walfs.NewFaulty(mem, func(walfs.Call) walfs.Fault {
				if count++; count >= at {
					return walfs.Fault{Err: boom}
				}
				return walfs.Fault{}
			})
			m, tried := model{}, 0
			s, err := Open(Options{FS: fs, Dir: "/h", Shards: 1})
			if err == nil {
				s.growth = 4
			}
			for err == nil && tried < 12 {
				tried++
				if err = spill(s, 0, m, 5, 7); err == nil {
					_, err = s.Merge(0)
				}
			}
			var st Stats
			if s != nil {
				s.Stats(&st)
				s.Close()
			}
			if err == nil {
				require.Greater(t, at, 100)
				require.NotZero(t, st.MergedBytes)
				break
			}
			require.ErrorIs(t, err, boom)
			mem = mem.Crash(rand.New(rand.NewPCG(seed, uint64(at))), walfs.CrashOptions{Keep: 50, Tear: 50})
			s, err = Open(Options{FS: mem, Dir: "/h", Shards: 1})
			require.NoError(t, err, "operation %d", at)
			for id, n := range m {
				_, next, err := s.Append(nil, 0, id, 1, uint64(n), 1<<30)
				require.NoError(t, err)
				require.EqualValues(t, n+1, next, "operation %d: %q", at, id)
			}
			require.NoError(t, spill(s, 0, m, 0, 3))
			check(t, s, 0, m)
			s.Close()
		}
	}
}

// TestDamageIsNamed flips every byte of a file in turn: the answer is the right one or an error that names the file.
func TestDamageIsNamed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	m := model{}
	require.NoError(t, spill(s, 0, m, 0, 20))
	want, _, err := s.Append(nil, 0, "b", 3, 12, 1<<20)
	require.NoError(t, err)
	s.Close()
	path := filepath.Join(dir, fileName(0, 1, 1))
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1 << (i % 8)
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		s, err := Open(Options{Dir: dir, Shards: 4})
		if err == nil {
			var got []byte
			got, _, err = s.Append(nil, 0, "b", 3, 12, 1<<20)
			if err == nil {
				require.Equal(t, string(want), string(got), "byte %d", i)
			}
			s.Close()
		}
		if err != nil {
			require.ErrorContains(t, err, path, "byte %d", i)
		}
	}
	for _, n := range []int{0, 10, 64, 200, len(good) - 64, len(good) - 1} {
		require.NoError(t, os.WriteFile(path, good[:n], 0o600))
		_, err := Open(Options{Dir: dir, Shards: 4})
		var damaged *DamagedError
		require.ErrorAs(t, err, &damaged, "%d bytes", n)
	}
}

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden reads a file of the first version. Only reading is pinned: what zstd makes of a block is the library's.
func TestGolden(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "h")
	name := fileName(3, 1, 1)
	golden := filepath.Join("testdata", "v1.hist")
	m := model{}
	if *update {
		s := open(t, Options{Dir: dir})
		require.NoError(t, spill(s, 3, m, 0, 400))
		s.Close()
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(golden, b, 0o600))
	}
	b, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	s := open(t, Options{Dir: dir})
	defer s.Close()
	require.Greater(t, s.shards[3].files[0].foot.blocks, uint64(4))
	for _, id := range []string{"a", "a\x01", "b"} {
		m[id] = 400
	}
	check(t, s, 3, m)
}

func TestLostFileStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	m := model{}
	for range 3 {
		require.NoError(t, spill(s, 1, m, 0, 2))
	}
	s.Close()
	require.NoError(t, os.Remove(filepath.Join(dir, fileName(1, 2, 2))))
	_, err := Open(Options{Dir: dir, Shards: 4})
	require.ErrorContains(t, err, "generations 2 to 2 are missing")
}

func TestReadersDuringMerges(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	defer s.Close()
	s.growth = 4
	m := model{}
	require.NoError(t, spill(s, 0, m, 0, 500))
	stop, done := make(chan struct{}), make(chan error, 2)
	for r := range 2 {
		go func() {
			rng := rand.New(rand.NewPCG(7, uint64(r)))
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				from := 1 + rng.IntN(490)
				got, _, err := s.Append(nil, 0, "b", uint64(from), uint64(from), 1<<20)
				if err != nil || string(got) != string(message("b", from)) {
					done <- fmt.Errorf("seq %d: %q, %w", from, got, err)
					return
				}
			}
		}()
	}
	for range 60 {
		require.NoError(t, spill(s, 0, m, 3, 5))
		_, err := s.Merge(0)
		require.NoError(t, err)
	}
	close(stop)
	for range 2 {
		require.NoError(t, <-done)
	}
	var st Stats
	s.Stats(&st)
	require.NotZero(t, st.MergedBytes)
}
