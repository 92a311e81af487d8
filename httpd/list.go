package httpd

import (
	"time"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

const (
	defaultListed = 100
	maxListed     = shard.ListMax
	// listWait bounds how long one page gathers shards. Past it the page is given as it is, short or even empty: the
	// cursor goes on, and the client sees that the node is alive.
	listWait = time.Second
)

// listing is one page of GET /v1/contexts in the making.
type listing struct {
	s        *Server
	w        *work
	dst      []byte
	from     int        // where in dst the contexts begin
	count    int        // contexts in dst
	left     int        // contexts that the page may still take
	at       listCursor // of what follows
	contexts []*shard.Context
}

// serveContexts answers GET /v1/contexts: every context once, a page at a time, shard by shard. Each shard's part comes from
// its leader, after a barrier. Where that is another node it gets this request with the cursor at the shard, and answers
// for this shard alone, in the form of appendPart.
func (s *Server) serveContexts(ctx *fasthttp.RequestCtx, w *work) {
	limit, ok := queryInt(ctx, "limit", 1, maxListed, defaultListed)
	if !ok {
		return
	}
	at, ok := queryCursor(ctx)
	if !ok {
		return
	}
	l := &listing{s: s, w: w, left: int(limit), at: at}
	if w.forwarded {
		l.servePart(ctx)
		return
	}
	l.dst = append(beginBody(ctx, fasthttp.StatusOK), `{"contexts":[`...)
	l.from = len(l.dst)
	began := time.Now()
	for !l.full() && !l.at.end() && time.Since(began) < listWait {
		code := l.shard(began.Add(routeWait))
		if code == shard.CodeOK {
			continue
		}
		if l.at != at {
			break // what was gathered is an answer; the next request tells the client what is wrong here
		}
		ctx.Response.ResetBody()
		writeOutcome(ctx, readOutcome(code))
		return
	}
	dst := append(l.dst, `],"next_cursor":`...)
	if l.at.end() {
		endBody(ctx, append(dst, `null}`...))
		return
	}
	endBody(ctx, append(l.at.append(append(dst, '"')), `"}`...))
}

func (l *listing) full() bool { return l.left == 0 || len(l.dst)-l.from >= l.s.maxAnswer }

// shard adds what the page takes of the shard at hand, wherever that is led, and moves the cursor. The same loop as
// serve's, for a request that belongs to many shards.
func (l *listing) shard(deadline time.Time) shard.Code {
	router := l.s.router
	for {
		if router != nil && !router.Local(l.at.group) {
			if code := l.remote(); code != shard.CodeNotLeader {
				return code
			}
		}
		code := l.local()
		if code != shard.CodeNotLeader || router == nil {
			return code
		}
		l.s.metrics.forward.rerouted.Inc()
		if !router.Await(l.at.group, deadline) {
			return shard.CodeUnavailable
		}
	}
}

// local adds what this node's replica has, if it leads.
func (l *listing) local() (code shard.Code) {
	var more bool
	l.contexts, more, code = l.s.store.List(l.at.group, l.at.place, l.left, l.contexts[:0])
	if code != shard.CodeOK {
		return code
	}
	for i, c := range l.contexts {
		if i > 0 && l.full() {
			more = true
			break
		}
		if len(l.dst) > l.from {
			l.dst = append(l.dst, ',')
		}
		c.View(&l.w.view)
		l.dst = l.w.view.AppendContext(l.dst)
		l.at.place++
		l.count++
		l.left--
	}
	if !more {
		l.at = listCursor{group: l.at.group + 1}
	}
	return shard.CodeOK
}
