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
//
// What is archived may have left memory without getting into a history file, what is not is in one: so the archive's part ends at
// archived_seq, and history may follow it as well as precede it.
func (s *Server) old(ctx *fasthttp.RequestCtx, w *work, dst []byte, from, to uint64, maxBytes int) (_ []byte, next uint64, ok bool) {
	began, next := len(dst), from
	var err error
	take := func(read func(dst, id []byte, from, to uint64, maxBytes int) ([]byte, uint64, error), to uint64) {
		at := len(dst)
		if next > to || at-began >= maxBytes {
			return
		}
		if at > began {
			dst = append(dst, ',')
		}
		comma := len(dst)
		var failed error
		if dst, next, failed = read(dst, w.id, next, to, maxBytes-(at-began)); len(dst) == comma {
			dst = dst[:at]
		}
		err = errors.Join(err, failed)
	}
	take(s.store.AppendHistory, to)
	if archived := w.view.Archived; next <= archived && s.cfg.Archive != nil {
		if take(s.cfg.Archive, min(to, archived)); next > archived {
			take(s.store.AppendHistory, to)
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
				if dst, _, ok = s.old(ctx, w, dst[:began], next, next, 1); !ok {
					return // not too much, but unreadable: a page without it would hide that
				}
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
