package httpd

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// TestTargetIsWhatTheParserSays: the short way gives what fasthttp's parser gives.
func TestTargetIsWhatTheParserSays(t *testing.T) {
	f := func(uri string) {
		t.Helper()
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI(uri)
		ctx.Request.Header.SetHost("localhost")
		path, query := target(&ctx)
		require.Equal(t, string(ctx.URI().PathOriginal()), string(path), "%q", uri)
		require.Equal(t, string(ctx.URI().QueryString()), string(query), "%q", uri)
	}
	f("/")
	f("/v1/contexts/a")
	f("/v1/contexts/a%2Fb/tail?limit=5&offset=0")
	f("/v1/contexts/a?")
	f("/v1/contexts/a?x=1?y=2")
	f("/v1/contexts/a?x=1#frag")
	f("/v1/contexts/a#frag?x=1")
	f("//evil.example/v1/contexts")
	f("http://localhost/v1/contexts/a?x=1")
	f("/v1/contexts/../x")
	f("*")
}
