package archive_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
)

// shards is a Source without shards: contexts that grow when told to, and what the log has acknowledged. It outlives the
// archivers that use it, as the real log does.
type shards struct {
	mu        sync.Mutex
	contexts  []*fakeContext
	index     map[string]*fakeContext
	since     int                               // rows since the last scan
	beforeAck func(id string, seq uint64) error // an error: the acknowledgement is not made
	afterAck  func(id string, seq uint64) error // an error: it is made, but the caller does not hear of it
	check     func(id string, from, to uint64)  // what is about to be acknowledged
}

type fakeContext struct {
	id             string
	last, archived uint64
	fill           int // bytes added to each message
}

func newShards(n int) *shards {
	s := &shards{index: map[string]*fakeContext{}}
	for i := range n {
		c := &fakeContext{id: fmt.Sprint("c", i)}
		s.contexts = append(s.contexts, c)
		s.index[c.id] = c
	}
	return s
}

func (s *shards) grow(i int, rows uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contexts[i].last += rows
	s.since += int(rows)
}

func (s *shards) pending() (rows uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.contexts {
		rows += c.last - c.archived
	}
	return rows
}

func (s *shards) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

func (s *shards) Scan(all bool, f func(*archive.Backlog)) {
	s.mu.Lock()
	s.since = 0
	var list []archive.Backlog
	for i, c := range s.contexts {
		if all || c.last > c.archived {
			list = append(list, archive.Backlog{Context: c.id, Order: uint64(i + 1), Archived: c.archived, Last: c.last, Tail: c.last, Tokens: c.last * 10})
		}
	}
	s.mu.Unlock()
	for i := range list {
		f(&list[i])
	}
}

func (s *shards) Read(id string, from uint64, page archive.Page, dst []archive.Row) []archive.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.index[id]
	for n := 0; from <= c.last && n < page.Rows && page.Bytes > 0; from++ {
		r := s.row(c, from)
		if page.Bytes -= len(r.Message); page.Bytes < 0 && n > 0 {
			break
		}
		dst = append(dst, r)
		n++
	}
	return dst
}

func (s *shards) row(c *fakeContext, seq uint64) archive.Row {
	r := conformance.Row(c.id, seq)
	if c.fill > 0 {
		r.Message = append(r.Message[:len(r.Message)-1:len(r.Message)-1], fmt.Sprintf(`,"fill":"%0*d"}`, c.fill, 0)...)
	}
	return r
}

func (s *shards) Ack(ctx context.Context, id string, seq uint64) (uint64, error) {
	s.mu.Lock()
	before, after, check := s.beforeAck, s.afterAck, s.check
	archived := s.index[id].archived
	s.mu.Unlock()
	if before != nil {
		if err := before(id, seq); err != nil {
			return 0, err
		}
	}
	if check != nil {
		check(id, archived+1, seq)
	}
	s.mu.Lock()
	c := s.index[id]
	trimmed := uint64(0)
	if seq > c.archived {
		trimmed = seq - c.archived
		c.archived = seq
	}
	s.mu.Unlock()
	if after != nil {
		if err := after(id, seq); err != nil {
			return 0, err
		}
	}
	return trimmed, nil
}

// steps kills whoever uses it at one step.
type steps struct {
	mu   sync.Mutex
	n    int
	at   int // -1: never
	kill context.CancelFunc
}

var errKilled = errors.New("killed")

func (s *steps) step() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.at >= 0 && s.n > s.at {
		s.kill()
		return errKilled
	}
	return nil
}

// stepStore is a Store whose user may die before or after a Put.
type stepStore struct {
	archive.Store
	steps *steps
	mu    *sync.Mutex
	count *int // rows that the Store says it inserted
}

func (s *stepStore) Put(ctx context.Context, rows []archive.Row) (int, error) {
	if err := s.steps.step(); err != nil {
		return 0, err
	}
	n, err := s.Store.Put(ctx, rows)
	s.mu.Lock()
	*s.count += n
	s.mu.Unlock()
	if kerr := s.steps.step(); kerr != nil {
		return 0, kerr
	}
	return n, err
}

// checkStored compares all that s has acknowledged with what the store holds, which must be that and no more than has
// been appended.
func checkStored(t *testing.T, s *shards, store archive.Store) {
	t.Helper()
	for _, c := range s.contexts {
		got, err := conformance.ReadAll(context.Background(), store, c.id, 1, c.last+100, archive.Page{Rows: 1 << 20, Bytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		var want []archive.Row
		for seq := uint64(1); seq <= c.archived; seq++ {
			want = append(want, s.row(c, seq))
		}
		conformance.Equal(t, got, want)
	}
}
