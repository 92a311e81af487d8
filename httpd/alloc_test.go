//go:build !race

package httpd

import (
	"strings"
	"testing"
	"time"

	"fastpaca/cluster"
	"fastpaca/cluster/peer"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// ackStore answers writes at once and reads from one context.
type ackStore struct {
	*memoryStore
	version uint64
}

func (s *ackStore) Do(_ uint32, r *shard.Request) {
	s.version++
	r.Result = shard.Result{Version: s.version, FirstSeq: s.version, Count: 1}
}

// TestRequestsAllocateNothing runs whole handlers, from the parsed HTTP request to the body of the answer.
func TestRequestsAllocateNothing(t *testing.T) {
	machines := newMemoryStore()
	s := New(Config{Store: &ackStore{memoryStore: machines}, Counter: testCounter(t), APIKey: "key"})
	seed := New(Config{Store: machines, Counter: testCounter(t)})
	do := func(method, path, body string) {
		ctx := requestCtx(method, path, body)
		seed.handle(ctx)
		require.Less(t, ctx.Response.StatusCode(), 300, string(ctx.Response.Body()))
	}
	do("PUT", "/v1/contexts/c", `{"token_budget":1000000}`)
	for range 100 {
		do("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("word ", 40))+`}`)
	}

	f := func(name string, status int, ctx *fasthttp.RequestCtx) {
		t.Helper()
		run := func() {
			s.handle(ctx)
			if got := ctx.Response.StatusCode(); got != status {
				t.Fatalf("%s: %d %s", name, got, ctx.Response.Body())
			}
			// As in serveConn, the buffer of the body stays with the connection: no Response.Reset here,
			// which outside of it gives the buffer to a pool that drops large ones.
		}
		run()
		require.Zero(t, testing.AllocsPerRun(1000, run), name)
	}
	const auth = "Authorization: Bearer key"
	one := `{"message":` + textMessage(strings.Repeat("word ", 40)) + `}`
	f("append", 201, requestCtx("POST", "/v1/contexts/c/messages", one, auth))
	f("append, escaped id", 201, requestCtx("POST", "/v1/contexts/%e6%bc%a2%20x/messages", one, auth))
	f("append, key and guard", 201, requestCtx("POST", "/v1/contexts/c/messages",
		`{"if_version":3,"message":{"role":"assistant","seq":1,"parts":[{"type":"text","text":"a\n\u00e9"},{"type":"tool_call","id":"x"}],"token_count":5,"metadata":{}}}`,
		auth, "Idempotency-Key: k"))
	f("batch", 201, requestCtx("POST", "/v1/contexts/c/messages", `{"messages":[`+strings.Repeat(textMessage("x")+",", 20)+textMessage("y")+`]}`, auth))
	f("compact", 200, requestCtx("POST", "/v1/contexts/c/compact", `{"replacement":[`+textMessage("y")+`]}`, auth))
	f("context", 200, requestCtx("GET", "/v1/contexts/c", "", auth))
	f("tail", 200, requestCtx("GET", "/v1/contexts/c/tail?limit=50&offset=10", "", auth))
	f("history", 200, requestCtx("GET", "/v1/contexts/c/messages?from_seq=-50&limit=50", "", auth))
	f("window", 200, requestCtx("GET", "/v1/contexts/c/context?budget_tokens=2600", "", auth))
	f("window, if_version", 200, requestCtx("GET", "/v1/contexts/c/context?if_version=100", "", auth))
	f("window, conflict", 409, requestCtx("GET", "/v1/contexts/c/context?if_version=99", "", auth))
	f("delete", 204, requestCtx("DELETE", "/v1/contexts/c", "", auth))
}

// loopRouter forwards everything to one server, in the same goroutine.
type loopRouter struct {
	Router
	leader *Server
	answer []byte
}

func (*loopRouter) Local(uint32) bool { return false }

func (r *loopRouter) Forward(_ uint32, req, dst []byte, _ bool) (_ []byte, _ shard.Code, unsure bool) {
	r.answer = r.leader.ServeForwarded(req, r.answer[:0])
	return append(dst, r.answer[1:]...), shard.CodeOK, false
}

// TestQuickForwardAllocatesNothing from the bytes of the request to those of the answer, without the network in between.
func TestQuickForwardAllocatesNothing(t *testing.T) {
	leader := New(Config{Store: &ackStore{memoryStore: newMemoryStore()}, Counter: testCounter(t)})
	s := New(Config{Store: newMemoryStore(), Counter: testCounter(t), Router: &loopRouter{leader: leader}})
	g := &rig{t: t}
	from := &endless{request: []byte(g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("word ", 40))+`}`))}
	c := &conn{Conn: from, l: &listener{s: s, period: time.Second}}
	b := make([]byte, readBufferSize)
	run := func() {
		from.count = 10
		c.quick.boundary = true
		if n, err := c.Read(b); n != 0 || err == nil || from.count != 0 {
			t.Fatal(n, err, from.count)
		}
	}
	run()
	require.Zero(t, testing.AllocsPerRun(100, run))
}

