package sim

import (
	"math/rand/v2"
	"testing"
)

// TestDigest: every byte counts, and its place, and the length; equal input gives equal digests in every process.
func TestDigest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[digest]string{}
	note := func(d digest, what []byte) {
		if old, ok := seen[d]; ok && old != string(what) {
			t.Fatalf("%x and %x have the same digest", old, what)
		}
		seen[d] = string(what)
	}
	for n := range 70 {
		b := make([]byte, n)
		for range 20 {
			note(digest(0).add(b), b)
			for i := range b {
				c := append([]byte(nil), b...)
				c[i] ^= 1 << rng.IntN(8)
				note(digest(0).add(c), c)
			}
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
		}
	}
	ab, ba := digest(0).add([]byte("a")).add([]byte("b")), digest(0).add([]byte("b")).add([]byte("a"))
	if ab == ba || ab == digest(0).add([]byte("ab")) {
		t.Error("order or ends do not count")
	}
	if got := digest(0).add([]byte("seeds replay")).add(nil); got != 0xdc5e30a8c6964ba8 {
		t.Errorf("%#x: a trace of another build cannot be compared with one of this", got)
	}
}
