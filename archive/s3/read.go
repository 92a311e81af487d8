package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fastpaca/archive"
)

// blockKey names a block in the cache.
type blockKey struct {
	object id
	off    uint32
}

// read yields the rows of [from, to] out of extents that overlap it. Blocks are read ahead, as many as the page can need,
// parallel at a time.
func (s *Store) read(ctx context.Context, extents table, id string, from, to uint64, page archive.Page,
	yield func(*archive.Row) error) error {
	if len(extents) == 0 {
		return nil
	}
	n, rows := 0, 0
	for n < len(extents) && rows < page.Rows {
		e := &extents[n]
		rows += int(min(e.to, to) - max(e.from, from) + 1)
		n++
	}
	extents = extents[:n]

	ctx, cancel := context.WithCancel(ctx)
	blocks := make([]chan fetched, n)
	for i := range blocks {
		blocks[i] = make(chan fetched, 1)
	}
	slots := make(chan struct{}, parallel) // one for each block that is on its way or waits here
	var ahead sync.WaitGroup
	defer ahead.Wait()
	defer cancel()
	ahead.Go(func() {
		for i := range blocks {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			ahead.Go(func() {
				b, err := s.block(ctx, &extents[i])
				blocks[i] <- fetched{b, err}
			})
		}
	})
	sent, bytes := 0, 0
	for i := range blocks {
		var got fetched
		select {
		case got = <-blocks[i]:
			<-slots
		case <-ctx.Done():
			return s.client.failed("reading", extents[i].object.dataKey(), ctx, ctx.Err())
		}
		if got.err != nil {
			return got.err
		}
		e := &extents[i]
		next := max(e.from, from)
		var r archive.Row
		for b := got.block; len(b) > 0; {
			rest, mine, err := parseLine(b, id, &r)
			if err != nil {
				return s.damaged(e, err)
			}
			b = rest
			if !mine || r.Seq < next || r.Seq > min(e.to, to) {
				continue
			}
			if r.Seq != next {
				return s.damaged(e, fmt.Errorf("seq %d of context %q is not there", next, id))
			}
			next++
			if sent == page.Rows || sent > 0 && bytes+len(r.Message) > page.Bytes {
				return nil
			}
			sent, bytes = sent+1, bytes+len(r.Message)
			if err := yield(&r); err != nil {
				return err
			}
		}
		if next <= min(e.to, to) {
			return s.damaged(e, fmt.Errorf("seq %d of context %q is not there", next, id))
		}
	}
	return nil
}

type fetched struct {
	block []byte
	err   error
}

// block returns the NDJSON of an extent's block, from the cache if it is there.
func (s *Store) block(ctx context.Context, e *extent) ([]byte, error) {
	key := blockKey{e.object, e.off}
	if b, ok := s.cache.get(key); ok {
		return b.([]byte), nil
	}
	packed, _, err := s.client.get(ctx, e.object.dataKey(), int64(e.off), int64(e.len), "")
	if errors.Is(err, errMissing) {
		return nil, fmt.Errorf("%w: s3: %s is gone; was it deleted by hand or by a lifecycle rule? Restore it",
			archive.ErrDamaged, s.name(e.object.dataKey()))
	}
	if err != nil {
		return nil, err
	}
	b, err := s.codec.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, s.damaged(e, err)
	}
	s.cache.add(key, b, cap(b))
	return b, nil
}

func (s *Store) damaged(e *extent, why error) error {
	return fmt.Errorf("%w: s3: %s at byte %d: %w", archive.ErrDamaged, s.name(e.object.dataKey()), e.off, why)
}
