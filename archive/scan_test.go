package archive_test

import (
	"context"
	"testing"
	"time"

	"fastpaca/archive"
)

// countingSource counts scans, and can make them slow by a clock.
type countingSource struct {
	*shards
	scans int
	slow  func()
}

func (c *countingSource) Scan(all bool, f func(*archive.Backlog)) {
	c.scans++
	if c.slow != nil {
		c.slow()
	}
	c.shards.Scan(all, f)
}

// TestScansAreShared: behind a backlog one scan finds the rows of many batches, everybody gets a turn, and what comes meanwhile is
// found by the next one.
func TestScansAreShared(t *testing.T) {
	const contexts = 1000
	s := &countingSource{shards: newShards(contexts)}
	for i := range contexts {
		s.grow(i, 2)
	}
	m := &memory{}
	a := archive.New(archive.Config{Store: m, Source: s, BatchRows: 100})
	flushes := 0
	for more := true; more; flushes++ {
		var err error
		if more, err = a.Flush(context.Background()); err != nil || flushes > 2*contexts {
			t.Fatal(flushes, err)
		}
		if flushes == 3 {
			s.grow(0, 5)
		}
	}
	if s.pending() != 5 { // of a context that had its turn
		t.Errorf("%d rows wait", s.pending())
	}
	if flushes != 20 || s.scans > 3 {
		t.Errorf("%d scans for %d batches", s.scans, flushes)
	}
	if _, err := a.Flush(context.Background()); err != nil || s.pending() != 0 {
		t.Error(err, s.pending())
	}
}

// TestSlowScans: rows that come all the time do not make a node scan all the time.
func TestSlowScans(t *testing.T) {
	const contexts = 100
	s := &countingSource{shards: newShards(contexts)}
	now := time.UnixMilli(0)
	s.slow = func() { now = now.Add(100 * time.Millisecond) }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begun, next := now, 0
	a := archive.New(archive.Config{
		Store: &memory{}, Source: s, BatchRows: 10, Now: func() time.Time { return now },
		After: func(d time.Duration) <-chan time.Time {
			now = now.Add(d)
			for range 10 { // a batch in each wait
				s.grow(next%contexts, 1)
				next++
			}
			if now.Sub(begun) > time.Minute {
				cancel()
			}
			c := make(chan time.Time, 1)
			c <- now
			return c
		},
	})
	a.Run(ctx)
	if s.scans < 20 || s.scans > 40 { // one in 2.1 s
		t.Errorf("%d scans in a minute", s.scans)
	}
}
