package httpd

import (
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// The quick way: an append that is all there in one read, with a head that has nothing unusual in it, never gets
// to fasthttp. It is answered from within the Read with which fasthttp waits for the connection's next request, by the
// connection's own goroutine; fasthttp only sees a client that takes its time. What fasthttp does for any request
// (head, URI, arguments, response head, its clock and its states) costs as much as parsing and counting a message.
//
// The rule that keeps this safe: whatever is not exactly what quickHead and the append's parser take (a part of a
// request, more than one, a query, an unusual header, an error of any kind in the head or the body) is handed to
// fasthttp as it came, nothing consumed, and fasthttp's way gives the verdict. So there is one place that
// decides about errors, and the quick way's answers are those of the other one, byte for byte (quick_test.go).
//
//	       bytes at a boundary
//	waiting ----------------> serving ---- answered ----> waiting
//	   |                         |
//	   | Shutdown                | not for the quick way
//	   v                         v
//	closed                    fasthttp's, until it waits for a next request
type quick struct {
	// at says whose the connection is. It is changed by the connection's goroutine, and by Shutdown from quickWaiting
	// to quickClosed.
	at atomic.Uint32
	// boundary: the next byte read is the first of a request, and fasthttp has buffered nothing.
	boundary bool
	// began: fasthttp's first request has begun, which it says before it reads anything.
	began  bool
	served bool // the quick way answered something since fasthttp last did
	head   quickHead
	out    []byte
	sock   *quickSock // nil: there is none
}

const (
	quickOff     = iota // fasthttp's
	quickWaiting        // in Read, at a boundary
	quickServing
	quickClosed // by Shutdown
)

// state follows fasthttp. A connection's first request is said to begin before its first byte is read, every later one
// after that.
func (q *quick) state(state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew, fasthttp.StateIdle:
		q.boundary = true
	case fasthttp.StateActive:
		q.boundary = q.boundary && !q.began
		q.began = true
	}
}

// read is conn.Read at a boundary: it serves what it can, and returns the first bytes that are for fasthttp.
func (c *conn) readQuick(b []byte) (int, error) {
	s, q := c.l.s, &c.quick
	for {
		q.at.Store(quickWaiting)
		// Shutdown first says that it drains, and then closes who waits: whoever began to wait too late for that sees it here.
		if s.draining.Load() && q.at.CompareAndSwap(quickWaiting, quickOff) {
			return 0, io.EOF
		}
		var n int
		var err error
		if q.sock != nil {
			n, err = q.sock.Read(b)
		} else {
			n, err = c.Conn.Read(b)
		}
		if !q.at.CompareAndSwap(quickWaiting, quickServing) {
			return 0, io.EOF // Shutdown closed it
		}
		if n > 0 && err == nil && q.head.parse(b[:n]) && c.serveQuick(b[:n]) {
			q.served = true
			if s.draining.Load() {
				q.at.Store(quickOff)
				return 0, io.EOF // fasthttp closes
			}
			c.read.set(c.l.after(s.cfg.IdleTimeout), c.Conn.SetReadDeadline)
			continue
		}
		q.at.Store(quickOff)
		s.metrics.bytesIn.Add(n)
		if q.served {
			// fasthttp may still believe that it waits for the connection's first request.
			q.served = false
			if n == 0 {
				return 0, io.EOF // gone, or idle for too long: either way nobody waits for an answer
			}
			c.read.set(c.l.after(s.cfg.ReadTimeout), c.Conn.SetReadDeadline)
		}
		q.boundary = false
		return n, err
	}
}

