package httpd

import (
	"encoding/binary"

	"fastpaca/cluster"
	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// takeMost bounds the forwarded appends that are under way without a goroutine. It is above what their commands may take
// together of the node's budget (FASTPACA_INFLIGHT_BYTES), save where they are very short.
const takeMost = 1 << 16

// taking is a forwarded append under way without a goroutine of its own. The reader of the connection that brought it
// fills it and gives request to the shard; from then on it is the loop's, which calls done once, and done gives
// it back to the pool.
type taking struct {
	s       *Server
	caller  cluster.Caller
	w       *work
	body    []byte // a copy: the frame is gone when the answer is made
	request *shard.Request
	done    func(*shard.Request)
	answer  []byte
}

func (s *Server) newTaking() any {
	a := &taking{s: s, w: s.work.New().(*work)}
	a.done = a.finish
	return a
}

// submissions is the memory of one TakeForwarded.
type submissions struct{ list []shard.Submission }

// TakeForwarded takes what can be answered without a goroutine of its own: appends with nothing unusual about them. It
// validates and counts them where it is called, submits all of them at once, and the loop that commits one sends the answer.
// What it does not take is ServeForwarded's, errors of every kind included, so that there is one place that words them.
func (s *Server) TakeForwarded(calls []cluster.Incoming) {
	if s.cfg.Submit == nil {
		return
	}
	subs := s.submissions.Get().(*submissions)
	for i := range calls {
		c := &calls[i]
		if c.Kind != cluster.KindHTTP {
			continue
		}
		if a := s.take(c.Request); a != nil {
			c.Taken = true
			a.caller = c.Caller
			subs.list = append(subs.list, shard.Submission{Group: shard.Of(a.w.id), Request: a.request})
		}
	}
	if len(subs.list) > 0 {
		s.cfg.Submit(subs.list)
	}
	clear(subs.list)
	subs.list = subs.list[:0]
	s.submissions.Put(subs)
}

// take makes a request of the frame, or returns nil where that is ServeForwarded's. A parser that panics would do so there,
// too, where it is answered with a 500.
func (s *Server) take(frame []byte) (a *taking) {
	var f forwarded
	if f.decode(frame) != nil || f.method != fasthttp.MethodPost || !isJSON(f.headers[requestContentType]) ||
		f.headers[requestContentEncoding] != nil || f.headers[requestIdempotencyKey] != nil {
		return nil
	}
	path := f.target
	if n := len(path); n > 0 && path[n-1] == '?' { // an empty query
		path = path[:n-1]
	}
	route, rawID := match(path) // no id holds a question mark
	if route != routeMessages || len(f.body) == 0 || len(f.body) > s.cfg.MaxBodyBytes {
		return nil
	}
	if s.taken.Add(1) > takeMost {
		s.taken.Add(-1)
		return nil
	}
	t := s.takings.Get().(*taking)
	defer func() {
		if v := recover(); v != nil {
			a, t = nil, nil // nobody knows what state it is in
			s.taken.Add(-1)
		} else if a == nil {
			t.release()
		}
	}()
	w := t.w
	w.route, w.forwarded = route, true
	t.body = append(t.body[:0], f.body...)
	var ok bool
	if w.id, ok = decodeID(&w.decoded, rawID); !ok || w.parser.parseAppend(t.body) != nil {
		return nil
	}
	w.id = w.decoded[:copy(w.decoded[:], w.id)] // it may have been a part of the frame
	t.request = shard.AcquireRequest()
	t.request.Cmd = w.parser.encode(t.request.Cmd[:0], shard.BeginAppend, shard.AppendHeader{ID: w.id})
	t.request.Done = t.done
	return t
}

// finish leaves the answer for the loop that calls it, which sends all that it has at the end of its pass; or, where the request
// is refused at once, for the reader.
func (a *taking) finish(r *shard.Request) {
	s, w := a.s, a.w
	if r.Result.Code == shard.CodeOK {
		a.answer = appendJSONHead(append(a.answer[:0], cluster.AnswerDone), fasthttp.StatusCreated)
		a.answer = w.parser.appendResults(a.answer, &r.Result)
		s.appended(w, &r.Result)
	} else {
		a.answer = s.refuseTaken(a.answer[:0], w, r)
	}
	if w.notLeader {
		s.metrics.forward.refused.Inc()
	} else {
		s.metrics.forward.served.Inc()
	}
	a.caller.Leave(a.answer)
	shard.ReleaseRequest(r)
	a.release()
}

// refuseTaken appends the answer to an append that was not carried out, in the words of the other way.
func (s *Server) refuseTaken(dst []byte, w *work, r *shard.Request) []byte {
	ctx := s.contexts.Get().(*fasthttp.RequestCtx)
	defer func() {
		ctx.Response.Reset()
		s.contexts.Put(ctx)
	}()
	if s.outcome(ctx, w, r); w.notLeader {
		return append(dst, cluster.AnswerNotLeader)
	}
	return appendAnswer(append(dst, cluster.AnswerDone), &ctx.Response)
}

// release gives a back to the pool.
func (a *taking) release() {
	s := a.s
	a.w.release()
	a.caller, a.request = cluster.Caller{}, nil
	if cap(a.answer) > frameRetain {
		a.answer = nil
	}
	s.takings.Put(a)
	s.taken.Add(-1)
}

// appendJSONHead appends an answer's frame up to its body, which is JSON.
func appendJSONHead(dst []byte, status int) []byte {
	dst = append(dst, forwardVersion, 1<<answerContentType)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(status))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(contentTypeJSON)))
	return append(dst, contentTypeJSON...)
}
