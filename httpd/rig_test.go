package httpd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fastpaca/tokenize"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// rig is a server on a loopback port over a memoryStore.
type rig struct {
	t     *testing.T
	store *memoryStore
	s     *Server
	addr  string
	auth  string // sent with do, if set
	done  chan error
}

func testCounter(t testing.TB) *tokenize.Counter {
	c, err := tokenize.New("chars:4")
	require.NoError(t, err)
	return c
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	g := &rig{t: t, store: newMemoryStore(), done: make(chan error, 1)}
	cfg := Config{
		Store: g.store, Counter: testCounter(t),
		MaxBodyBytes: 64 << 10, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	if s, ok := cfg.Store.(*memoryStore); ok {
		g.store = s
	}
	g.s = New(cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g.addr = ln.Addr().String()
	go func() { g.done <- g.s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if g.s.draining.Load() {
			return
		}
		g.s.Shutdown(ctx)
		require.ErrorIs(t, <-g.done, ErrServerClosed)
	})
	return g
}

// answer is an HTTP response, read in full.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool // the server said Connection: close
}

// message is the sentence of an error.
func (a *answer) message() string {
	var e struct{ Error, Message string }
	json.Unmarshal([]byte(a.body), &e)
	return e.Message
}

func readAnswer(r *bufio.Reader, method string) (*answer, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, string(body), resp.Close}, err
}

func (g *rig) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// raw sends bytes on a connection of its own and reads one answer.
func (g *rig) raw(request string) *answer {
	g.t.Helper()
	c := g.dial()
	defer c.Close()
	io.WriteString(c, request) // an error shows when reading
	method, _, _ := strings.Cut(request, " ")
	a, err := readAnswer(bufio.NewReader(c), method)
	require.NoError(g.t, err, "request %.200q", request)
	return a
}

// do sends one request. headers are "Name: value"; a body gets a Content-Type unless one is given.
func (g *rig) do(method, path, body string, headers ...string) *answer {
	g.t.Helper()
	return g.raw(g.request(method, path, body, headers...))
}

func (g *rig) request(method, path, body string, headers ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: test\r\n", method, path)
	typed := body == ""
	for _, h := range headers {
		typed = typed || strings.HasPrefix(h, "Content-Type")
		b.WriteString(h + "\r\n")
	}
	if g.auth != "" {
		b.WriteString("Authorization: Bearer " + g.auth + "\r\n")
	}
	if !typed {
		b.WriteString("Content-Type: application/json\r\n")
	}
	if body != "" || method == "POST" || method == "PUT" || method == "PATCH" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

// ok is do for a request that must succeed; it returns the body.
func (g *rig) ok(status int, method, path, body string, headers ...string) string {
	g.t.Helper()
	a := g.do(method, path, body, headers...)
	require.Equal(g.t, status, a.status, "%s %s: %s", method, path, a.body)
	if a.body != "" {
		require.Equal(g.t, "application/json", a.header.Get("Content-Type"))
		require.True(g.t, json.Valid([]byte(a.body)), "%s", a.body)
	}
	return a.body
}

// refused is do for a request that must fail with this status and code.
func (g *rig) refused(status int, code, method, path, body string, headers ...string) *answer {
	g.t.Helper()
	a := g.do(method, path, body, headers...)
	g.isError(a, status, code)
	return a
}

func (g *rig) isError(a *answer, status int, code string) {
	g.t.Helper()
	require.Equal(g.t, status, a.status, a.body)
	require.Equal(g.t, "application/json", a.header.Get("Content-Type"))
	var e map[string]any
	require.NoError(g.t, json.Unmarshal([]byte(a.body), &e), a.body)
	require.Equal(g.t, code, e["error"], a.body)
	require.NotEmpty(g.t, e["message"])
	switch status {
	case 429, 503:
		require.NotEmpty(g.t, a.header.Get("Retry-After"))
	case 401:
		require.Equal(g.t, "Bearer", a.header.Get("WWW-Authenticate"))
	case 405:
		require.NotEmpty(g.t, a.header.Get("Allow"))
	}
}

// textMessage is the smallest message.
func textMessage(text string) string {
	quoted, _ := json.Marshal(text)
	return `{"role":"user","parts":[{"type":"text","text":` + string(quoted) + `}]}`
}

// requestCtx is a request as fasthttp hands it to the handler.
func requestCtx(method, path, body string, headers ...string) *fasthttp.RequestCtx {
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(path)
	req.Header.SetHost("test")
	if body != "" {
		req.Header.SetContentType("application/json")
		req.SetBodyString(body)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	ctx := &fasthttp.RequestCtx{}
	ctx.Init(&req, nil, nil)
	return ctx
}
