package httpd

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/valyala/fasthttp"
)

// A request on its way to the node that leads its shard, and the answer on its way back. Numbers are little
// endian; forward_codec_test.go keeps golden files of both in testdata.
//
//	request    0         1        2         3           5
//	          +---------+--------+---------+-----------+--------+--------------------------+---------
//	          | version | method | headers | n uint16  | target | per header: n uint16, .. | body ...
//	          +---------+--------+---------+-----------+--------+--------------------------+---------
//
//	answer     0         1        2               4
//	          +---------+---------+---------------+--------------------------+---------
//	          | version | headers | status uint16 | per header: n uint16, .. | body ...
//	          +---------+---------+---------------+--------------------------+---------
//
// target is path?query in origin form, as the client encoded it. headers is a set of bits: bit i means that
// the value of the i-th header of the table below follows, in that order. What is in no table does not travel. The
// body goes to the end of the frame; the transport knows its length, and checks its checksum.
//
// Nodes of two versions talk while a cluster is upgraded: a new header or method gets a new bit or number, anything
// else a new version, to be sent only once every node understands it.
const forwardVersion = 1

// The headers of a request that handlers look at: bits on the wire.
const (
	requestContentType = iota
	requestContentEncoding
	requestIdempotencyKey
	requestHeaderCount
)

// The headers of an answer that handlers set: bits on the wire.
const (
	answerContentType = iota
	answerRetryAfter
	answerAllow
	answerHeaderCount
)

var (
	answerHeaders = [answerHeaderCount][]byte{
		answerContentType: []byte("Content-Type"), answerRetryAfter: []byte("Retry-After"), answerAllow: []byte("Allow"),
	}
	// forwardMethods are numbered on the wire by their place.
	forwardMethods = [...]string{
		fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodPost,
		fasthttp.MethodPut, fasthttp.MethodPatch, fasthttp.MethodDelete,
	}
)

// forwardPost is POST's place in forwardMethods.
const forwardPost = 2

// The ways in which a frame can be no request or no answer. An operator meets them, if ever, while nodes of
// different versions run side by side.
var (
	errForwardVersion = errors.New("a forwarded request or answer has a version that this node does not know")
	errForwardShort   = errors.New("a forwarded request or answer is cut short")
	errForwardUnknown = errors.New("a forwarded request has a method or a header that this node does not know")
)

// forwarded is a request as it came from another node. Its slices are parts of the frame.
type forwarded struct {
	method  string
	target  []byte
	headers [requestHeaderCount][]byte // nil: not there
	body    []byte
}

// appendForwarded appends the frame of a request. ok is false where the wire cannot carry it: a head of 8 KiB
// (readBufferSize) always fits, so that this is a method that no route has.
func appendForwarded(dst []byte, ctx *fasthttp.RequestCtx) (_ []byte, ok bool) {
	h := &ctx.Request.Header
	method := -1
	for i := range forwardMethods {
		if string(h.Method()) == forwardMethods[i] {
			method = i
		}
	}
	path, query := target(ctx)
	n := len(path) + 1 + len(query)
	if method < 0 || n > math.MaxUint16 {
		return dst, false
	}
	mask := len(dst) + 2
	dst = append(dst, forwardVersion, byte(method), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
	dst = append(append(append(dst, path...), '?'), query...)
	for i, value := range [requestHeaderCount][]byte{
		requestContentType: h.ContentType(), requestContentEncoding: h.PeekBytes(headerEncoding),
		requestIdempotencyKey: h.PeekBytes(headerIdempotencyKey),
	} {
		if len(value) == 0 {
			continue
		}
		if len(value) > math.MaxUint16 {
			return dst, false
		}
		dst[mask] |= 1 << i
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
		dst = append(dst, value...)
	}
	return append(dst, ctx.Request.Body()...), true
}

// decode reads a frame into f, whose slices then are parts of it.
func (f *forwarded) decode(frame []byte) error {
	if len(frame) == 0 {
		return errForwardShort
	}
	if frame[0] != forwardVersion {
		return errForwardVersion
	}
	if len(frame) < 3 {
		return errForwardShort
	}
	method, mask := frame[1], frame[2]
	if int(method) >= len(forwardMethods) || mask >= 1<<requestHeaderCount {
		return errForwardUnknown
	}
	f.method = forwardMethods[method]
	rest := frame[3:]
	var ok bool
	if f.target, rest, ok = cutCounted(rest); !ok {
		return errForwardShort
	}
	for i := range f.headers {
		f.headers[i] = nil
		if mask>>i&1 == 0 {
			continue
		}
		if f.headers[i], rest, ok = cutCounted(rest); !ok {
			return errForwardShort
		}
	}
	f.body = rest
	return nil
}

// appendAnswer appends the frame of the response in ctx.
func appendAnswer(dst []byte, r *fasthttp.Response) []byte {
	mask := len(dst) + 1
	dst = append(dst, forwardVersion, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(r.StatusCode()))
	for i, name := range answerHeaders {
		value := r.Header.PeekBytes(name)
		if i == answerContentType {
			value = r.Header.ContentType()
		}
		if len(value) == 0 || len(value) > math.MaxUint16 {
			continue
		}
		dst[mask] |= 1 << i
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
		dst = append(dst, value...)
	}
	return append(dst, r.Body()...)
}

// takeAnswer makes the response of ctx what the frame holds. On an error the response is as it was. The frame is not kept.
func takeAnswer(ctx *fasthttp.RequestCtx, frame []byte) error {
	if len(frame) == 0 {
		return errForwardShort
	}
	if frame[0] != forwardVersion {
		return errForwardVersion
	}
	if len(frame) < 4 {
		return errForwardShort
	}
	mask, status := frame[1], int(binary.LittleEndian.Uint16(frame[2:]))
	if mask >= 1<<answerHeaderCount || status < 200 || status > 599 {
		return errForwardUnknown
	}
	var headers [answerHeaderCount][]byte
	rest := frame[4:]
	for i := range headers {
		if mask>>i&1 == 0 {
			continue
		}
		var ok bool
		if headers[i], rest, ok = cutCounted(rest); !ok {
			return errForwardShort
		}
	}
	dst := append(beginBody(ctx, status), rest...)
	for i, value := range headers {
		switch {
		case i == answerContentType:
			ctx.Response.Header.SetContentTypeBytes(value)
		case len(value) > 0:
			ctx.Response.Header.SetBytesKV(answerHeaders[i], value)
		}
	}
	endBody(ctx, dst)
	return nil
}

// cutCounted takes a uint16 and so many bytes off the front of b.
func cutCounted(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	if b = b[2:]; len(b) < n {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
