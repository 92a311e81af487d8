package httpd

import (
	"bytes"
	"strconv"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// A part is what the leader of a shard answers to another node that gathers a page of contexts: how many, the cursor of what
// follows ("-" at the end of all), and the contexts as clients see them:
//
//	count SP cursor LF {"id":...},{"id":...}
//
// It is text of our own, and no JSON, because the depth of JSON is bounded and metadata may use up all of it.

// servePart answers a request that another node sent for the shard that the cursor points to.
func (l *listing) servePart(ctx *fasthttp.RequestCtx) {
	switch code := l.local(); code {
	case shard.CodeOK:
		dst := strconv.AppendUint(beginBody(ctx, fasthttp.StatusOK), uint64(l.count), 10)
		dst = append(dst, ' ')
		if l.at.end() {
			dst = append(dst, '-')
		} else {
			dst = l.at.append(dst)
		}
		endBody(ctx, append(append(dst, '\n'), l.dst...))
	case shard.CodeNotLeader, shard.CodeShuttingDown:
		l.w.notLeader = true // another node leads, or will soon
	default:
		writeOutcome(ctx, readOutcome(code))
	}
}

// remote adds the part of the shard at hand that its leader gives. CodeNotLeader: that is this node.
func (l *listing) remote() shard.Code {
	s := l.s
	f := s.frames.Get().(*frames)
	defer s.releaseFrames(f)
	ctx := s.contexts.Get().(*fasthttp.RequestCtx) // for the codecs, which know requests and answers by it
	defer func() {
		ctx.Request.Reset()
		ctx.Response.Reset()
		s.contexts.Put(ctx)
	}()
	ctx.Request.Header.SetMethod(fasthttp.MethodGet)
	uri := strconv.AppendInt([]byte(contextsPath+"?limit="), int64(l.left), 10)
	ctx.Request.Header.SetRequestURIBytes(l.at.append(append(uri, "&cursor="...)))
	var ok bool
	if f.request, ok = appendForwarded(f.request[:0], ctx); !ok {
		panic("httpd: a request for contexts does not fit a forwarded frame; this is a bug, please report it")
	}
	answer, code, _ := s.router.Forward(l.at.group, f.request, f.answer[:0], true)
	f.answer = answer
	s.metrics.forward.count(code)
	if code != shard.CodeOK {
		return code
	}
	err := takeAnswer(ctx, answer)
	if err == nil && ctx.Response.StatusCode() == fasthttp.StatusOK && l.take(ctx.Response.Body()) {
		return shard.CodeOK
	}
	// A refusal such as overloaded, or a node that does not know this request yet, or no more.
	return shard.CodeUnavailable
}

// take adds a part. false: it is none.
func (l *listing) take(part []byte) bool {
	head, contexts, ok := bytes.Cut(part, []byte{'\n'})
	if !ok {
		return false
	}
	count, cursor, ok := bytes.Cut(head, []byte{' '})
	n, good := parseInteger(count, maxListed)
	if !ok || !good || int(n) > l.left || (n == 0) != (len(contexts) == 0) {
		return false
	}
	next := listCursor{group: shard.Shards}
	if string(cursor) != "-" && !next.parse(cursor) || next == l.at {
		return false // a cursor that stands still would have the walk never end
	}
	if n > 0 {
		if len(l.dst) > l.from {
			l.dst = append(l.dst, ',')
		}
		l.dst = append(l.dst, contexts...)
	}
	l.at, l.count, l.left = next, l.count+int(n), l.left-int(n)
	return true
}
