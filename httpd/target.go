package httpd

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// target splits the request target into the path as sent and the query, neither decoded. For the usual form,
// /path?query, it is two searches; what is unusual (absolute form, a fragment) goes through fasthttp's parser,
// which costs as much as a small request's JSON.
func target(ctx *fasthttp.RequestCtx) (path, query []byte) {
	uri := ctx.Request.Header.RequestURI()
	if len(uri) == 0 || uri[0] != '/' || len(uri) > 1 && uri[1] == '/' || bytes.IndexByte(uri, '#') >= 0 {
		return ctx.URI().PathOriginal(), ctx.URI().QueryString()
	}
	path, query, _ = bytes.Cut(uri, []byte{'?'})
	return path, query
}
