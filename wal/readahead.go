package wal

import (
	"fmt"
	"io"

	"fastpaca/wal/walfs"
)

// Recovery reads the log in long runs, in a goroutine of its own, ahead of the decoder (but for Options.Manual).
const (
	chunkBytes = 4 << 20
	// headroom stands free in front of a chunk, for the front part of a record that began in the chunk
	// before. Longer ones are joined in a buffer of their own.
	headroom = 64 << 10
	// chunksAhead is how many chunks are read and not yet decoded.
	chunksAhead = 3
)

// span is a run of bytes to read: of file path, from up to to. Without a file, path is opened in fs for as
// long as it is read: a log of many segments must not need as many descriptors.
type span struct {
	file     File
	fs       FS
	path     string
	from, to int64
}

// chunk is a piece of a span. buf[headroom:headroom+n] was read from offset off.
type chunk struct {
	span int
	off  int64
	buf  []byte
	n    int
	err  error // of the read; io.EOF if the file ended early
	kept bool  // somebody holds slices of buf
}

// readAhead delivers the chunks of spans in order.
type readAhead struct {
	spans []span
	cur   int  // span being read
	f     File // its file, if open
	off   int64

	out  chan *chunk // nil: there is no goroutine, chunks are read as they are asked for
	free chan *chunk
	held Releaser // told of chunks that somebody holds; nil: they are the garbage collector's
	stop chan struct{}
	done chan struct{}
}