// TestTakingAllocatesNothing: forwarded appends that need no goroutine, two at a time, up to their answers.
func TestTakingAllocatesNothing(t *testing.T) {
	machines := newMemoryStore()
	cfg := Config{Store: &ackStore{memoryStore: machines}, Counter: testCounter(t)}
	cfg.Submit = submitTo(&cfg)
	s := New(cfg)
	answers := 0
	caller := peer.CallerFunc(func(b []byte) {
		if _, ok := cutCreated(b[1:]); ok {
			answers++
		}
	})
	frame, ok := appendForwarded(nil, requestCtx("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("word ", 40))+`}`))
	require.True(t, ok)
	calls := make([]cluster.Incoming, 2)
	run := func() {
		for i := range calls {
			calls[i] = cluster.Incoming{Kind: cluster.KindHTTP, Request: frame, Caller: caller}
		}
		s.TakeForwarded(calls)
	}
	run()
	require.Equal(t, 2, answers)
	require.Zero(t, testing.AllocsPerRun(1000, run))
}

// TestForwardingAllocatesNothing runs a request through both ends of a forward, without the network in between.
func TestForwardingAllocatesNothing(t *testing.T) {
	machines := newMemoryStore()
	seed := New(Config{Store: machines, Counter: testCounter(t)})
	seed.handle(requestCtx("PUT", "/v1/contexts/c", `{"token_budget":1000000}`))
	for range 50 {
		seed.handle(requestCtx("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("word ", 40))+`}`))
	}
	leader := New(Config{Store: &ackStore{memoryStore: machines}, Counter: testCounter(t), APIKey: "key"})
	s := New(Config{Store: machines, Counter: testCounter(t), APIKey: "key", Router: &loopRouter{leader: leader}})
	f := func(name string, status int, ctx *fasthttp.RequestCtx) {
		t.Helper()
		run := func() {
			s.handle(ctx)
			if got := ctx.Response.StatusCode(); got != status {
				t.Fatalf("%s: %d %s", name, got, ctx.Response.Body())
			}
		}
		run()
		require.Zero(t, testing.AllocsPerRun(1000, run), name)
	}
	const auth = "Authorization: Bearer key"
	one := `{"message":` + textMessage(strings.Repeat("word ", 40)) + `}`
	f("append", 201, requestCtx("POST", "/v1/contexts/c/messages", one, auth))
	f("append, key", 201, requestCtx("POST", "/v1/contexts/%e6%bc%a2%20x/messages", one, auth, "Idempotency-Key: k"))
	f("window", 200, requestCtx("GET", "/v1/contexts/c/context?budget_tokens=2600", "", auth))
	f("tail", 200, requestCtx("GET", "/v1/contexts/c/tail?limit=50", "", auth))
	f("not found", 404, requestCtx("GET", "/v1/contexts/none", "", auth))
	f("delete", 204, requestCtx("DELETE", "/v1/contexts/c", "", auth))
}

func BenchmarkHandle(b *testing.B) {
	machines := newMemoryStore()
	seed := New(Config{Store: machines, Counter: testCounter(b)})
	seed.handle(requestCtx("PUT", "/v1/contexts/c", `{"token_budget":1000000}`))
	text := strings.Repeat("word ", 40)
	for range 50 {
		seed.handle(requestCtx("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(text)+`}`))
	}
	s := New(Config{Store: &ackStore{memoryStore: machines}, Counter: testCounter(b)})
	f := func(name string, ctx *fasthttp.RequestCtx) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.handle(ctx)
			}
		})
	}
	f("append", requestCtx("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(text)+`}`))
	f("append-counted", requestCtx("POST", "/v1/contexts/c/messages", `{"message":{"token_count":5,`+textMessage(text)[1:]+`}`))
	f("window", requestCtx("GET", "/v1/contexts/c/context", ""))
	f("context", requestCtx("GET", "/v1/contexts/c", ""))
}
