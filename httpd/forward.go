package httpd

import (
	"runtime/debug"
	"time"

	"fastpaca/cluster"
	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// frameRetain is the largest frame buffer that goes back to the pool: a window of 50 messages is a fifteenth of
// it. The rare big batch or page must not stay.
const frameRetain = 256 << 10

// frames are the buffers of one request that is forwarded.
type frames struct{ request, answer []byte }

func (s *Server) releaseFrames(f *frames) {
	if cap(f.request) > frameRetain {
		f.request = nil
	}
	if cap(f.answer) > frameRetain {
		f.answer = nil
	}
	s.frames.Put(f)
}

// serve has h answer the request, here or on the node that leads the shard of w.id.
func (s *Server) serve(ctx *fasthttp.RequestCtx, w *work, h handlerFunc) {
	if s.router == nil || w.forwarded {
		h(s, ctx, w)
		return
	}
	group := shard.Of(w.id)
	deadline := time.Now().Add(routeWait)
	for {
		if !s.router.Local(group) && s.forward(ctx, w, group) {
			return
		}
		if h(s, ctx, w); !w.notLeader {
			return
		}
		// The shard has another leader than this node thought, and nothing was written: h can be called again.
		w.notLeader = false
		s.metrics.forward.rerouted.Inc()
		if !s.router.Await(group, deadline) {
			writeOutcome(ctx, w.honest(shard.CodeUnavailable))
			return
		}
	}
}

// forward has the leader of the group answer the request. false: this node is to do it, because it leads by now, or
// because the request is none that would get past the handler.
func (s *Server) forward(ctx *fasthttp.RequestCtx, w *work, group uint32) bool {
	key := ctx.Request.Header.PeekBytes(headerIdempotencyKey)
	if key != nil && !validKey(key) {
		return false
	}
	f := s.frames.Get().(*frames)
	defer s.releaseFrames(f)
	var ok bool
	if f.request, ok = appendForwarded(f.request[:0], ctx); !ok {
		return false
	}
	read := ctx.IsGet() || ctx.IsHead()
	// Only appends know keys: a compaction that is sent twice would be two versions, with a key or without.
	again := read || key != nil && w.route == routeMessages
	answer, code, unsure := s.router.Forward(group, f.request, f.answer[:0], again)
	f.answer = answer
	w.unsure = w.unsure || unsure && !read
	s.metrics.forward.count(code)
	if code == shard.CodeNotLeader {
		return false
	}
	s.forwardedAnswer(ctx, w, answer, code, read)
	return true
}

// forwardedAnswer makes the response of ctx what Router.Forward returned, read or write.
func (s *Server) forwardedAnswer(ctx *fasthttp.RequestCtx, w *work, answer []byte, code shard.Code, read bool) {
	if code == shard.CodeOK {
		if err := takeAnswer(ctx, answer); err != nil {
			s.log.Line(LevelError, "forward_answer").Str("error", err.Error()).Int("bytes", int64(len(answer))).
				Send("the leader's answer cannot be read; nodes of very different versions run side by side")
			code = shard.CodeTimeout // a write may have taken effect
		} else if w.unsure && ctx.Response.StatusCode() == fasthttp.StatusServiceUnavailable {
			code = shard.CodeTimeout // what refused this attempt does not know of the one before
		}
	}
	if read {
		code = readOutcome(code)
	}
	if code != shard.CodeOK {
		writeOutcome(ctx, w.honest(code))
	}
}

// ServeForwarded answers a request that another node sent by Router.Forward: it appends cluster.AnswerDone and the
// answer to dst, or cluster.AnswerNotLeader if this node does not lead the shard, and nothing was written. It never forwards.
// req is valid during the call only; nothing of it is kept.
func (s *Server) ServeForwarded(req, dst []byte) []byte {
	ctx := s.contexts.Get().(*fasthttp.RequestCtx)
	w := s.work.Get().(*work)
	w.forwarded = true
	notLeader, bad := s.answerForwarded(ctx, w, req)
	if notLeader {
		s.metrics.forward.refused.Inc()
		dst = append(dst, cluster.AnswerNotLeader)
	} else {
		s.metrics.forward.served.Inc()
		dst = appendAnswer(append(dst, cluster.AnswerDone), &ctx.Response)
	}
	if bad {
		return dst // nobody knows what state ctx and w are in
	}
	ctx.Request.Reset()
	ctx.Response.Reset()
	s.contexts.Put(ctx)
	w.release()
	s.work.Put(w)
	return dst
}

// answerForwarded fills ctx.Response. bad: the handler panicked, and the answer is a 500.
func (s *Server) answerForwarded(ctx *fasthttp.RequestCtx, w *work, req []byte) (notLeader, bad bool) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(ctx, w, v, debug.Stack())
			notLeader, bad = false, true
		}
	}()
	var f forwarded
	if err := f.decode(req); err != nil {
		s.log.Line(LevelError, "forward_request").Str("error", err.Error()).Int("bytes", int64(len(req))).
			Send("a forwarded request cannot be read; nodes of very different versions run side by side")
		writeError(ctx, errUnavailable, "the node that leads this shard runs a version that does not understand this one's and nothing was written; "+
			"bring all nodes to the same version")
		return false, false
	}
	ctx.Response.Header.SetNoDefaultContentType(true) // as newFast does for connections
	h := &ctx.Request.Header
	h.SetMethod(f.method)
	h.SetRequestURIBytes(f.target)
	if v := f.headers[requestContentType]; v != nil {
		h.SetContentTypeBytes(v)
	}
	if v := f.headers[requestContentEncoding]; v != nil {
		h.SetBytesKV(headerEncoding, v)
	}
	if v := f.headers[requestIdempotencyKey]; v != nil {
		h.SetBytesKV(headerIdempotencyKey, v)
	}
	if len(f.body) > 0 {
		ctx.Request.SetBodyRaw(f.body)
	}
	s.dispatch(ctx, w)
	return w.notLeader, false
}

// newForwardedContext is a RequestCtx without a connection, to be used again and again. Its body buffer stays
// with it, up to retainBody, as a connection's does.
func (s *Server) newForwardedContext() any {
	ctx := &fasthttp.RequestCtx{}
	ctx.Init2(nil, s.log, false)
	return ctx
}
