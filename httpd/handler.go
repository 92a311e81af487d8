package httpd

import (
	"bytes"
	"crypto/subtle"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"
)

// The files of the streams helper hook in here. What this file expects of them:
//
//	newStreamSet(s *Server) *streamSet
//	(*streamSet).shutdown(ctx context.Context)            close all streams (1001), wait for them, bounded by ctx
//	newMetrics(s *Server) *Metrics
//	(*Metrics).observe(r route, status int, took time.Duration)      every request, streams when they begin
//	(*Metrics).appended(role []byte, tokens uint32, counted bool)    every message of a 201; role unescaped, not kept
//	(*Logger) is nil-safe:
//	(*Logger).appended(id []byte, firstSeq uint64, count int, version uint64)   after a 201; id not kept
//	(*Logger).failed(r route, id []byte, status int, code string)    a 5xx answer
//	(*Logger).panicked(r route, id []byte, value any, stack []byte)
//	(*Logger).Printf(format string, args ...any)                     fasthttp's own complaints
//	(*Server).serveStream, serveEvents, serveCluster, serveHealthLive, serveHealthReady, serveMetrics,
//	serveOpenAPI (ctx *fasthttp.RequestCtx, w *work)      w.id is the decoded context id, valid until return
//
// and what it gives them: writeError(ctx, e, message), errors.go's table, queryInt and friends, and
// s.read(ctx, w) which fills w.view or answers the error itself.

// handle answers one request. Nothing of ctx outlives it: ids and bodies are copied into the command
// or the answer before it returns.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	w := s.work.Get().(*work)
	s.metrics.inflight.Add(1)
	defer s.finish(ctx, w)
	s.dispatch(ctx, w)
}

// finish ends every request: it answers a panic with a 500, observes, and gives w back. A w that saw a
// panic is dropped, since nobody knows what state it is in.
func (s *Server) finish(ctx *fasthttp.RequestCtx, w *work) {
	s.metrics.inflight.Add(-1)
	if v := recover(); v != nil {
		s.panicked(ctx, w, v, debug.Stack())
		s.metrics.observe(w.route, fasthttp.StatusInternalServerError, time.Since(ctx.Time()))
		return
	}
	status := ctx.Response.StatusCode()
	s.metrics.observe(w.route, status, time.Since(ctx.Time()))
	if status >= 500 && w.route != routeHealthReady { // a node that starts says "not ready" by design
		s.log.failed(w.route, w.id, status, errorCode(ctx.Response.Body()))
	}
	w.release()
	s.work.Put(w)
	// A large body must not stay with the connection. Nothing refers to it any more.
	ctx.Request.ReleaseBody(retainBody)
}

// panicked makes a 500 the answer to a request whose handler panicked with v.
func (s *Server) panicked(ctx *fasthttp.RequestCtx, w *work, v any, stack []byte) {
	s.log.panicked(w.route, w.id, v, stack)
	ctx.Response.Reset()
	writeError(ctx, errInternal, "the server met a bug while answering; the node's log has the details")
}

// dispatch checks what does not depend on the route, in the order in which it helps a client most: the
// key, the path, the method, the id. Then it calls the route's handler.
func (s *Server) dispatch(ctx *fasthttp.RequestCtx, w *work) {
	if twoLengths(&ctx.Request.Header) {
		ctx.SetConnectionClose()
		writeError(ctx, errInvalidRequest, "the request has both Content-Length and Transfer-Encoding; send one of them")
		return
	}
	path, _ := target(ctx)
	route, rawID := match(path)
	w.route = route
	if route != routePeer && !w.forwarded && s.reserved(ctx) {
		ctx.SetConnectionClose()
		writeError(ctx, errOverloaded, overloadedMessage)
		return
	}
	if s.auth != nil && !w.forwarded && isAPI(path) && !s.authorized(&ctx.Request.Header) {
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
		writeError(ctx, errUnauthorized, unauthorizedMessage)
		return
	}
	if route == routeNone || route == routePeer && s.cfg.Peer == nil || w.forwarded && !route.forwardable() {
		writeError(ctx, errNotFound, "there is nothing at this path; /openapi.json lists what there is")
		return
	}
	handler := s.handler(route, ctx.Method())
	if handler == nil {
		allow := routes[route].allow
		ctx.Response.Header.Set("Allow", allow)
		writeError(ctx, errMethodNotAllowed, "this path does not take this method; use one of "+allow)
		return
	}
	if rawID != nil {
		id, ok := decodeID(&w.decoded, rawID)
		if !ok && (route == routeDrain || route == routeUndrain) {
			writeError(ctx, errNodeNotFound, noSuchNode)
			return
		}
		if !ok {
			writeError(ctx, errInvalidContextID, "a context id is 1 to 255 bytes of UTF-8 without control characters and without /; percent-encode the rest")
			return
		}
		w.id = id
		if route.forwardable() {
			s.serve(ctx, w, handler)
			return
		}
	}
	handler(s, ctx, w)
}

