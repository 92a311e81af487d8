package httpd

import (
	"encoding/base64"
	"encoding/binary"

	"fastpaca/shard"

	"github.com/valyala/fasthttp"
)

// listCursor is a place in the walk over all contexts: the shards in order, and in each its contexts in order of creation.
// It names no context and no node, so that it is good for ever and everywhere in the cluster. Clients see it as six bytes in
// base64url, and are told nothing of what they mean:
//
//	 0         1       2
//	+---------+-------+------------------+
//	| version | shard | place uint32, LE |
//	+---------+-------+------------------+
type listCursor struct {
	group uint32 // shard.Shards: the end
	place uint32 // of the next context in its shard's order of creation
}

const (
	listCursorVersion = 1
	listCursorSize    = 6
)

// end says whether nothing follows.
func (c listCursor) end() bool { return c.group >= shard.Shards }

// append appends the text of a cursor that is not the end.
func (c listCursor) append(dst []byte) []byte {
	var b [listCursorSize]byte
	b[0], b[1] = listCursorVersion, byte(c.group)
	binary.LittleEndian.PutUint32(b[2:], c.place)
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

func (c *listCursor) parse(text []byte) bool {
	var b [listCursorSize + 2]byte
	if len(text) != base64.RawURLEncoding.EncodedLen(listCursorSize) {
		return false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], text)
	if err != nil || n != listCursorSize || b[0] != listCursorVersion {
		return false
	}
	c.group, c.place = uint32(b[1]), binary.LittleEndian.Uint32(b[2:])
	return true
}

// queryCursor reads the parameter cursor; the beginning where it is absent or empty. On a bad value it answers
// 400 invalid_query and returns false.
func queryCursor(ctx *fasthttp.RequestCtx) (c listCursor, ok bool) {
	var buf [64]byte
	_, query := target(ctx)
	value, n := parameter(&buf, query, "cursor")
	if n == 0 || n == 1 && len(value) == 0 {
		return c, true
	}
	if n > 1 || !c.parse(value) {
		writeError(ctx, errInvalidQuery, `parameter "cursor" must be the "next_cursor" of an earlier page, given once; leave it out to begin at the beginning`)
		return c, false
	}
	return c, true
}
