package httpd

import (
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
//	(*Metrics).appended(role []byte, tokens uint32)                  every message of a 201; role unescaped, not kept
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
	w.reset()
	defer s.finish(ctx, w)
	s.dispatch(ctx, w)
}

// finish ends every request: it answers a panic with a 500, observes, and gives w back. A w that saw a
// panic is dropped, since nobody knows what state it is in.
func (s *Server) finish(ctx *fasthttp.RequestCtx, w *work) {
	if v := recover(); v != nil {
		s.log.panicked(w.route, w.id, v, debug.Stack())
		ctx.Response.Reset()
		writeError(ctx, errInternal, "the server met a bug while answering; the node's log has the details")
		s.metrics.observe(w.route, fasthttp.StatusInternalServerError, time.Since(ctx.Time()))
		return
	}
	status := ctx.Response.StatusCode()
	s.metrics.observe(w.route, status, time.Since(ctx.Time()))
	if status >= 500 {
		s.log.failed(w.route, w.id, status, w.errCode)
	}
	w.release()
	s.work.Put(w)
}
