package httpd

import "github.com/valyala/fasthttp"

// serveHealthLive answers GET /health/live: the process runs and answers. It looks at nothing else, so that an
// orchestrator does not restart a node for what a restart cannot mend.
func (s *Server) serveHealthLive(ctx *fasthttp.RequestCtx, _ *work) {
	endBody(ctx, append(beginBody(ctx, fasthttp.StatusOK), `{"status":"ok"}`...))
}

// serveHealthReady answers GET /health/ready: 200 while the node can serve every shard; 503 with a reason while it
// starts, while its disk hangs, and from the moment it begins to shut down, so that a load balancer turns away
// before the listener closes.
func (s *Server) serveHealthReady(ctx *fasthttp.RequestCtx, _ *work) {
	status, reason := "", ""
	if ok, why := s.store.Ready(); !ok {
		status, reason = "starting", why
	}
	if s.leaving.Load() || s.draining.Load() {
		status, reason = "stopping", "shutdown"
	}
	if status == "" {
		endBody(ctx, append(beginBody(ctx, fasthttp.StatusOK), `{"status":"ok"}`...))
		return
	}
	dst := beginBody(ctx, fasthttp.StatusServiceUnavailable)
	ctx.Response.Header.Set("Retry-After", "1")
	dst = append(dst, `{"status":"`...)
	dst = append(dst, status...)
	dst = append(dst, `","reason":`...)
	dst = appendQuoted(dst, reason)
	endBody(ctx, append(dst, '}'))
}
