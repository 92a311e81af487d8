package httpd

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"fastpaca/cluster"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/: only together with a format's version")

// golden compares got with testdata/name. Nodes of another version send what is in there.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, got, "%s: run with -update only if the format's version was raised", path)
}

func TestForwardedRequestFormat(t *testing.T) {
	ctx := requestCtx("POST", "/v1/contexts/%e6%bc%a2/messages?a=b%20c", `{"message":1}`,
		"Content-Type: application/json; charset=utf-8", "Content-Encoding: identity", "Idempotency-Key: a key",
		"Authorization: Bearer secret", "X-Other: stays here")
	frame, ok := appendForwarded([]byte("before"), ctx)
	require.True(t, ok)
	require.True(t, bytes.HasPrefix(frame, []byte("before")))
	frame = frame[len("before"):]
	require.NotContains(t, string(frame), "secret")
	golden(t, "forwarded-request-1.bin", frame)

	var f forwarded
	require.NoError(t, f.decode(frame))
	require.Equal(t, forwarded{method: "POST", target: []byte("/v1/contexts/%e6%bc%a2/messages?a=b%20c"),
		headers: [...][]byte{[]byte("application/json; charset=utf-8"), []byte("identity"), []byte("a key")},
		body:    []byte(`{"message":1}`)}, f)

	// The target travels in origin form, however it came.
	for _, uri := range []string{"http://elsewhere/v1/contexts/c?x=1", "/v1/contexts/c?x=1#part"} {
		frame, ok := appendForwarded(nil, requestCtx("GET", uri, ""))
		require.True(t, ok)
		require.NoError(t, f.decode(frame))
		require.Equal(t, "/v1/contexts/c?x=1", string(f.target))
	}
	_, ok = appendForwarded(nil, requestCtx("TRACE", "/v1/contexts/c", ""))
	require.False(t, ok)
}

func TestForwardedAnswerFormat(t *testing.T) {
	ctx := &fasthttp.RequestCtx{}
	writeError(ctx, errUnavailable, "a sentence")
	ctx.Response.Header.Set("Allow", "GET")
	ctx.Response.Header.Set("X-Other", "stays there")
	frame := appendAnswer(nil, &ctx.Response)
	golden(t, "forwarded-answer-1.bin", frame)

	got := &fasthttp.RequestCtx{}
	require.NoError(t, takeAnswer(got, frame))
	require.Equal(t, 503, got.Response.StatusCode())
	require.Equal(t, "application/json", string(got.Response.Header.ContentType()))
	require.Equal(t, "1", string(got.Response.Header.Peek("Retry-After")))
	require.Equal(t, "GET", string(got.Response.Header.Peek("Allow")))
	require.Empty(t, got.Response.Header.Peek("X-Other"))
	require.Equal(t, ctx.Response.Body(), got.Response.Body())

	empty := &fasthttp.RequestCtx{}
	empty.Response.SetStatusCode(204)
	require.NoError(t, takeAnswer(got, appendAnswer(nil, &empty.Response)))
	require.Equal(t, 204, got.Response.StatusCode())
	require.Empty(t, got.Response.Body())
}

// TestForwardedOfAnotherVersion: whoever does not understand a request says so in words, and has written nothing.
func TestForwardedOfAnotherVersion(t *testing.T) {
	s := bareServer(t)
	good, _ := appendForwarded(nil, requestCtx("GET", "/v1/contexts/c", "", "Idempotency-Key: k"))
	f := func(want error, frame []byte) {
		t.Helper()
		var q forwarded
		require.ErrorIs(t, q.decode(frame), want)
		answer := s.ServeForwarded(frame, nil)
		require.Equal(t, cluster.AnswerDone, answer[0])
		require.Contains(t, string(answer), `"unavailable"`)
	}
	change := func(at int, to byte) []byte { b := bytes.Clone(good); b[at] = to; return b }
	f(errForwardVersion, change(0, 2))
	f(errForwardVersion, []byte{2})
	f(errForwardUnknown, change(1, byte(len(forwardMethods))))
	f(errForwardUnknown, change(2, 1<<requestHeaderCount))
	for n := range len(good) {
		f(errForwardShort, good[:n])
	}
	for _, frame := range [][]byte{nil, {1}, {1, 0}, {1, 0, 200}, {2, 0, 200, 0}, {1, 8, 200, 0}, {1, 0, 100, 0}, {1, 1, 200, 0, 9, 0}} {
		ctx := &fasthttp.RequestCtx{}
		ctx.Response.SetStatusCode(418)
		require.Error(t, takeAnswer(ctx, frame), "%v", frame)
		require.Equal(t, 418, ctx.Response.StatusCode(), "an answer that cannot be read changes nothing")
	}
}

// FuzzServeForwarded: whatever a peer sends, the answer is one that the other end can read.
func FuzzServeForwarded(f *testing.F) {
	store := newMemoryStore()
	s := New(Config{Store: store, Counter: testCounter(f)})
	for _, r := range [][3]string{
		{"PUT", "/v1/contexts/c", `{"token_budget":5}`}, {"POST", "/v1/contexts/c/messages", `{"message":` + textMessage("x") + `}`},
		{"GET", "/v1/contexts/c/tail?limit=3", ""}, {"GET", "/v1/contexts/c/stream", ""}, {"DELETE", "/v1/contexts/%2f", ""},
	} {
		frame, _ := appendForwarded(nil, requestCtx(r[0], r[1], r[2], "Idempotency-Key: k"))
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		answer := s.ServeForwarded(frame, nil)
		if answer[0] != cluster.AnswerDone {
			t.Fatalf("a store that always leads was taken for one that does not: %q", answer)
		}
		ctx := &fasthttp.RequestCtx{}
		if err := takeAnswer(ctx, answer[1:]); err != nil {
			t.Fatal(err)
		}
		if ctx.Response.StatusCode() == 500 {
			t.Fatalf("a bug: %s", ctx.Response.Body())
		}
	})
}

// FuzzTakeAnswer: whatever a peer answers is read or refused.
func FuzzTakeAnswer(f *testing.F) {
	ctx := &fasthttp.RequestCtx{}
	writeError(ctx, errUnavailable, "a sentence")
	f.Add(appendAnswer(nil, &ctx.Response))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got := &fasthttp.RequestCtx{}
		if takeAnswer(got, frame) != nil {
			return
		}
		again := &fasthttp.RequestCtx{}
		if err := takeAnswer(again, appendAnswer(nil, &got.Response)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Response.Body(), again.Response.Body()) || got.Response.StatusCode() != again.Response.StatusCode() {
			t.Fatal("an answer changes on its way")
		}
	})
}
