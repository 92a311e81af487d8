package httpd

import (
	"slices"
	"sort"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

const (
	defaultPage = 100
	maxPage     = 10_000
	// maxAnswer bounds the bytes of messages in one page. A page of large messages ends early: the client
	// sees it by next_seq, or by fewer messages than it asked for. One message is always given.
	maxAnswer = 32 << 20
	// maxRoom bounds the room that is made for an answer before its size is known for certain.
	maxRoom = 1 << 20
	// maxMeasured bounds the messages of a window whose size is added up beforehand: a window of a million
	// may have a budget of a hundred.
	maxMeasured = 1000
	// envelope is room for what surrounds the messages of an answer: braces, names, numbers, segments.
	envelope = 512
)

// read fills w.view with the context that the path names. If it returns false it has answered the error, or
// this node does not lead the shard (w.notLeader).
func (s *Server) read(ctx *fasthttp.RequestCtx, w *work) bool {
	code := s.store.Read(w.id, &w.view)
	switch code {
	case shard.CodeOK:
		return true
	case shard.CodeNotLeader:
		w.notLeader = true
	case shard.CodeShuttingDown:
		w.notLeader = w.forwarded // nothing was done here, and another node leads, or will soon
		fallthrough
	default:
		writeOutcome(ctx, readOutcome(code))
	}
	return false
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
	last := w.view.Last
	to := last - min(last, uint64(offset))
	from := to - min(to, uint64(limit)) + 1
	if from < w.view.First && from <= to {
		s.serveOldTail(ctx, w, from, to)
		return
	}
	if n, size := w.page(from, to, s.maxAnswer, true); n > 0 {
		endBody(ctx, w.view.AppendTail(room(beginBody(ctx, fasthttp.StatusOK), size), n, uint64(offset)))
		return
	}
	endBody(ctx, w.view.AppendTail(beginBody(ctx, fasthttp.StatusOK), uint64(limit), uint64(offset)))
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
	last := w.view.Last
	from := uint64(fromSeq)
	if fromSeq < 0 {
		from = last - min(last, uint64(-fromSeq)) + 1
	}
	page := uint64(limit)
	if from < w.view.First {
		s.serveOldHistory(ctx, w, from, min(from+page-1, last))
		return
	}
	n, size := w.page(from, min(from+page-1, last), s.maxAnswer, false)
	if n > 0 {
		page = n
	}
	endBody(ctx, w.view.AppendHistory(room(beginBody(ctx, fasthttp.StatusOK), size), fromSeq, page))
}

// page cuts the messages from .. to, at the front or the back, to what fits into limit bytes: how many
// they are, and their bytes. Both are 0 where there are none in memory.
func (w *work) page(from, to uint64, limit int, cutFront bool) (n uint64, size int) {
	from = max(from, w.view.First, 1)
	if from > to || to > w.view.Last {
		return 0, 0
	}
	n = to - from + 1
	measure := func(n uint64) int {
		if cutFront {
			return w.view.MessagesLen(to-n+1, to)
		}
		return w.view.MessagesLen(from, from+n-1)
	}
	if size = measure(n); size <= limit {
		return n, size
	}
	n = uint64(sort.Search(int(n), func(i int) bool { return measure(uint64(i)+1) > limit }))
	n = max(n, 1)
	return n, measure(n)
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
	if live := w.view.Last + 1 - w.view.LiveFrom; budget == 0 && live <= maxMeasured {
		// The size of the window if nothing has to be left out of it.
		dst = room(dst, min(w.view.MessagesLen(w.view.LiveFrom, w.view.Last), maxRoom))
	}
	endBody(ctx, w.view.AppendWindow(dst, uint64(budget)))
}

// room makes room in dst for size bytes of messages, so that a large answer is allocated once instead of
// doubling its way up. The answers that a connection is used to find their room in dst already.
func room(dst []byte, size int) []byte { return slices.Grow(dst, size+envelope) }
