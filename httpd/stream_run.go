package httpd

import (
	"net"
	"runtime/debug"
	"time"
)

// transport is what differs between WebSocket and SSE.
type transport interface {
	// read handles what the client sends until it ends or the client is too long silent, and calls end. It runs on a goroutine of its own.
	read(s *stream, r *streamReader)
	// hello appends what precedes the first event.
	hello(dst []byte) []byte
	// next appends the next event of the stream, framed. ok is false if there is none.
	next(s *stream, dst []byte) (out []byte, kind eventKind, ok bool)
	ping(dst []byte) []byte
	// pong appends the answer to a ping of the client's.
	pong(dst, payload []byte) []byte
	// frameEnd is the first end of a frame at or after offset n > 0 of buf, which starts with a frame; what
	// was written up to n is completed up to there. 0 means that it is not worth completing.
	frameEnd(buf []byte, n int) int
	// goodbye appends the end of the stream.
	goodbye(dst []byte, c cause) []byte
}

// run serves the stream on conn until it ends. When it returns, conn may be closed: whatever the client shall
// still read is the kernel's.
func (s *stream) run(conn net.Conn, t transport) {
	defer s.set.release(s)
	if !s.set.begin(s) {
		return
	}
	s.set.log.Line(LevelDebug, "stream_opened").Str("context_id", s.id).Str("transport", s.kind.String()).
		Uint("version", s.place.version).Send("a stream was opened")
	s.out.open(conn, s.opt)

	r := newStreamReader(s, conn, t)
	c, said := s.serve(t)
	s.closed(c)
	switch {
	case !said || c == causeClient: // nobody is there to wait for
	case c == causeSlow && s.kind != kindRelay:
		r.wait(s.opt.Linger, s.set.stop)
	default:
		r.wait(streamFarewell, nil)
	}
	r.stop()
}

// closed counts and logs the end of the stream; what follows is only good manners.
func (s *stream) closed(c cause) {
	s.set.metrics.closed[c].Inc()
	level := LevelDebug
	if c == causeSlow {
		level = LevelWarn
	}
	s.set.log.Line(level, "stream_closed").Str("context_id", s.id).Str("transport", s.kind.String()).
		Uint("version", s.place.version).Str("reason", c.String()).Dur("open_ms", time.Since(s.opened)).
		Send("a stream ended")
}

// serve sends events until the stream ends, says goodbye, and returns why it ended and whether the goodbye is on
// its way.
func (s *stream) serve(t transport) (c cause, said bool) {
	defer func() {
		if v := recover(); v != nil { // one stream's bug is not to take the node down
			s.set.log.panicked(s.kind.route(), []byte(s.id), v, debug.Stack())
			c, said = causePanic, s.out.last(t.goodbye(nil, causePanic))
		}
	}()
	s.attached = time.Now()
	s.feed.start(s.wake) // before the first look, so that nothing is missed in between
	defer func() { s.feed.close() }()
	ping := time.NewTicker(s.opt.PingInterval)
	defer ping.Stop()

	b := s.set.buffer()
	*b = t.hello(*b)
	for {
		var written int
		if *b, written, c = s.catchUp(t, *b, ping.C); c != causeNone {
			said = s.goodbye(t, *b, written, c)
			s.set.recycle(b)
			return c, said
		}
		s.set.recycle(b) // a sleeping stream holds no buffer
		select {
		case <-s.wake:
			b = s.set.buffer()
		case <-s.quit:
			b = s.set.buffer()
		case <-ping.C:
			b = s.set.buffer()
			*b = s.ping(t, *b)
		case payload := <-s.pong:
			b = s.set.buffer()
			*b = t.pong(*b, payload)
		}
	}
}

// catchUp sends what buf holds and then all events up to the present. When the stream ends, it returns buf and
// how much of it was written.
func (s *stream) catchUp(t transport, buf []byte, ping <-chan time.Time) (_ []byte, written int, c cause) {
	defer func() { s.feed.rest() }() // a sleeping stream keeps no pages in memory
	for !s.feed.look() {
		if c := s.reattach(); c != causeNone {
			return buf, 0, c
		}
	}
	for {
		if c := s.ended(); c != causeNone {
			return buf, 0, c
		}
		select {
		case <-ping:
			buf = s.ping(t, buf)
		case payload := <-s.pong:
			buf = t.pong(buf, payload)
		default:
		}
		kind, more := eventOther, true
		for more && len(buf) < streamBatch && kind != eventTombstoned {
			if buf, kind, more = t.next(s, buf); more {
				s.set.metrics.events[kind].Inc()
			}
		}
		if len(buf) > 0 {
			if written, c = s.write(buf); c != causeNone {
				return buf, written, c
			}
			buf = buf[:0]
		}
		if kind == eventTombstoned {
			return buf, 0, causeTombstoned
		}
		if !more {
			return buf, 0, s.ended()
		}
	}
}

func (s *stream) ping(t transport, dst []byte) []byte {
	s.set.metrics.events[eventPing].Inc()
	return t.ping(dst)
}

// write hands buf to the kernel. While it is blocked the stream holds no view, so that a client that reads slowly
// does not keep evicted pages in memory, and looks whether it is time to give up.
func (s *stream) write(buf []byte) (written int, c cause) {
	blocked, head := false, uint64(0)
	written, c = s.out.write(buf, func() cause {
		s.feed.rest()
		now := s.feed.head()
		if !blocked {
			blocked, head = true, now
		}
		if c := s.ended(); c != causeNone {
			return c
		}
		if now > head+s.opt.MaxLag {
			return causeSlow
		}
		return causeNone
	})
	s.set.metrics.bytes.Add(written)
	if blocked {
		s.feed.look() // one that is lost was signalled, and is seen before the next sleep
	}
	return written, c
}

// goodbye ends the stream for the client: the rest of the frame that was cut at written, if any, and the
// transport's last words. It returns whether they are on their way.
func (s *stream) goodbye(t transport, buf []byte, written int, c cause) bool {
	if c == causeGone {
		return false
	}
	last := buf[:0:0]
	if written > 0 {
		end := t.frameEnd(buf, written)
		if end == 0 {
			return s.out.last(nil)
		}
		last = append(last, buf[written:end]...)
	}
	return s.out.last(t.goodbye(last, c))
}