// serveQuick answers the append whose head is in c.quick.head. False: nothing was written or answered, it is for
// fasthttp.
func (c *conn) serveQuick(request []byte) (done bool) {
	s, h := c.l.s, &c.quick.head
	body := request[h.body:]
	if s.draining.Load() || c.reserved || len(body) > s.cfg.MaxBodyBytes || !isJSON(h.contentType) ||
		s.auth != nil && !s.hasKey(h.authorization) {
		return false
	}
	began := c.l.elapsed()
	w := s.work.Get().(*work)
	w.route = routeMessages
	t := w.tally
	t.inflight.Add(1)
	defer c.finishQuick(w, &done)
	var ok bool
	if w.id, ok = decodeID(&w.decoded, h.id); !ok {
		return false
	}
	group := shard.Of(w.id)
	if s.router != nil && !s.router.Local(group) {
		status, ok := c.forwardQuick(w, group, body)
		if ok {
			t.in.Add(int64(len(request)))
			s.metrics.observe(w.route, status, c.l.elapsed()-began)
			c.writeQuick(t)
		}
		return ok
	}
	if w.parser.parseAppend(body) != nil {
		return false
	}
	r := shard.AcquireRequest()
	r.Cmd = w.parser.encode(r.Cmd[:0], shard.BeginAppend, shard.AppendHeader{ID: w.id})
	s.store.Do(group, r)
	status := http.StatusCreated
	if r.Result.Code == shard.CodeOK {
		w.parser.text = w.parser.appendResults(w.parser.text[:0], &r.Result)
		c.beginQuick(status, len(w.parser.text))
		c.quick.out = append(append(c.quick.out, "\r\n"...), w.parser.text...)
	} else if status = c.failQuick(w, func(ctx *fasthttp.RequestCtx) { s.outcome(ctx, w, r) }); w.notLeader {
		shard.ReleaseRequest(r)
		return false
	}
	// Before the answer: who has it may look at the metrics.
	t.in.Add(int64(len(request)))
	if took := c.l.elapsed() - began; status == http.StatusCreated {
		s.metrics.created(t, int64(took))
		s.appendedQuickly(w, &r.Result)
	} else {
		s.metrics.observe(w.route, status, took)
	}
	c.writeQuick(t)
	shard.ReleaseRequest(r)
	return true
}

// finishQuick is Server.finish for the quick way.
func (c *conn) finishQuick(w *work, done *bool) {
	s := c.l.s
	w.tally.inflight.Add(-1)
	if v := recover(); v != nil {
		c.failQuick(w, func(ctx *fasthttp.RequestCtx) { s.panicked(ctx, w, v, debug.Stack()) })
		s.metrics.observe(w.route, http.StatusInternalServerError, 0)
		c.writeQuick(w.tally)
		*done = true
		return
	}
	w.release()
	s.work.Put(w)
}

// appendedQuickly is appended by way of w's tally.
func (s *Server) appendedQuickly(w *work, result *shard.Result) {
	p := &w.parser
	for i := range p.messages {
		m := &p.messages[i]
		s.metrics.appendedQuickly(w.tally, p.unescape(m.role.of(p.body)), m.tokens, m.counted)
	}
	s.log.appended(w.id, result.FirstSeq, result.Count, result.Version)
}

// writeQuick sends the answer in c.quick.out. An error shows at the next read.
func (c *conn) writeQuick(t *tally) {
	out := c.quick.out
	if c.quick.sock != nil {
		n := c.quick.sock.tryWrite(out)
		t.out.Add(int64(n))
		if out = out[n:]; len(out) == 0 {
			return
		}
	}
	_, _ = c.Write(out)
}

// failQuick puts the error that answer gives into c.quick.out, as fasthttp would write it, and returns its status.
func (c *conn) failQuick(w *work, answer func(*fasthttp.RequestCtx)) (status int) {
	s := c.l.s
	ctx := s.contexts.Get().(*fasthttp.RequestCtx)
	defer func() {
		ctx.Response.Reset()
		s.contexts.Put(ctx)
	}()
	answer(ctx)
	status = ctx.Response.StatusCode()
	body := ctx.Response.Body()
	c.beginQuick(status, len(body))
	if after := ctx.Response.Header.Peek("Retry-After"); len(after) > 0 {
		c.quick.out = append(append(append(c.quick.out, "Retry-After: "...), after...), "\r\n"...)
	}
	c.quick.out = append(append(c.quick.out, "\r\n"...), body...)
	if status >= 500 {
		s.log.failed(w.route, w.id, status, errorCode(body))
	}
	return status
}

// beginQuick begins an answer in c.quick.out, as fasthttp writes it, up to the empty line.
func (c *conn) beginQuick(status, bodyLen int) {
	out := c.quick.out[:0]
	if status == http.StatusCreated {
		out = append(out, "HTTP/1.1 201 Created"...)
	} else {
		out = strconv.AppendInt(append(out, "HTTP/1.1 "...), int64(status), 10)
		out = append(append(out, ' '), fasthttp.StatusMessage(status)...)
	}
	out = append(out, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	out = append(strconv.AppendInt(out, int64(bodyLen), 10), "\r\n"...)
	if c.l.s.draining.Load() {
		out = append(out, "Connection: close\r\n"...)
	}
	c.quick.out = out
}
