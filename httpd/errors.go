package httpd

import (
	"bytes"
	"strconv"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// apiError is one row of API.md's table of errors.
type apiError struct {
	status     int
	code       string
	retryAfter string // seconds, for 429 and 503
}

// Every error that the API can give.
var (
	errInvalidJSON          = &apiError{400, "invalid_json", ""}
	errInvalidMessage       = &apiError{400, "invalid_message", ""}
	errInvalidReplacement   = &apiError{400, "invalid_replacement", ""}
	errInvalidContextConfig = &apiError{400, "invalid_context_config", ""}
	errInvalidMetadata      = &apiError{400, "invalid_metadata", ""}
	errInvalidContextID     = &apiError{400, "invalid_context_id", ""}
	errInvalidQuery         = &apiError{400, "invalid_query", ""}
	errInvalidRequest       = &apiError{400, "invalid_request", ""} // not HTTP
	errUnauthorized         = &apiError{401, "unauthorized", ""}
	errContextNotFound      = &apiError{404, "context_not_found", ""}
	errNotFound             = &apiError{404, "not_found", ""}
	errNodeNotFound         = &apiError{404, "node_not_found", ""}
	errMethodNotAllowed     = &apiError{405, "method_not_allowed", ""}
	errRequestTimeout       = &apiError{408, "request_timeout", ""}
	errConflict             = &apiError{409, "conflict", ""}
	errContextTombstoned    = &apiError{409, "context_tombstoned", ""}
	errDrainRefused         = &apiError{409, "drain_refused", ""}
	errKeyReused            = &apiError{409, "idempotency_key_reused", ""}
	errPayloadTooLarge      = &apiError{413, "payload_too_large", ""}
	errUnsupportedMediaType = &apiError{415, "unsupported_media_type", ""}
	errHeadersTooLarge      = &apiError{431, "headers_too_large", ""}
	//lint:ignore U1000 API.md promises the code; nothing limits rates yet
	errRateLimited    = &apiError{429, "rate_limited", "1"}
	errTooManyStreams = &apiError{429, "too_many_streams", "5"}
	errInternal       = &apiError{500, "internal_error", ""}
	errUnavailable    = &apiError{503, "unavailable", "1"}
	errRaftTimeout    = &apiError{503, "raft_timeout", "1"}
	errStorageFull    = &apiError{503, "storage_full", "5"}
	errOverloaded     = &apiError{503, "overloaded", "1"}
)

// outcomes maps what a shard answers to an error and its sentence. CodeOK, and CodeConflict and CodeSeqConflict, whose
// messages name versions and seqs, are not in it.
var outcomes = map[shard.Code]struct {
	err     *apiError
	message string
}{
	shard.CodeNotFound:     {errContextNotFound, "no context has this id; create it with PUT /v1/contexts/{id}"},
	shard.CodeTombstoned:   {errContextTombstoned, "the context was deleted and takes no more writes; its history stays readable, use another id to write"},
	shard.CodeKeyReused:    {errKeyReused, "this Idempotency-Key was used on this context with a different body; use a new key for a new request"},
	shard.CodeTimeout:      {errRaftTimeout, "the write was not confirmed in time and may still take effect; read the context, or retry with the same Idempotency-Key"},
	shard.CodeUnavailable:  {errUnavailable, "the shard of this context has no leader now and nothing was written; retry shortly"},
	shard.CodeNotLeader:    {errUnavailable, "the shard of this context is led by another node and nothing was written; retry shortly"},
	shard.CodeStorageFull:  {errStorageFull, "the node has no room left, on its disk or within its memory limit, and nothing was written; reads still work, retry when there is room"},
	shard.CodeOverloaded:   {errOverloaded, "too many requests wait on this node and nothing was written; retry after a pause"},
	shard.CodeTooLarge:     {errPayloadTooLarge, "the request is larger than one log entry may be and nothing was written; send fewer messages at a time"},
	shard.CodeMetadataFull: {errInvalidMetadata, "the metadata of this context would grow beyond 1 MiB and nothing was written; remove members by setting them to null"},
	shard.CodeShuttingDown: {errUnavailable, "the node is shutting down and nothing was written; retry on another node"},
}

// writeError makes {"error","message"} the answer. message is one sentence that says what to change.
func writeError(ctx *fasthttp.RequestCtx, e *apiError, message string) {
	dst := beginError(ctx, e, message)
	endBody(ctx, append(dst, '}'))
}

// writeConflict is the 409 of a guard that did not match: it names both versions.
func writeConflict(ctx *fasthttp.RequestCtx, guard, current uint64) {
	dst := beginBody(ctx, errConflict.status)
	dst = append(dst, `{"error":"conflict","message":"if_version is `...)
	dst = strconv.AppendUint(dst, guard, 10)
	dst = append(dst, ` but the context is at version `...)
	dst = strconv.AppendUint(dst, current, 10)
	dst = append(dst, `; read the context again and decide anew","version":`...)
	dst = strconv.AppendUint(dst, current, 10)
	endBody(ctx, append(dst, '}'))
}

// writeOutcome answers a code of the shard's other than CodeOK, CodeConflict and CodeSeqConflict.
func writeOutcome(ctx *fasthttp.RequestCtx, c shard.Code) {
	o, ok := outcomes[c]
	if !ok {
		panic("httpd: shard answered with code " + strconv.Itoa(int(c)) + ", which outcomes in errors.go does not map; add it")
	}
	writeError(ctx, o.err, o.message)
}

// errorCode takes the code out of an error that was written, for the log.
func errorCode(body []byte) string {
	rest, ok := bytes.CutPrefix(body, []byte(`{"error":"`))
	if !ok {
		return ""
	}
	code, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(code)
}

func beginError(ctx *fasthttp.RequestCtx, e *apiError, message string) []byte {
	dst := beginBody(ctx, e.status)
	if e.retryAfter != "" {
		ctx.Response.Header.Set("Retry-After", e.retryAfter)
	}
	dst = append(dst, `{"error":"`...)
	dst = append(dst, e.code...)
	dst = append(dst, `","message":`...)
	return appendQuoted(dst, message)
}

// appendQuoted appends s as a JSON string. Messages are ours but may quote the client's field names,
// so everything that JSON wants escaped is.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// beginBody starts a JSON answer and returns the response's own body buffer, empty, to append to.
// endBody gives it back: fasthttp then owns the bytes until they are written, so that nothing is copied
// in between and nothing of ours has to outlive the handler.
func beginBody(ctx *fasthttp.RequestCtx, status int) []byte {
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return ctx.Response.SwapBody(nil)[:0]
}

func endBody(ctx *fasthttp.RequestCtx, body []byte) {
	if cap(body) <= retainBody {
		ctx.Response.SwapBody(body)
		return
	}
	// Given as the raw body, the buffer is dropped after it was written; as the connection's own it
	// would stay with it for as long as it is open.
	ctx.Response.SetBodyRaw(body)
}
