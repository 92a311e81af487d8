package sim

import (
	"math/rand/v2"
	"testing"
)

// TestEventsComeInOrder: by time, and those of one moment in the order in which they were made, whatever is added meanwhile.
func TestEventsComeInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	var c clock
	lastAt, lastSeq, made, ran := int64(-1), uint64(0), 0, 0
	var add func()
	add = func() {
		if made++; made > 20_000 {
			return
		}
		seq := c.seq + 1
		c.after(rng.Int64N(50), func() {
			ran++
			if c.now < lastAt || c.now == lastAt && seq < lastSeq {
				t.Fatalf("event %d of %d comes after event %d of %d", seq, c.now, lastSeq, lastAt)
			}
			lastAt, lastSeq = c.now, seq
			for range rng.IntN(3) {
				add()
			}
		})
	}
	for range 1000 {
		add()
	}
	for c.next(1 << 40) {
		continue
	}
	if len(c.events) != 0 || ran < 1000 || ran != min(made, 20_000) {
		t.Fatalf("%d events made, %d ran, %d left", made, ran, len(c.events))
	}
}
