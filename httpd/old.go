package httpd

import (
	"errors"

	"github.com/valyala/fasthttp"
)

// Pages of messages that have left memory, in whole or in part. They come from the history files of this node and, where
// those do without them or are damaged, from the archive; what is still in memory follows them in the same answer.

// errHistory is told to clients when old messages cannot be read; the log says why.
const errHistory = "older messages of this context cannot be read at the moment; newer ones can, and nothing is lost for good where a replica or the archive has them"

// old appends the messages from .. to, all of them older than memory, up to maxBytes (at least one). If ok is false it has
// answered the error.
func (s *Server) old(ctx *fasthttp.RequestCtx, w *work, dst []byte, from, to uint64, maxBytes int) (_ []byte, next uint64, ok bool) {
	began := len(dst)
	dst, next, err := s.store.AppendHistory(dst, w.id, from, to, maxBytes)
	if next <= to && next <= w.view.Archived && s.cfg.Archive != nil && len(dst)-began < maxBytes {
		at := len(dst)
		if at > began {
			dst = append(dst, ',')
		}
		comma := len(dst)
		var more error
		dst, next, more = s.cfg.Archive(dst, w.id, next, to, maxBytes-(len(dst)-began))
		err = errors.Join(err, more)
		if len(dst) == comma {
			dst = dst[:at]
		}
	}
	if next > from {
		return dst, next, true // what was read before an error is good
	}
	s.log.historyUnreadable(w.id, from, err)
	ctx.Response.ResetBody()
	writeError(ctx, errUnavailable, errHistory)
	return nil, from, false
}

// serveOldHistory answers GET .../messages for a page that begins before what is in memory.
func (s *Server) serveOldHistory(ctx *fasthttp.RequestCtx, w *work, from, to uint64) {
	v := &w.view
	dst := append(beginBody(ctx, fasthttp.StatusOK), `{"messages":[`...)
	began := len(dst)
	dst, next, ok := s.old(ctx, w, dst, from, min(to, v.First-1), s.maxAnswer)
	if !ok {
		return
	}
	if left := s.maxAnswer - (len(dst) - began); next == v.First && to >= next && v.MessagesLen(next, next) <= left {
		n, size := w.page(next, to, left, false)
		dst = v.AppendMessages(append(room(dst, size), ','), next, next+n-1)
		next += n
	}
	if next > v.Last {
		next = 0
	}
	endBody(ctx, v.AppendHistoryEnd(dst, next))
}

// serveOldTail answers GET .../tail for a page that begins before what is in memory. A page too large for one answer
// loses its oldest messages, as any tail does.
func (s *Server) serveOldTail(ctx *fasthttp.RequestCtx, w *work, from, to uint64) {
	v := &w.view
	left := s.maxAnswer
	var inMemory uint64
	if to >= v.First {
		var size int
		inMemory, size = w.page(v.First, to, left, true)
		left -= size
	}
	dst := append(beginBody(ctx, fasthttp.StatusOK), `{"messages":[`...)
	began := len(dst)
	if oldest := min(to, v.First-1); inMemory == 0 || inMemory == to-v.First+1 {
		for next := from; left > 0 && next <= oldest; {
			var ok bool
			if dst, next, ok = s.old(ctx, w, dst[:began], from, oldest, left); !ok {
				return
			}
			if next <= oldest { // too much: the newer half, or what came behind, whichever is less
				from = max(next, from+(oldest-from)/2+1)
				next = from
			}
		}
		if inMemory > 0 && len(dst)-began > left { // a single message larger than what is left
			dst = dst[:began]
		}
	}
	if inMemory > 0 {
		if len(dst) > began {
			dst = append(dst, ',')
		}
		dst = v.AppendMessages(dst, to-inMemory+1, to)
	}
	endBody(ctx, append(dst, "]}"...))
}
