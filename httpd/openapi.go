package httpd

import (
	_ "embed"

	"github.com/valyala/fasthttp"
)

// openapiJSON is the OpenAPI 3.1 description of everything that the server answers, written by hand and kept in
// step by openapi_test.go.
//
//go:embed openapi.json
var openapiJSON []byte

// serveOpenAPI answers GET /openapi.json and GET /v1/openapi.json.
func (s *Server) serveOpenAPI(ctx *fasthttp.RequestCtx, _ *work) {
	endBody(ctx, append(beginBody(ctx, fasthttp.StatusOK), openapiJSON...))
}
