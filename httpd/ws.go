package httpd

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// wsReadLimit bounds a message of the client's. All it has to say is {"type":"pong"}; longer ones are closed
// with 1009.
const wsReadLimit = 4 << 10

// wsReadBuffer is what a connection reads into: pongs.
const wsReadBuffer = 256

// newUpgrader makes the WebSocket handshake.
//
// Any Origin is accepted: authentication is a bearer token in a header, which a browser never adds by itself, so
// that a foreign page has nothing to ride on. Compression is off: it costs 300 KiB and much CPU per stream,
// and a reader behind a slow link can put a proxy in front.
func newUpgrader() *websocket.FastHTTPUpgrader {
	return &websocket.FastHTTPUpgrader{
		ReadBufferSize:  wsReadBuffer,
		WriteBufferSize: wsReadBuffer,
		WriteBufferPool: &sync.Pool{}, // the library writes protocol errors only, see wsTransport.read
		CheckOrigin:     func(*fasthttp.RequestCtx) bool { return true },
		Error: func(ctx *fasthttp.RequestCtx, _ int, _ error) {
			ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
			writeError(ctx, errInvalidQuery, "this path speaks WebSocket version 13; connect with a WebSocket client, or use /events for Server-Sent Events")
		},
	}
}

// serveStream answers GET /v1/contexts/{id}/stream.
func (s *Server) serveStream(ctx *fasthttp.RequestCtx, w *work) {
	st := s.openStream(ctx, w, kindWS)
	if st == nil {
		return
	}
	err := s.streams.upgrader.Upgrade(ctx, func(c *websocket.Conn) {
		st.run(c.NetConn(), &wsTransport{conn: c})
	})
	if err != nil {
		s.streams.release(st)
	}
}

// wsTransport is a stream over a WebSocket. The library shakes hands and reads; frames are written here, since
// its writer cannot give up in the middle of one.
type wsTransport struct {
	conn *websocket.Conn
	echo atomic.Uint32 // code of the client's close frame
}

func (t *wsTransport) hello(dst []byte) []byte { return dst }

// next encodes the event behind the place of its frame's head.
func (t *wsTransport) next(s *stream, dst []byte) (out []byte, kind eventKind, ok bool) {
	at := len(dst)
	out = append(dst, 0, 0, 0, 0)
	out, e, ok := s.nextEvent(out)
	if !ok {
		return out[:at], eventOther, false
	}
	out, s.scratch = frameText(out, at, s.scratch)
	if cap(s.scratch) > streamBufferRetain {
		s.scratch = nil
	}
	return out, e.kind, true
}

func (t *wsTransport) ping(dst []byte) []byte {
	return appendFrame(dst, wsFin|wsText, []byte(`{"type":"ping"}`))
}

func (t *wsTransport) pong(dst, payload []byte) []byte {
	return appendFrame(dst, wsFin|wsPong, payload)
}

func (t *wsTransport) frameEnd(buf []byte, n int) int { return frameEnd(buf, n) }

func (t *wsTransport) goodbye(dst []byte, c cause) []byte {
	if c == causeClient {
		return appendClose(dst, uint16(t.echo.Load()), "")
	}
	return appendClose(dst, causes[c].code, causes[c].reason)
}

// read takes whatever the client sends as a sign of life and answers its pings and its close. On a breach of the
// protocol the library writes a close frame (1002, 1009) itself, beside our own writer: the two do not
// interleave unless ours is blocked in the middle of a frame, and the connection ends either way.
func (t *wsTransport) read(s *stream, r *streamReader) {
	alive := func() { r.deadline(s.opt.IdleTimeout) }
	t.conn.SetReadLimit(wsReadLimit)
	t.conn.SetPongHandler(func(string) error { alive(); return nil })
	t.conn.SetPingHandler(func(payload string) error {
		alive()
		s.offerPong([]byte(payload))
		return nil
	})
	t.conn.SetCloseHandler(func(code int, _ string) error {
		t.echo.Store(uint32(code))
		return nil
	})
	for {
		alive()
		if _, _, err := t.conn.NextReader(); err != nil {
			s.end(readCause(err))
			return
		}
	}
}

// readCause says why reading ended.
func readCause(err error) cause {
	var closed *websocket.CloseError
	var timeout net.Error
	switch {
	case errors.As(err, &closed):
		return causeClient
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return causeIdle
	}
	return causeGone
}

// offerPong leaves the payload for the writer. Only the latest ping is answered, as RFC 6455, 5.5.3 allows.
func (s *stream) offerPong(payload []byte) {
	for {
		select {
		case s.pong <- payload:
			return
		default:
		}
		select {
		case <-s.pong:
		default:
		}
	}
}
