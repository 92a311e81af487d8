package httpd

import (
	"slices"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

const (
	defaultPage = 100
	maxPage     = 10_000
	// envelope is room for what surrounds the messages of an answer: braces, names, numbers, segments.
	envelope = 512
)

// read fills w.view with the context that the path names, or answers the error.
func (s *Server) read(ctx *fasthttp.RequestCtx, w *work) bool {
	if code := s.store.Read(w.id, &w.view); code != shard.CodeOK {
		writeOutcome(ctx, readOutcome(code))
		return false
	}
	return true
}

// readOutcome keeps a read from being told that it may have taken effect.
func readOutcome(c shard.Code) shard.Code {
	if c == shard.CodeTimeout {
		return shard.CodeUnavailable
	}
	return c
}

// serveContext answers GET /v1/contexts/{id}.
func (s *Server) serveContext(ctx *fasthttp.RequestCtx, w *work) {
	if s.read(ctx, w) {
		endBody(ctx, w.view.AppendContext(beginBody(ctx, fasthttp.StatusOK)))
	}
}

// serveTail answers GET /v1/contexts/{id}/tail.
func (s *Server) serveTail(ctx *fasthttp.RequestCtx, w *work) {
	limit, ok := queryInt(ctx, "limit", 1, maxPage, defaultPage)
	if !ok {
		return
	}
	offset, ok := queryInt(ctx, "offset", 0, maxInteger, 0)
	if !ok || !s.read(ctx, w) {
		return
	}
	dst := beginBody(ctx, fasthttp.StatusOK)
	if to := w.view.Last - min(w.view.Last, uint64(offset)); to > 0 {
		dst = s.room(dst, w, to-min(to, uint64(limit))+1, to)
	}
	endBody(ctx, w.view.AppendTail(dst, uint64(limit), uint64(offset)))
}

// serveHistory answers GET /v1/contexts/{id}/messages.
func (s *Server) serveHistory(ctx *fasthttp.RequestCtx, w *work) {
	fromSeq, ok := queryInt(ctx, "from_seq", -maxInteger, maxInteger, 1)
	if !ok {
		return
	}
	if fromSeq == 0 {
		writeError(ctx, errInvalidQuery, `parameter "from_seq" must be a seq from 1, or negative to count from the end`)
		return
	}
	limit, ok := queryInt(ctx, "limit", 1, maxPage, defaultPage)
	if !ok || !s.read(ctx, w) {
		return
	}
	dst := beginBody(ctx, fasthttp.StatusOK)
	from := uint64(fromSeq)
	if fromSeq < 0 {
		from = w.view.Last - min(w.view.Last, uint64(-fromSeq)) + 1
	}
	dst = s.room(dst, w, from, from+uint64(limit)-1)
	endBody(ctx, w.view.AppendHistory(dst, fromSeq, uint64(limit)))
}

// serveWindow answers GET /v1/contexts/{id}/context.
func (s *Server) serveWindow(ctx *fasthttp.RequestCtx, w *work) {
	budget, _, ok := queryOptional(ctx, "budget_tokens", 1, maxInteger)
	if !ok {
		return
	}
	guard, guarded, ok := queryOptional(ctx, "if_version", 0, maxInteger)
	if !ok || !s.read(ctx, w) {
		return
	}
	if guarded && uint64(guard) != w.view.Version {
		writeConflict(ctx, uint64(guard), w.view.Version)
		return
	}
	dst := beginBody(ctx, fasthttp.StatusOK)
	dst = s.room(dst, w, w.view.LiveFrom, w.view.Last)
	endBody(ctx, w.view.AppendWindow(dst, uint64(budget)))
}

// room makes room in dst for the messages from .. to, so that a large answer is allocated once instead of
// doubling its way up. The answers that a connection is used to find their room in dst already.
func (s *Server) room(dst []byte, w *work, from, to uint64) []byte {
	if from > to || from > w.view.Last {
		return dst
	}
	return slices.Grow(dst, w.view.MessagesLen(from, to)+envelope)
}
