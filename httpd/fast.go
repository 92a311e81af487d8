package httpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// readBufferSize bounds a request's head: the path (an id of 255 bytes takes 765 when
	// percent-encoded), a long key and whatever proxies add. A larger head is 431.
	readBufferSize = 8 << 10
	// writeBufferSize is chosen so that head and body of a window of 50 messages of 200 bytes, about
	// 17 KB, leave in one write: with less, fasthttp fills the buffer, writes, and writes the rest.
	writeBufferSize = 20 << 10
	// retainBody is the largest body buffer that a connection keeps for its next request.
	retainBody = 64 << 10
	// spareWorkers lie between our limit of connections, which answers JSON, and fasthttp's, which
	// does not: connections are counted out a little before their workers are free.
	spareWorkers = 1024
)

// newFast configures fasthttp.
func (s *Server) newFast() *fasthttp.Server {
	fast := &fasthttp.Server{
		Handler:       s.handle,
		ErrorHandler:  s.handleBroken,
		ExpectHandler: s.handleExpect,

		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
		NoDefaultContentType:  true,

		MaxRequestBodySize: s.cfg.MaxBodyBytes,
		ReadBufferSize:     readBufferSize,
		WriteBufferSize:    writeBufferSize,
		ConnState:          phase, // the timeouts are ours: deadline.go
		Concurrency:        s.cfg.MaxConns + spareWorkers,
		// How long fasthttp's sweeper sleeps, and so how long a goroutine outlives Shutdown.
		MaxIdleWorkerDuration: time.Second,
		CloseOnShutdown:       true,

		// A form is no JSON, whatever is in it: it must not be parsed, let alone spooled to files.
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		Logger:                       s.log,
	}
	fast.HeaderReceived = func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
		// Whoever has no key cannot make the node read a body either.
		if s.auth != nil && isAPI(h.RequestURI()) && !s.authorized(h) {
			return fasthttp.RequestConfig{MaxRequestBodySize: 1}
		}
		return fasthttp.RequestConfig{MaxRequestBodySize: s.maxBody(h)}
	}
	return fast
}

// maxBody bounds the body of a request.
func (s *Server) maxBody(h *fasthttp.RequestHeader) int {
	if bytes.Contains(h.RequestURI(), importQuery) {
		return s.cfg.MaxBodyBytes + importSlack
	}
	return s.cfg.MaxBodyBytes
}

// handleBroken answers what fasthttp could not read as a request. The connection is closed afterwards.
func (s *Server) handleBroken(ctx *fasthttp.RequestCtx, err error) {
	linger(ctx)
	e, message := s.explain(ctx, err)
	writeError(ctx, e, message)
	s.metrics.observe(routeNone, e.status, 0)
}

func (s *Server) explain(ctx *fasthttp.RequestCtx, err error) (*apiError, string) {
	var (
		small   *fasthttp.ErrSmallBuffer
		network net.Error
		chunk   fasthttp.ErrBrokenChunk
	)
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		if s.auth != nil && isAPI(ctx.Request.Header.RequestURI()) && !s.authorized(&ctx.Request.Header) {
			ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
			return errUnauthorized, unauthorizedMessage
		}
		return errPayloadTooLarge, s.tooLargeMessage()
	case errors.As(err, &small):
		return errHeadersTooLarge, "the request line and headers are larger than 8 KiB; send fewer or shorter headers"
	case errors.As(err, &network) && network.Timeout():
		return errRequestTimeout, "the request did not arrive in full within " + s.cfg.ReadTimeout.String() + "; send it faster"
	case errors.As(err, &chunk):
		return errInvalidRequest, "the chunked body is malformed; check the chunk sizes and the final empty chunk"
	case isCutShort(err):
		return errInvalidRequest, "the request ended before it was complete; check Content-Length"
	}
	return errInvalidRequest, "the request is not valid HTTP/1.1; check the request line and the headers"
}

// twoLengths says whether a request gives both a chunked body and a Content-Length. Whoever stands between us
// and the client may have gone by the other one, and would take a piece of a body for a request, or the other
// way round: RFC 9112, section 6.1, lets us refuse and makes us close.
func twoLengths(h *fasthttp.RequestHeader) bool {
	// -1 is chunked; an empty chunked body has become 0, as has a missing one where the method may have one.
	if n := h.ContentLength(); n != -1 && n != 0 {
		return false
	}
	var length, chunked bool
	for rest := h.RawHeaders(); len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		name, _, _ := bytes.Cut(line, []byte{':'})
		length = length || bytes.EqualFold(name, headerContentLength)
		chunked = chunked || bytes.EqualFold(name, headerTransferEncoding)
	}
	return length && chunked
}

// isCutShort says whether the client stopped sending in the middle of a request.
func isCutShort(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

func (s *Server) tooLargeMessage() string {
	return "the body is larger than " + strconv.Itoa(s.cfg.MaxBodyBytes) + " bytes; send less in one request or raise FASTPACA_MAX_BODY_BYTES"
}

// handleExpect answers Expect: 100-continue before the body is sent: what is bound to be refused for its
// head is refused now. fasthttp sends the answer that it leaves in ctx, and closes the connection.
func (s *Server) handleExpect(ctx *fasthttp.RequestCtx) int {
	h := &ctx.Request.Header
	e, message := errPayloadTooLarge, s.tooLargeMessage()
	switch {
	case s.auth != nil && isAPI(h.RequestURI()) && !s.authorized(h):
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
		e, message = errUnauthorized, unauthorizedMessage
	case h.ContentLength() <= s.maxBody(h):
		return fasthttp.StatusContinue
	}
	linger(ctx)
	writeError(ctx, e, message)
	s.metrics.observe(routeNone, e.status, 0)
	return e.status
}
