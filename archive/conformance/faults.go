package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/archive"
)

func cancel(t *testing.T, p *Place) {
	s := p.Open()
	put(t, s, rows("a", 1, 100), 100)
	done, stop := context.WithCancel(context.Background())
	stop()
	if _, err := s.Put(done, rows("b", 1, 10)); !errors.Is(err, context.Canceled) {
		t.Fatalf("Put: %v", err)
	}
	if _, err := ReadAll(done, s, "b", 1, 10, whole); !errors.Is(err, context.Canceled) {
		t.Fatalf("Read: %v", err)
	}
	// In the middle: whatever comes of it, all or nothing is seen, and the Store works on.
	for i := range 20 {
		id := fmt.Sprint("c", i)
		c, stop := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
		_, err := s.Put(c, rows(id, 1, 500))
		stop()
		got, rerr := ReadAll(ctx(t), s, id, 1, 500, whole)
		if rerr != nil {
			t.Fatal(rerr)
		}
		if len(got) != 0 && len(got) != 500 || err == nil && len(got) == 0 {
			t.Fatalf("%d rows after %v", len(got), err)
		}
	}
	wantRows(t, s, "a", 1, 100, whole, rows("a", 1, 100))
}

// killedInTheMiddle: the server dies while batches are stored. What was acknowledged is there when it is back, the rest
// can be stored again, with the same Store.
func killedInTheMiddle(t *testing.T, p *Place) {
	s := p.Open()
	c := ctx(t)
	var acked [4]atomic.Uint64
	storing, stop := context.WithCancel(c)
	defer stop()
	var wg sync.WaitGroup
	for i := range acked {
		wg.Go(func() {
			id := fmt.Sprint("c", i)
			for storing.Err() == nil {
				from := acked[i].Load() + 1
				if _, err := s.Put(c, rows(id, from, from+50)); err == nil {
					acked[i].Store(from + 50)
				} else if errors.Is(err, archive.ErrUnavailable) {
					time.Sleep(5 * time.Millisecond)
				} else {
					t.Errorf("kind %s: %v", archive.Kind(err), err)
					return
				}
			}
		})
	}
	getOn := func() { // until each has stored something more
		for i := range acked {
			for before := acked[i].Load(); acked[i].Load() == before && !t.Failed(); time.Sleep(time.Millisecond) {
				if c.Err() != nil {
					t.Errorf("c%d: nothing is stored any more, %d rows are", i, before)
				}
			}
		}
	}
	for range 2 {
		getOn()
		p.Kill()
		if _, err := ReadAll(c, p.Open(), "c0", 1, 10, whole); !errors.Is(err, archive.ErrUnavailable) {
			t.Errorf("with no server: %v", err)
		}
		p.Start()
	}
	getOn()
	stop()
	wg.Wait()
	for i := range acked {
		id, last := fmt.Sprint("c", i), acked[i].Load()
		wantRows(t, s, id, 1, last, whole, rows(id, 1, last))
		Put(t, s, rows(id, 1, last+60))
		wantRows(t, s, id, 1, math.MaxUint64, whole, rows(id, 1, last+60))
	}
}

// lossy stores through a bad network, again until it is acknowledged. Then every row is there once.
func lossy(t *testing.T, p *Place) {
	const ids, last = 12, 80
	s, calm := p.Lossy(99)
	good := p.Open()
	r := rand.New(rand.NewPCG(3, 5))
	next := make([]uint64, ids)
	failed := 0
	for try := 0; ; try++ {
		if try == 60 {
			calm()
		}
		if try > 600 {
			t.Fatal("no progress")
		}
		var batch []archive.Row
		to := make([]uint64, ids)
		for i := range next {
			to[i] = min(last, next[i]+uint64(r.IntN(4)))
			batch = append(batch, rows(fmt.Sprint("c", i), next[i]+1, to[i])...)
		}
		if len(batch) == 0 {
			if slices.Min(next) == last {
				break
			}
			continue
		}
		if _, err := s.Put(ctx(t), batch); err != nil {
			if !errors.Is(err, archive.ErrUnavailable) {
				t.Fatalf("kind %s: %v", archive.Kind(err), err)
			}
			failed++
			continue
		}
		copy(next, to)
		i := r.IntN(ids)
		id := fmt.Sprint("c", i)
		wantRows(t, good, id, 1, next[i], whole, rows(id, 1, next[i]))
		if got, err := ReadAll(ctx(t), s, id, 1, next[i], whole); err == nil {
			Equal(t, got, rows(id, 1, next[i]))
		} else if !errors.Is(err, archive.ErrUnavailable) {
			t.Fatalf("kind %s: %v", archive.Kind(err), err)
		}
	}
	if failed == 0 {
		t.Fatal("the network was not bad")
	}
	for i := range ids {
		id := fmt.Sprint("c", i)
		wantRows(t, good, id, 1, math.MaxUint64, whole, rows(id, 1, last))
	}
}

func broken(t *testing.T, p *Place) {
	for name, b := range p.Broken {
		t.Run(name, func(t *testing.T) {
			_, perr := b.Store.Put(ctx(t), rows("a", 1, 3))
			_, rerr := ReadAll(ctx(t), b.Store, "a", 1, 3, whole)
			for what, err := range map[string]error{"Put": perr, "Read": rerr} {
				if !errors.Is(err, b.Kind) {
					t.Errorf("%s: kind %s, want %s: %v", what, archive.Kind(err), archive.Kind(b.Kind), err)
				}
				if err != nil && b.Secret != "" && strings.Contains(err.Error(), b.Secret) {
					t.Errorf("%s: the error tells the secret: %v", what, err)
				}
			}
		})
	}
}
