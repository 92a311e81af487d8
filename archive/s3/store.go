package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fastpaca/archive"
)

const (
	// partitions of the index. More would make manifests smaller and requests more; it is part of the format.
	partitions = 16
	// parallel bounds the requests of one call that are under way at a time.
	parallel = 16
	// staleTries bounds how often a read begins anew because the index was folded under its hands.
	staleTries = 5
)

// Store is an archive.Store in a bucket.
type Store struct {
	cfg     Config
	client  *client
	codec   *codec
	cache   cache
	parts   [partitions]partition
	putting chan struct{} // holds a token while nobody puts: one Put at a time, so that partition.tips has one user
	life    context.Context
	end     context.CancelFunc
}

var _ archive.Store = (*Store)(nil)

// Open checks the configuration. It sends nothing: a bucket that cannot be reached must not keep a node from starting.
func Open(cfg Config) (*Store, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Tries == 0 {
		cfg.Tries = 3
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	c, err := newClient(&cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, client: c, codec: newCodec(), putting: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	s.putting <- struct{}{}
	for i := range s.parts {
		s.parts[i].dir = fmt.Sprintf("index/%02x/", i)
	}
	return s, nil
}

// Close ends calls under way and lets connections go.
func (s *Store) Close() {
	s.end()
	s.client.close()
}

// name is an object as an operator finds it.
func (s *Store) name(key string) string { return s.cfg.Bucket + "/" + s.cfg.Prefix + key }

// call bounds ctx by the timeout and by Close.
func (s *Store) call(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// Put implements archive.Store. Contexts of different partitions become visible one partition after the other.
func (s *Store) Put(ctx context.Context, rows []archive.Row) (inserted int, err error) {
	rows, err = archive.Normalize(rows)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	ctx, done := s.call(ctx)
	defer done()
	select {
	case <-s.putting:
		defer func() { s.putting <- struct{}{} }()
	case <-ctx.Done():
		return 0, s.client.failed("waiting to write", "", ctx, ctx.Err())
	}

	var byPart [partitions][]archive.Row
	for i, from := 1, 0; i <= len(rows); i++ {
		if i == len(rows) || rows[i].Context != rows[from].Context {
			p := partitionOf(rows[from].Context)
			byPart[p] = append(byPart[p], rows[from:i]...)
			from = i
		}
	}
	var base [partitions]*manifest
	err = each(ctx, partitions, func(i int) (err error) {
		if len(byPart[i]) > 0 {
			if base[i], err = s.load(ctx, &s.parts[i], false); err == nil {
				base[i], byPart[i], err = s.unknown(ctx, &s.parts[i], base[i], byPart[i])
			}
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	w := writer{codec: s.codec}
	var added [partitions]table
	for i := range byPart {
		added[i] = w.add(byPart[i])
	}
	w.finish()
	if err := each(ctx, len(w.objects), func(i int) error {
		_, err := s.client.put(ctx, w.objects[i].id.dataKey(), w.objects[i].data, "")
		return err
	}); err != nil {
		return 0, err
	}
	var counts [partitions]int
	err = each(ctx, partitions, func(i int) (err error) {
		if len(added[i]) == 0 {
			return nil
		}
		w.resolve(added[i])
		counts[i], err = s.commit(ctx, &s.parts[i], base[i], added[i])
		return err
	})
	for _, n := range counts {
		inserted += n
	}
	if err != nil {
		return 0, err
	}
	return inserted, nil
}

// unknown drops the rows that the index has, after making sure that they are the same. Where m turns out to be an old manifest all
// of them are looked up again in the newest, which is returned: the commit takes that for what all of the rows were found to be
// missing in.
func (s *Store) unknown(ctx context.Context, p *partition, m *manifest, rows []archive.Row) (*manifest, []archive.Row, error) {
	for try := 0; ; try++ {
		out, err := s.missing(ctx, p, m, rows)
		switch {
		case !errors.Is(err, errMissing):
			return m, out, err
		case try == staleTries:
			return nil, nil, s.incomplete(p)
		}
		if m, err = s.load(ctx, p, true); err != nil {
			return nil, nil, err
		}
	}
}

// missing is unknown for one manifest. errMissing: m is not the newest.
func (s *Store) missing(ctx context.Context, p *partition, m *manifest, rows []archive.Row) ([]archive.Row, error) {
	p.follow(m)
	var out []archive.Row
	for from, i := 0, 1; i <= len(rows); i++ {
		if i < len(rows) && rows[i].Context == rows[from].Context {
			continue
		}
		run := rows[from:i]
		from = i
		if tip, ok := p.tips[run[0].Context]; ok && run[0].Seq > tip {
			out = append(out, run...)
			continue
		}
		known, err := s.lookup(ctx, p, m, run[0].Context)
		if err != nil {
			return nil, err
		}
		var stored []archive.Row
		for _, r := range run {
			if known.has(r.Seq) {
				stored = append(stored, r)
			} else {
				out = append(out, r)
			}
		}
		if len(stored) > 0 {
			if err := s.compare(ctx, known, stored); err != nil {
				return nil, err
			}
		}
		if len(known) > 0 {
			p.tip(run[0].Context, known[len(known)-1].to)
		}
	}
	return out, nil
}

// compare reads rows of one context that the index has, and fails unless they are what is stored.
func (s *Store) compare(ctx context.Context, known table, rows []archive.Row) error {
	i := 0
	whole := archive.Page{Rows: len(rows), Bytes: 1 << 62}
	first, last := rows[0].Seq, rows[len(rows)-1].Seq
	whole.Rows = int(min(last-first+1, 1<<31))
	return s.read(ctx, known.between(first, last), rows[0].Context, first, last, whole, func(r *archive.Row) error {
		for i < len(rows) && rows[i].Seq < r.Seq {
			i++
		}
		if i < len(rows) && rows[i].Seq == r.Seq && !bytes.Equal(rows[i].Message, r.Message) {
			return &archive.ConflictError{Context: r.Context, Seq: r.Seq}
		}
		return nil
	})
}

// Read implements archive.Store.
func (s *Store) Read(ctx context.Context, id string, from, to uint64, page archive.Page,
	yield func(*archive.Row) error) error {
	from = max(from, 1)
	if from > to {
		return nil
	}
	ctx, done := s.call(ctx)
	defer done()
	p := &s.parts[partitionOf(id)]
	m, err := s.load(ctx, p, false)
	var known table
	if err == nil {
		known, err = s.lookup(ctx, p, m, id)
	}
	if err != nil && !errors.Is(err, errMissing) {
		return err
	}
	if err != nil || !known.covers(from, to) { // the newest manifest may have more
		if _, known, err = s.newest(ctx, p, id); err != nil {
			return err
		}
	}
	return s.read(ctx, known.between(from, to), id, from, to, page, yield)
}

// newest reads the newest manifest, and from it the extents of a context.
func (s *Store) newest(ctx context.Context, p *partition, id string) (*manifest, table, error) {
	for try := 0; ; try++ {
		m, err := s.load(ctx, p, true)
		if err != nil {
			return nil, nil, err
		}
		known, err := s.lookup(ctx, p, m, id)
		if !errors.Is(err, errMissing) {
			return m, known, err
		}
		// Somebody has folded the index between the two, which takes longer than both.
		if try == staleTries {
			return nil, nil, s.incomplete(p)
		}
	}
}

// incomplete: the newest manifest of p names what is not there.
func (s *Store) incomplete(p *partition) error {
	return fmt.Errorf("%w: s3: %s names segments that are gone; were they deleted by hand or by a lifecycle rule? Restore them",
		archive.ErrDamaged, s.name(p.dir+"manifest"))
}

// each calls f for 0 to n-1, parallel at a time, and returns the first error; what has not begun by then is left out.
func each(ctx context.Context, n int, f func(i int) error) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	slots := make(chan struct{}, parallel)
	for i := range n {
		slots <- struct{}{}
		mu.Lock()
		failed := first != nil
		mu.Unlock()
		if failed || ctx.Err() != nil {
			break
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := f(i)
			mu.Lock()
			if err != nil && first == nil {
				first = err
			}
			mu.Unlock()
			<-slots
		}()
	}
	wg.Wait()
	switch {
	case first == nil && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case first == nil && ctx.Err() != nil:
		return fmt.Errorf("s3: %w: %w", archive.ErrUnavailable, ctx.Err())
	}
	return first
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}
