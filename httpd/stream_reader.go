package httpd

import (
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// streamReader is the goroutine that reads what the client of a stream sends. It reads until the connection is
// closed even when nobody cares any more: bytes left unread would make the kernel answer a close with RST,
// which can cost the client what it has not read yet.
type streamReader struct {
	conn    net.Conn
	closing atomic.Bool
	done    chan struct{}
}

func newStreamReader(s *stream, conn net.Conn, t transport) *streamReader {
	r := &streamReader{conn: conn, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer func() {
			if v := recover(); v != nil {
				s.set.log.panicked(s.kind.route(), []byte(s.id), v, debug.Stack())
				s.end(causePanic)
			}
		}()
		t.read(s, r)
		r.discard()
	}()
	return r
}

// deadline sets the read deadline, zero for none, unless stop was called: it may come from another goroutine just
// before or after, and its deadline has to stand in both cases.
func (r *streamReader) deadline(d time.Duration) {
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	r.conn.SetReadDeadline(at)
	if r.closing.Load() {
		r.conn.SetReadDeadline(longAgo())
	}
}

// discard reads until the connection ends.
func (r *streamReader) discard() {
	var buf [512]byte
	r.deadline(0)
	for {
		if _, err := r.conn.Read(buf[:]); err != nil {
			return
		}
	}
}

// wait waits until the client has closed its side, at most d, or until stop is closed.
func (r *streamReader) wait(d time.Duration, stop <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.done:
	case <-t.C:
	case <-stop:
	}
}

// stop ends the goroutine and waits for it.
func (r *streamReader) stop() {
	r.closing.Store(true)
	r.conn.SetReadDeadline(longAgo())
	<-r.done
}

func longAgo() time.Time { return time.Unix(1, 0) }
