package httpd

import (
	"bytes"
	"encoding/binary"
	"net/http"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// forwardQuick has the leader of the group answer the append in c.quick.head, and leaves the answer in c.quick.out. False:
// this node is to do it by now, or its verdict is called for; nothing was written, and the request goes the other way.
func (c *conn) forwardQuick(w *work, group uint32, body []byte) (status int, done bool) {
	s := c.l.s
	f := s.frames.Get().(*frames)
	defer s.releaseFrames(f)
	f.request = c.quick.head.appendForwarded(f.request[:0], body)
	answer, code, _ := s.router.Forward(group, f.request, f.answer[:0], false)
	f.answer = answer
	s.metrics.forward.count(code)
	if code == shard.CodeNotLeader {
		return 0, false
	}
	if code == shard.CodeOK {
		if body, ok := cutCreated(answer); ok {
			c.beginQuick(http.StatusCreated, len(body))
			c.quick.out = append(append(c.quick.out, "\r\n"...), body...)
			return http.StatusCreated, true
		}
	}
	return c.failQuick(w, func(ctx *fasthttp.RequestCtx) { s.forwardedAnswer(ctx, w, answer, code, false) }), true
}

// appendForwarded is the package's appendForwarded for the quick way.
func (h *quickHead) appendForwarded(dst, body []byte) []byte {
	mask := byte(0)
	if len(h.contentType) > 0 {
		mask = 1 << requestContentType
	}
	dst = append(dst, forwardVersion, forwardPost, mask)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(contextsPrefix)+len(h.id)+len("/messages?")))
	dst = append(append(append(dst, contextsPrefix...), h.id...), "/messages?"...)
	if mask != 0 {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(h.contentType)))
		dst = append(dst, h.contentType...)
	}
	return append(dst, body...)
}

// cutCreated returns the body of an answer's frame, if it is a 201 with nothing but JSON.
func cutCreated(frame []byte) (body []byte, ok bool) {
	head := appendJSONHead(make([]byte, 0, 64), http.StatusCreated)
	return bytes.CutPrefix(frame, head)
}