// startReadAhead begins to read spans, in a goroutine if ahead.
func startReadAhead(spans []span, held Releaser, ahead bool) *readAhead {
	r := &readAhead{
		spans: spans, held: held,
		free: make(chan *chunk, chunksAhead+2), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if len(spans) > 0 {
		r.off = spans[0].from
	}
	if !ahead {
		close(r.done)
		return r
	}
	r.out = make(chan *chunk, chunksAhead)
	go r.run()
	return r
}

func (r *readAhead) run() {
	defer close(r.done)
	defer close(r.out)
	for c := r.read(); c != nil; c = r.read() {
		select {
		case r.out <- c:
		case <-r.stop:
			return
		}
	}
}

// next returns the next chunk, or nil behind the last.
func (r *readAhead) next() *chunk {
	if r.out == nil {
		return r.read()
	}
	return <-r.out
}

// read reads the next chunk. A span of which a read fails ends with that chunk.
func (r *readAhead) read() *chunk {
	for r.cur < len(r.spans) && r.off >= r.spans[r.cur].to {
		r.nextSpan()
	}
	if r.cur == len(r.spans) {
		return nil
	}
	s := &r.spans[r.cur]
	f := s.file
	if f == nil {
		if r.f == nil {
			var err error
			if r.f, err = openOnce(s.fs, s.path); err != nil {
				c := &chunk{span: r.cur, off: r.off, buf: make([]byte, headroom), err: err}
				r.f = nil
				r.nextSpan()
				return c
			}
		}
		f = r.f
	}
	want := int(min(chunkBytes, s.to-r.off))
	c := r.buffer(want)
	c.span, c.off = r.cur, r.off
	c.n, c.err = f.ReadAt(c.buf[headroom:headroom+want], r.off)
	if c.n == want {
		c.err = nil
	} else if c.err == nil {
		c.err = io.ErrUnexpectedEOF
	}
	r.off += int64(c.n)
	if c.err != nil {
		r.nextSpan()
	}
	return c
}

// openOnce opens a file that is read once.
func openOnce(fs FS, path string) (File, error) {
	if o, ok := fs.(walfs.OnceOpener); ok {
		return o.OpenOnce(path)
	}
	return fs.Open(path)
}

func (r *readAhead) nextSpan() {
	r.closeFile()
	r.cur++
	if r.cur < len(r.spans) {
		r.off = r.spans[r.cur].from
	}
}

func (r *readAhead) closeFile() {
	if r.f != nil {
		_ = r.f.Close() // read only
		r.f = nil
	}
}

// buffer returns a chunk with room for n bytes: a free one, or a new one that is no longer than needed.
func (r *readAhead) buffer(n int) *chunk {
	select {
	case c := <-r.free:
		if len(c.buf) >= headroom+n {
			c.err = nil
			return c
		}
	default:
	}
	return &chunk{buf: make([]byte, headroom+n)}
}

// release gives a chunk back for another read, once whoever holds on to its bytes lets go.
func (r *readAhead) release(c *chunk) {
	switch {
	case c == nil:
	case !c.kept:
		r.reuse(c)
	case r.held != nil:
		r.held.Release(func() { r.reuse(c) })
	}
}

// reuse offers a chunk that nobody looks at any more to the reader.
func (r *readAhead) reuse(c *chunk) {
	c.kept = false
	select {
	case r.free <- c:
	default:
	}
}

// close ends the reading and waits for it.
func (r *readAhead) close() {
	close(r.stop)
	<-r.done
	r.closeFile()
}

// scanner decodes records out of a readAhead, span by span.
type scanner struct {
	ra    *readAhead
	spans []span
	cur   int    // span being decoded
	c     *chunk // rest's chunk, nil if rest has a buffer of its own
	next  *chunk // first chunk of a later span
	rest  []byte
	off   int64 // of rest[0]
	life  life
	limit int64 // records end at or before this offset
	bytes int64 // decoded so far, in all spans
	ioErr error // a read that failed, other than by the end of the file
	eof   bool  // the file ended before the span
}

// newScanner reads spans, ahead in a goroutine if ahead.
func newScanner(spans []span, held Releaser, ahead bool) *scanner {
	return &scanner{ra: startReadAhead(spans, held, ahead), spans: spans, cur: -1}
}

// enter begins the next span. The one before must have been read to its end, or the rest of it is skipped.
func (s *scanner) enter(l life, limit int64) {
	for s.fetch() { // skip
	}
	s.ra.release(s.c)
	s.c, s.rest = nil, nil
	s.cur++
	s.off, s.life, s.limit, s.eof = s.spans[s.cur].from, l, limit, false
}

// fetch makes the span's next chunk current, in front of what is left of the one before. It returns false
// at the end of the span.
func (s *scanner) fetch() bool {
	if s.cur < 0 {
		return false
	}
	c := s.next
	s.next = nil
	if c == nil {
		if c = s.ra.next(); c == nil {
			return false
		}
	}
	if c.span != s.cur {
		s.next = c
		return false
	}
	if c.err == io.EOF || c.err == io.ErrUnexpectedEOF {
		s.eof = true
	} else if c.err != nil && s.ioErr == nil {
		s.ioErr = fmt.Errorf("wal: read at %d of %s: %w", c.off+int64(c.n), s.spans[s.cur].path, c.err)
	}
	r := len(s.rest)
	if r > headroom {
		// A long record: join in a new buffer, which grows by doubling so that many chunks are not
		// copied many times.
		s.rest = append(s.rest[:r:cap(s.rest)], c.buf[headroom:headroom+c.n]...)
		s.ra.release(s.c)
		s.ra.release(c)
		s.c = nil
		return true
	}
	copy(c.buf[headroom-r:], s.rest)
	s.rest = c.buf[headroom-r : headroom+c.n]
	s.ra.release(s.c)
	s.c = c
	return true
}

// read decodes the next record. It returns its offset, and false at the end of the span or the first
// record that is not valid; offset is then where that is.
func (s *scanner) read(r *record) (off int64, ok bool) {
	for {
		v, size := decodeRecord(s.rest, s.life, s.off, s.limit, r)
		switch v {
		case valid:
			off = s.off
			s.rest = s.rest[size:]
			s.off += int64(size)
			s.bytes += int64(size)
			return off, true
		case bad:
			return s.off, false
		}
		if len(s.rest) > headroom && s.c != nil {
			// A record that does not fit the headroom: go on in a buffer of its own, so that the chunk
			// can be read into again.
			s.rest = append(make([]byte, 0, size+chunkBytes), s.rest...)
		}
		if !s.fetch() {
			return s.off, false
		}
	}
}

// keep says that slices of the last record's payload are held by somebody.
func (s *scanner) keep() {
	if s.c != nil {
		s.c.kept = true
	}
}

// end says whether the span was decoded to its very end.
func (s *scanner) end() bool { return s.off == s.spans[s.cur].to }

func (s *scanner) close() { s.ra.close() }
