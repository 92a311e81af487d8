package httpd

import (
	"errors"

	"fastpaca/cluster"

	"github.com/valyala/fasthttp"
)

const noSuchNode = "no node of this cluster has this name; GET /v1/cluster lists them"

// serveDrain answers POST /v1/cluster/nodes/{name}/drain: 202 once it is decided that the node gives its replicas and
// leaderships to others. GET /v1/cluster shows how far that is.
func (s *Server) serveDrain(ctx *fasthttp.RequestCtx, w *work) {
	s.decide(ctx, w, "draining", Router.Drain)
}

// serveUndrain answers POST /v1/cluster/nodes/{name}/undrain: 202 once the drain is taken back.
func (s *Server) serveUndrain(ctx *fasthttp.RequestCtx, w *work) {
	s.decide(ctx, w, "active", Router.Undrain)
}

// decide has the cluster decide on the node that w.id names. Asked again, it answers the same.
func (s *Server) decide(ctx *fasthttp.RequestCtx, w *work, state string, do func(Router, string) error) {
	if s.router == nil {
		if string(w.id) != s.cfg.NodeName {
			writeError(ctx, errNodeNotFound, noSuchNode)
			return
		}
		writeError(ctx, errDrainRefused, "this node is alone: there is no other that could take its shards; add nodes first")
		return
	}
	name := string(w.id)
	switch err := do(s.router, name); {
	case err == nil:
		dst := append(beginBody(ctx, fasthttp.StatusAccepted), `{"node":`...)
		dst = append(appendQuoted(dst, name), `,"state":"`...)
		endBody(ctx, append(append(dst, state...), `"}`...))
	case errors.Is(err, cluster.ErrNoSuchNode):
		writeError(ctx, errNodeNotFound, noSuchNode)
	case errors.Is(err, cluster.ErrUnavailable):
		writeError(ctx, errUnavailable, "no quorum could decide on this now; it may still be decided: look at GET /v1/cluster, and retry shortly")
	default:
		writeError(ctx, errDrainRefused, err.Error())
	}
}
