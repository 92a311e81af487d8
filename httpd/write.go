package httpd

import (
	"crypto/sha256"
	"strconv"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

const maxIdempotencyKey = 255

// validKey says whether an Idempotency-Key may be used.
func validKey(key []byte) bool { return len(key) > 0 && len(key) <= maxIdempotencyKey }

// do carries the command in r through the log. It answers every outcome but CodeOK itself; not CodeNotLeader, which
// it leaves in w.notLeader.
func (s *Server) do(ctx *fasthttp.RequestCtx, w *work, r *shard.Request) bool {
	s.store.Do(shard.Of(w.id), r)
	return s.outcome(ctx, w, r)
}

// outcome is the rest of do.
func (s *Server) outcome(ctx *fasthttp.RequestCtx, w *work, r *shard.Request) bool {
	switch r.Result.Code {
	case shard.CodeOK:
		return true
	case shard.CodeNotLeader:
		w.notLeader = true
	case shard.CodeShuttingDown:
		w.notLeader = w.forwarded // nothing was written, and another node leads, or will soon
		writeOutcome(ctx, w.honest(r.Result.Code))
	case shard.CodeConflict:
		writeConflict(ctx, r.Result.IfVersion, r.Result.CurrentVersion)
	case shard.CodeSeqConflict:
		writeSeqConflict(ctx, w.parser.firstSeq, &r.Result)
	default:
		writeOutcome(ctx, w.honest(r.Result.Code))
	}
	return false
}

// serveAppend answers POST /v1/contexts/{id}/messages.
func (s *Server) serveAppend(ctx *fasthttp.RequestCtx, w *work) {
	body, ok := s.body(ctx)
	if !ok {
		return
	}
	h := shard.AppendHeader{ID: w.id}
	if key := ctx.Request.Header.PeekBytes(headerIdempotencyKey); key != nil {
		if !validKey(key) {
			writeError(ctx, errInvalidMessage, "the header Idempotency-Key must be 1 to 255 bytes long; leave it out to send without")
			return
		}
		h.HasKey, h.Key, h.BodyHash = true, hash16(key), hash16(body)
	}
	imported, ok := importing(ctx)
	if !ok {
		return
	}
	var err *requestError
	if imported {
		err = w.parser.parseImport(body)
	} else {
		err = w.parser.parseAppend(body)
	}
	if err != nil {
		writeError(ctx, err.api, err.message)
		return
	}
	r := shard.AcquireRequest()
	r.Cmd = w.parser.encode(r.Cmd[:0], shard.BeginAppend, h)
	if s.do(ctx, w, r) {
		endBody(ctx, w.parser.appendResults(beginBody(ctx, fasthttp.StatusCreated), &r.Result))
		if !r.Result.Deduplicated {
			s.appended(w, &r.Result)
		}
	}
	shard.ReleaseRequest(r)
}

// hash16 is the first half of a SHA-256: what the log keeps of a key and a body.
func hash16(b []byte) (h [16]byte) {
	sum := sha256.Sum256(b)
	copy(h[:], sum[:])
	return h
}

// appended tells metrics and log.
func (s *Server) appended(w *work, result *shard.Result) {
	p := &w.parser
	for i := range p.messages {
		m := &p.messages[i]
		s.metrics.appended(p.unescape(m.role.of(p.body)), m.tokens, m.counted)
	}
	s.log.appended(w.id, result.FirstSeq, result.Count, result.Version)
}

// appendResults appends the answer to an append. An answer given again has the tokens that the first one had:
// the estimator may be another since, and what counts is what the messages were stored with.
func (p *parser) appendResults(dst []byte, result *shard.Result) []byte {
	dst = append(dst, '{')
	if p.batch {
		dst = append(dst, `"results":[`...)
	}
	for i := range p.messages {
		seq, tokens := result.FirstSeq+uint64(i), p.messages[i].tokens
		if v := &result.View; result.Deduplicated && v.First <= seq && seq <= v.Last {
			tokens = v.Slot(seq).Tokens
		}
		if p.batch {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
		}
		dst = append(dst, `"seq":`...)
		dst = strconv.AppendUint(dst, seq, 10)
		if !p.batch {
			dst = appendVersion(append(dst, ','), result)
		}
		dst = append(dst, `,"token_estimate":`...)
		dst = strconv.AppendUint(dst, uint64(tokens), 10)
		if p.batch {
			dst = append(dst, '}')
		}
	}
	if p.batch {
		dst = appendVersion(append(dst, `],`...), result)
	}
	if result.Deduplicated {
		dst = append(dst, `,"deduplicated":true`...)
	}
	return append(dst, '}')
}

func appendVersion(dst []byte, result *shard.Result) []byte {
	return strconv.AppendUint(append(dst, `"version":`...), result.Version, 10)
}

// serveCompact answers POST /v1/contexts/{id}/compact.
func (s *Server) serveCompact(ctx *fasthttp.RequestCtx, w *work) {
	body, ok := s.body(ctx)
	if !ok {
		return
	}
	if err := w.parser.parseCompact(body); err != nil {
		writeError(ctx, err.api, err.message)
		return
	}
	r := shard.AcquireRequest()
	r.Cmd = w.parser.encode(r.Cmd[:0], shard.BeginCompact, shard.AppendHeader{ID: w.id})
	if s.do(ctx, w, r) {
		dst := appendVersion(append(beginBody(ctx, fasthttp.StatusOK), '{'), &r.Result)
		endBody(ctx, append(dst, '}'))
	}
	shard.ReleaseRequest(r)
}

// servePut answers PUT /v1/contexts/{id}.
func (s *Server) servePut(ctx *fasthttp.RequestCtx, w *work) {
	body, ok := s.body(ctx)
	if !ok {
		return
	}
	put := shard.Put{ID: w.id}
	if err := w.parser.parsePut(body, &put); err != nil {
		writeError(ctx, err.api, err.message)
		return
	}
	r := shard.AcquireRequest()
	r.Cmd = shard.EncodePut(r.Cmd[:0], &put)
	if s.do(ctx, w, r) {
		status := fasthttp.StatusOK
		if r.Result.Created {
			status = fasthttp.StatusCreated
		}
		endBody(ctx, r.Result.View.AppendContext(beginBody(ctx, status)))
	}
	shard.ReleaseRequest(r)
}

// serveDelete answers DELETE /v1/contexts/{id}.
func (s *Server) serveDelete(ctx *fasthttp.RequestCtx, w *work) {
	r := shard.AcquireRequest()
	r.Cmd = shard.EncodeDelete(r.Cmd[:0], w.id)
	if s.do(ctx, w, r) {
		ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
	}
	shard.ReleaseRequest(r)
}

// servePatchMetadata answers PATCH /v1/contexts/{id}/metadata.
func (s *Server) servePatchMetadata(ctx *fasthttp.RequestCtx, w *work) {
	body, ok := s.body(ctx)
	if !ok {
		return
	}
	patch, err := w.parser.parsePatch(body)
	if err != nil {
		writeError(ctx, err.api, err.message)
		return
	}
	r := shard.AcquireRequest()
	r.Cmd = shard.EncodePatchMetadata(r.Cmd[:0], w.id, patch)
	if s.do(ctx, w, r) {
		endBody(ctx, r.Result.View.AppendContext(beginBody(ctx, fasthttp.StatusOK)))
	}
	shard.ReleaseRequest(r)
}
