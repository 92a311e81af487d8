package httpd

import (
	"bytes"
	"math"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// resumePoint is a place in the middle of a version: that many messages of it were delivered already.
type resumePoint struct {
	version  uint64
	messages int
}

// openStream checks a request for a stream of w.id and takes a slot for it. It answers the request itself, and
// returns nil, if there is anything to object to. The cursor is fixed here: what happens between this answer
// and the first look at the context is delivered.
func (s *Server) openStream(ctx *fasthttp.RequestCtx, w *work, kind streamKind) *stream {
	p, message := parseStreamParams(ctx, kind)
	if message != "" {
		writeError(ctx, errInvalidQuery, message)
		return nil
	}
	if s.draining.Load() {
		writeOutcome(ctx, shard.CodeShuttingDown)
		return nil
	}
	f, version, code := s.streams.find(w.id, &p, routeWait, s.streams.stop)
	if code != shard.CodeOK {
		writeOutcome(ctx, readOutcome(code))
		return nil
	}
	st := s.streams.reserve(kind, f, w.id)
	if st == nil {
		s.metrics.streams.rejected.Inc()
		writeError(ctx, errTooManyStreams, "this node serves as many streams as FASTPACA_STREAM_MAX_CONNECTIONS allows; close some, or try again later or on another node")
		return nil
	}
	st.params, st.skip, st.place.version = p, p.skip, version
	return st
}

// streamParams is what a request for a stream asks for.
type streamParams struct {
	resume  bool // after version; otherwise live only
	version uint64
	skip    resumePoint
	include bool
}

// parseStreamParams reads cursor, include_messages and, for SSE, Last-Event-ID, which comes from a browser that
// reconnects to the same URL and therefore goes before cursor. message says what is wrong, if anything.
func parseStreamParams(ctx *fasthttp.RequestCtx, kind streamKind) (p streamParams, message string) {
	p.include = true
	var buf [64]byte
	_, query := target(ctx)
	if value, n := parameter(&buf, query, "cursor"); n > 0 {
		p.resume = true
		var ok bool
		if p.version, ok = parseVersion(value); !ok || n > 1 {
			return p, "cursor must be a version, given once: an integer of at least 0 without a sign"
		}
	}
	if value, n := parameter(&buf, query, "include_messages"); n > 1 {
		return p, "include_messages is given twice; send it once"
	} else if n == 1 {
		switch string(value) {
		case "true", "1":
		case "false", "0":
			p.include = false
		default:
			return p, "include_messages must be true or false"
		}
	}
	if last := ctx.Request.Header.Peek("Last-Event-ID"); kind == kindSSE && len(last) > 0 {
		p.resume = true
		version, messages, partial := bytes.Cut(last, []byte{':'})
		var ok bool
		if p.version, ok = parseVersion(version); !ok {
			return p, "Last-Event-ID must be the id of an event of this stream: its version"
		}
		if partial {
			n, ok := parseVersion(messages)
			if !ok || p.version == 0 || n > math.MaxInt32 {
				return p, "Last-Event-ID must be the id of an event of this stream"
			}
			p.skip = resumePoint{version: p.version, messages: int(n)}
			p.version--
		}
	}
	return p, ""
}

// parseVersion reads a decimal number of at most 48 bits, which is what a version is.
func parseVersion(b []byte) (v uint64, ok bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, v < 1<<48
}

// nextEvent appends the next event of the feed to dst, leaving out what the client has.
func (s *stream) nextEvent(dst []byte) (out []byte, e eventInfo, ok bool) {
	at := len(dst)
	for {
		out, e, ok = s.feed.next(dst[:at])
		if !ok {
			return out, e, false
		}
		event := out[at:]
		dst = out
		if s.resume.has(event, e) {
			continue
		}
		s.place.advance(event, e)
		if s.skip.messages == 0 {
			return out, e, true
		}
		if e.kind != eventMessage || eventVersion(event, e.kind) != s.skip.version {
			s.skip = resumePoint{}
			return out, e, true
		}
		s.skip.messages--
		s.skipped++
	}
}