// handlerFunc answers a request whose path, method and id are good.
type handlerFunc func(s *Server, ctx *fasthttp.RequestCtx, w *work)

// handler is the table of routes and methods; nil where a route does not take the method.
func (s *Server) handler(r route, method []byte) handlerFunc {
	switch string(method) {
	case fasthttp.MethodGet:
		switch r {
		case routeStream:
			return (*Server).serveStream
		case routeEvents:
			return (*Server).serveEvents
		case routePeer:
			return (*Server).servePeer
		}
		return getHandler(r)
	case fasthttp.MethodHead:
		return getHandler(r) // fasthttp leaves the body out, and its length in
	case fasthttp.MethodPost:
		switch r {
		case routeMessages:
			return (*Server).serveAppend
		case routeCompact:
			return (*Server).serveCompact
		case routeDrain:
			return (*Server).serveDrain
		case routeUndrain:
			return (*Server).serveUndrain
		}
	case fasthttp.MethodPut:
		if r == routeContext {
			return (*Server).servePut
		}
	case fasthttp.MethodDelete:
		if r == routeContext {
			return (*Server).serveDelete
		}
	case fasthttp.MethodPatch:
		if r == routeMetadata {
			return (*Server).servePatchMetadata
		}
	}
	return nil
}

func getHandler(r route) handlerFunc {
	switch r {
	case routeContexts:
		return (*Server).serveContexts
	case routeContext:
		return (*Server).serveContext
	case routeMessages:
		return (*Server).serveHistory
	case routeTail:
		return (*Server).serveTail
	case routeWindow:
		return (*Server).serveWindow
	case routeCluster:
		return (*Server).serveCluster
	case routeHealthLive:
		return (*Server).serveHealthLive
	case routeHealthReady:
		return (*Server).serveHealthReady
	case routeMetrics:
		return (*Server).serveMetrics
	case routeOpenAPI:
		return (*Server).serveOpenAPI
	}
	return nil
}

const unauthorizedMessage = "this node wants an API key; send the header Authorization: Bearer <key>"

// authorized compares the bearer token with the key, in a time that does not depend on where they differ.
func (s *Server) authorized(h *fasthttp.RequestHeader) bool {
	return s.hasKey(h.PeekBytes(headerAuthorization))
}

// hasKey is authorized of the header's value.
func (s *Server) hasKey(got []byte) bool {
	const scheme = "Bearer "
	if len(got) < len(scheme) || !bytes.EqualFold(got[:len(scheme)], []byte(scheme)) {
		return false
	}
	return subtle.ConstantTimeCompare(bytes.TrimSpace(got[len(scheme):]), s.auth) == 1
}

// The names and values of headers, in the form in which fasthttp keeps them. Never written to.
var (
	contentTypeJSON      = []byte("application/json")
	headerAuthorization  = []byte("Authorization")
	headerIdempotencyKey = []byte("Idempotency-Key")
	headerEncoding       = []byte("Content-Encoding")

	headerContentLength    = []byte("Content-Length")
	headerTransferEncoding = []byte("Transfer-Encoding")
)

// body returns the request's body once its media type is JSON, or answers the error. The bytes are
// fasthttp's, valid until the handler returns.
func (s *Server) body(ctx *fasthttp.RequestCtx) (body []byte, ok bool) {
	h := &ctx.Request.Header
	body = ctx.Request.Body()
	if len(body) == 0 {
		return nil, true // a media type without a body says nothing
	}
	if !isJSON(h.ContentType()) {
		writeError(ctx, errUnsupportedMediaType, "send the body as JSON in UTF-8, with the header Content-Type: application/json")
		return nil, false
	}
	if encoding := h.PeekBytes(headerEncoding); len(encoding) > 0 && !bytes.EqualFold(encoding, []byte("identity")) {
		writeError(ctx, errUnsupportedMediaType, "send the body without Content-Encoding; compressed bodies are not taken")
		return nil, false
	}
	return body, true
}

// isJSON accepts application/json, with any parameters but a charset that is not UTF-8, and no type at all.
func isJSON(contentType []byte) bool {
	if len(contentType) == 0 || string(contentType) == "application/json" {
		return true
	}
	media, parameters, _ := bytes.Cut(contentType, []byte(";"))
	if !bytes.EqualFold(bytes.TrimSpace(media), contentTypeJSON) {
		return false
	}
	for len(parameters) > 0 {
		var parameter []byte
		parameter, parameters, _ = bytes.Cut(parameters, []byte(";"))
		name, value, _ := bytes.Cut(parameter, []byte("="))
		if !bytes.EqualFold(bytes.TrimSpace(name), []byte("charset")) {
			continue
		}
		value = bytes.Trim(bytes.TrimSpace(value), `"`)
		if !bytes.EqualFold(value, []byte("utf-8")) && !bytes.EqualFold(value, []byte("utf8")) {
			return false
		}
	}
	return true
}
