package archive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Reader reads messages back for clients. Its Append has the form of shard.Node.AppendHistory, the place before it on
// the way of a page that reaches back: memory, history files, archive.
type Reader struct {
	store    Store
	timeout  time.Duration
	requests chan struct{}
}

const (
	// readerParallel bounds the reads under way: a store that is slow must not collect all connections of the server.
	readerParallel = 32
	// readerTimeout bounds one read, waiting for its turn included; a client waits no longer than that to be told 503.
	readerTimeout = 5 * time.Second
)

// NewReader reads from store.
func NewReader(store Store) *Reader {
	return &Reader{store: store, timeout: readerTimeout, requests: make(chan struct{}, readerParallel)}
}

// Append appends the messages from .. to of a context to dst, as JSON separated by commas, as far as they are in the
// store without a gap, up to about maxBytes (at least one, if there is one). next is the seq of the first that was not
// appended: from, if there is nothing. Any goroutine.
func (r *Reader) Append(dst []byte, id []byte, from, to uint64, maxBytes int) (_ []byte, next uint64, err error) {
	next = from
	if from > to {
		return dst, next, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	select {
	case r.requests <- struct{}{}:
		defer func() { <-r.requests }()
	case <-ctx.Done():
		return dst, next, fmt.Errorf("%w: %d reads are under way already", ErrUnavailable, readerParallel)
	}
	at := len(dst)
	page := Page{Rows: int(min(to-from+1, math.MaxInt32)), Bytes: max(maxBytes, 1)}
	err = r.store.Read(ctx, string(id), from, to, page, func(row *Row) error {
		if row.Seq != next {
			return errGap
		}
		if next > from {
			dst = append(dst, ',')
		}
		dst = append(dst, row.Message...)
		next++
		return nil
	})
	if err == errGap {
		err = nil
	}
	if err != nil {
		// What was appended is right, but a page that ends early for no reason that shows is not.
		return dst[:at], from, err
	}
	return dst, next, nil
}

// errGap ends a read at the first seq that is missing.
var errGap = errors.New("a gap")
