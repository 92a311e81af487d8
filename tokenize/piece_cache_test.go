package tokenize

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A cache of one bucket, or two, that many goroutines fight for: every count is the library's. The pieces are of
// few lengths, so that most keys differ only in one word, and in the number of tokens.
func TestTinyCacheIsExact(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(11, 12))
	var texts [][]byte
	for i := range 300 {
		n := []int{3, 8, 9, 15}[i%4]
		texts = append(texts, []byte(randomLetters(rnd, n)))
	}
	for range 20 {
		var b strings.Builder
		for range 40 {
			b.WriteString(" " + randomLetters(rnd, 2+rnd.IntN(13)))
		}
		texts = append(texts, []byte(b.String()))
	}
	for i := range encodings {
		want := make([]int, len(texts))
		for k, text := range texts {
			n, err := encodings[i].oracle().Count(string(text))
			require.NoError(t, err)
			want[k] = n
		}
		c := mustNew("tiktoken:" + encodings[i].name)
		for bits := range uint(2) {
			c.bpe.merged = newPieceCache(bits)
			var wg sync.WaitGroup
			for g := range uint64(8) {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(13, g))
					for range cases(200_000) / 4 {
						k := rnd.IntN(len(texts))
						if got := c.Count(texts[k]); got != want[k] {
							t.Errorf("%s: %q has %d tokens, Count says %d", encodings[i].name, texts[k], want[k], got)
							return
						}
					}
				})
			}
			wg.Wait()
		}
	}
}

func randomLetters(rnd *rand.Rand, n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte('a' + rnd.IntN(26))
	}
	return string(out)
}

// The same without merging in between: goroutines do nothing but store and look up. The number of tokens is a
// function of the key that a mixture of two keys does not have.
func TestCacheIsNeverTorn(t *testing.T) {
	t.Parallel()
	c := newPieceCache(0)
	key := func(k uint64) (lo, hi uint64, tokens int) {
		p := make([]byte, 15)
		binary.LittleEndian.PutUint64(p, k&3)
		p[14] = byte(k >> 2 & 3)
		lo, hi = shortKey(p)
		return lo, hi, 1 + int((k&3+3*(k>>2&3))%15)
	}
	var wg sync.WaitGroup
	var found atomic.Int64 // by all: one may find nothing while another is kept from the processor in the middle of a put
	for g := range uint64(4) {
		wg.Go(func() {
			rnd, hits := rand.New(rand.NewPCG(15, g)), 0
			for range cases(2_000_000) {
				lo, hi, tokens := key(rnd.Uint64())
				switch got := c.get(lo, hi); got {
				case 0:
					c.put(lo, hi, tokens)
				case tokens:
					hits++
				default:
					t.Errorf("stored %d, found %d", tokens, got)
					return
				}
			}
			found.Add(int64(hits))
		})
	}
	wg.Wait()
	require.NotZero(t, found.Load())
}

// What was stored is found, until three others came into its bucket.
func TestCacheKeepsThree(t *testing.T) {
	t.Parallel()
	c := newPieceCache(0)
	key := func(n int) (lo, hi uint64) { return shortKey([]byte("abcdefghijklmno")[:n]) }
	for n := 2; n <= maxShort; n++ {
		lo, hi := key(n)
		require.Zero(t, c.get(lo, hi))
		c.put(lo, hi, n)
		for m := 2; m <= n; m++ {
			want := m
			if m <= n-3 {
				want = 0
			}
			lo, hi := key(m)
			require.Equal(t, want, c.get(lo, hi), "%d after %d", m, n)
		}
	}
	lo, hi := key(5)
	c.buckets[0].version.Add(1) // as if a goroutine were at it
	c.put(lo, hi, 5)
	require.Zero(t, c.get(lo, hi))
	lo, hi = key(maxShort)
	require.Zero(t, c.get(lo, hi))
}
