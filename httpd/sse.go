package httpd

import (
	"bytes"
	"net"
	"strconv"

	"github.com/valyala/fasthttp"
)

// sseHead is the whole response head. There is no length and no chunking: the body ends with the connection, and
// every write is a run of whole events that no proxy has to unwrap.
const sseHead = "HTTP/1.1 200 OK\r\n" +
	"Content-Type: text/event-stream; charset=utf-8\r\n" +
	"Cache-Control: no-cache, no-transform\r\n" +
	"X-Accel-Buffering: no\r\n" + // nginx would hold events back
	"Connection: close\r\n\r\n" +
	"retry: 1000\n: fastpaca stream\n\n"

// serveEvents answers GET /v1/contexts/{id}/events.
func (s *Server) serveEvents(ctx *fasthttp.RequestCtx, w *work) {
	st := s.openStream(ctx, w, kindSSE)
	if st == nil {
		return
	}
	ctx.HijackSetNoResponse(true) // fasthttp would announce a body of length 0
	ctx.Hijack(func(conn net.Conn) { st.run(conn, &sseTransport{}) })
}

// sseTransport is a stream as Server-Sent Events (HTML Living Standard, 9.2). There are no event: lines: the type
// is in the JSON, as on the WebSocket, and one onmessage handler sees all of them.
//
// id: is the version, and what the browser sends back as Last-Event-ID is the cursor. In a batch of several
// messages all but the last carry <version>:<n>, n messages of the version having been sent, so that a client
// cut off in the middle of a batch gets exactly the rest of it.
type sseTransport struct {
	version uint64 // of the messages counted by sent
	sent    int
}

func (t *sseTransport) hello(dst []byte) []byte            { return append(dst, sseHead...) }
func (t *sseTransport) ping(dst []byte) []byte             { return append(dst, ": ping\n\n"...) }
func (t *sseTransport) pong(dst, _ []byte) []byte          { return dst }
func (t *sseTransport) goodbye(dst []byte, _ cause) []byte { return dst }

// frameEnd does not complete a cut event: clients throw away what lacks its blank line and get the event again by
// Last-Event-ID.
func (t *sseTransport) frameEnd([]byte, int) int { return 0 }

func (t *sseTransport) next(s *stream, dst []byte) (out []byte, kind eventKind, ok bool) {
	event, e, ok := s.nextEvent(s.scratch[:0])
	if !ok {
		return dst, eventOther, false
	}
	s.scratch = event
	if cap(s.scratch) > streamBufferRetain {
		s.scratch = nil
	}
	dst = append(dst, "id: "...)
	dst = t.appendID(dst, s, event, e)
	return appendData(append(dst, '\n'), event), e.kind, true
}

// appendID appends the id of an event that s.nextEvent has just returned.
func (t *sseTransport) appendID(dst []byte, s *stream, event []byte, e eventInfo) []byte {
	if e.kind != eventMessage {
		v := eventVersion(event, e.kind)
		if e.kind == eventGap { // it has none; what precedes the gap counts as delivered
			v = e.version
		}
		return strconv.AppendUint(dst, v, 10)
	}
	v := eventVersion(event, e.kind)
	if v != t.version {
		t.version, t.sent, s.skipped = v, s.skipped, 0
	}
	t.sent++
	dst = strconv.AppendUint(dst, v, 10)
	if !e.last {
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, int64(t.sent), 10)
	}
	return dst
}

// appendData appends an event's data and the blank line that ends it. A client may have sent its JSON with
// newlines in it: every line gets a data: of its own, and the receiver joins them again.
func appendData(dst, event []byte) []byte {
	dst = append(dst, "data: "...)
	for len(event) > 0 {
		n := bytes.IndexByte(event, '\n')
		if n < 0 {
			n = len(event)
		}
		if r := bytes.IndexByte(event[:n], '\r'); r >= 0 {
			n = r
		}
		dst, event = append(dst, event[:n]...), event[n:]
		if bytes.HasPrefix(event, []byte("\r\n")) {
			event = event[1:]
		}
		if len(event) > 0 {
			dst, event = append(dst, "\ndata: "...), event[1:]
		}
	}
	return append(dst, '\n', '\n')
}

// read waits for the end of the connection; there is nothing that a client could say.
func (t *sseTransport) read(s *stream, r *streamReader) {
	setUserTimeout(s.out.raw, s.opt.IdleTimeout)
	r.discard()
	s.end(causeGone)
}
