package peer

import (
	"net"
	"sync"
	"time"
)

// openMax bounds what a stream is opened with, in bytes: httpd's description of what is wanted.
const openMax = 64 << 10

// streams counts the open ones, under Transport.mu.
type streams struct{ out, in int }

// OpenStream opens a stream to node to, whose ServeStream gets open and the other end. The connection carries raw bytes, is
// the caller's and counts against Config.MaxStreams until it is closed. It blocks for a round trip or two, some seconds
// at most. Errors wrap ErrNotSent where ServeStream surely was not called.
func (t *Transport) OpenStream(to uint64, open []byte) (net.Conn, error) {
	p := t.view.Load().find(to)
	if p == nil || len(open) > openMax-1 {
		return nil, ErrNotSent
	}
	if !t.takeStream(&t.streams.out) {
		return nil, ErrOverloaded
	}
	c, _, err := t.connect(p.ctx, *p.addr.Load(), laneStream, &p.Peer)
	if err != nil {
		t.putStream(&t.streams.out)
		return nil, &notSentError{err}
	}
	s := &stream{Conn: c, t: t}
	if _, err := c.Write(appendFrame(nil, kindOpen, open)); err != nil {
		_ = s.Close()
		return nil, err
	}
	t.counters.streamsOpened.Add(1)
	return s, nil
}

// notSentError is an ErrNotSent with its cause.
type notSentError struct{ cause error }

func (e *notSentError) Error() string   { return e.cause.Error() }
func (e *notSentError) Unwrap() []error { return []error{ErrNotSent, e.cause} }

// stream is an opened stream, counted until it is closed.
type stream struct {
	net.Conn
	t    *Transport
	once sync.Once
}

// Close closes the stream. It may be called again.
func (s *stream) Close() (err error) {
	s.once.Do(func() {
		err = s.Conn.Close()
		s.t.putStream(&s.t.streams.out)
	})
	return err
}

// takeStream counts one more stream of one kind, unless there are MaxStreams.
func (t *Transport) takeStream(n *int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || *n >= t.cfg.MaxStreams {
		t.counters.streamsRefused.Add(1)
		return false
	}
	*n++
	return true
}

func (t *Transport) putStream(n *int) {
	t.mu.Lock()
	*n--
	t.mu.Unlock()
}

// serveStream runs a stream that another node opened.
func (t *Transport) serveStream(c net.Conn, h Hello) {
	p := t.known(h)
	if p == nil || !t.takeStream(&t.streams.in) {
		return
	}
	defer t.putStream(&t.streams.in)
	if c.SetReadDeadline(t.cfg.Now().Add(handshakeTimeout)) != nil {
		return
	}
	kind, open, err := readFrame(c, nil, openMax)
	if err != nil || kind != kindOpen || c.SetReadDeadline(time.Time{}) != nil {
		t.refused(c, h, ReasonProtocol, unexpected(err))
		return
	}
	t.counters.streamsServed.Add(1)
	t.cfg.ServeStream(h.ID, open, c)
}
