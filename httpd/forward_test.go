package httpd

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/cluster"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// TestAnyNodeAnswersAlike sends the same requests to the leader and through another node, each to a context of its own,
// and wants the same answers.
func TestAnyNodeAnswersAlike(t *testing.T) {
	c := newTestCluster(t, 2)
	at := time.Date(2025, 1, 24, 12, 0, 0, 0, time.UTC)
	c.state.now = func() time.Time { return at }
	big := textMessage(strings.Repeat("word ", 10_000))
	requests := []struct{ method, path, body, header string }{
		{"GET", "", "", ""},
		{"PUT", "", `{"token_budget":1000000}`, ""},
		{"PUT", "", ``, ""},
		{"PUT", "", `{"policy":{"strategy":"nope"}}`, ""},
		{"POST", "/messages", `{"message":` + textMessage("hello") + `}`, ""},
		{"POST", "/messages", `{"messages":[` + textMessage("a") + `,` + textMessage("b") + `],"if_version":1}`, ""},
		{"POST", "/messages", `{"message":` + textMessage("late") + `,"if_version":1}`, ""},
		{"POST", "/messages", `{"message":` + textMessage("keyed") + `}`, "Idempotency-Key: k"},
		{"POST", "/messages", `{"message":` + textMessage("keyed") + `}`, "Idempotency-Key: k"},
		{"POST", "/messages", `{"message":` + textMessage("other") + `}`, "Idempotency-Key: k"},
		{"POST", "/messages", `{"message":` + textMessage("x") + `}`, "Idempotency-Key: "},
		{"POST", "/messages", `{"message":` + textMessage("x") + `}`, "Idempotency-Key: " + strings.Repeat("k", 256)},
		{"POST", "/messages", `{"message":` + textMessage("x") + `}`, "Content-Type: text/plain"},
		{"POST", "/messages", `{"message":` + textMessage("x") + `}`, "Content-Encoding: gzip"},
		{"POST", "/messages", `{"message":`, ""},
		{"POST", "/messages", ``, ""},
		{"POST", "/messages", `{"message":` + big + `}`, ""},
		{"GET", "/tail?limit=3&offset=1", "", ""},
		{"GET", "/tail?limit=x", "", ""},
		{"GET", "/messages?from_seq=-2&limit=1", "", ""},
		{"GET", "/context?budget_tokens=100", "", ""},
		{"GET", "/context?if_version=77", "", ""},
		{"HEAD", "/context", "", ""},
		{"GET", "", "", ""},
		{"POST", "/compact", `{"replacement":[` + textMessage("sum") + `]}`, ""},
		{"PATCH", "/metadata", `{"metadata":{"a":1}}`, ""},
		{"PATCH", "/tail", ``, ""},
		{"DELETE", "", "", ""},
		{"DELETE", "", "", ""},
		{"POST", "/messages", `{"message":` + textMessage("x") + `}`, ""},
	}
	for _, r := range requests {
		var headers []string
		if r.header != "" {
			headers = append(headers, r.header)
		}
		direct := c.nodes[0].do(r.method, "/v1/contexts/%e6%bc%a2"+r.path, r.body, headers...)
		through := c.nodes[1].do(r.method, "/v1/contexts/%e6%bc%a3"+r.path, r.body, headers...)
		through.body = strings.ReplaceAll(through.body, "漣", "漢")
		require.Equal(t, direct, through, "%s %s %.100s", r.method, r.path, r.body)
	}
	require.Zero(t, c.routes[0].forwarded.Load())
	require.Greater(t, c.routes[1].forwarded.Load(), int64(20))
	require.Equal(t, c.nodes[0].s.metrics.tokenCount(), uint64(10), "messages count where they are appended")
	require.Zero(t, c.nodes[1].s.metrics.tokenCount())
}

// TestOnlyTheLeaderAnswersForwarded: a forwarded request that meets no leader writes nothing and travels no further.
func TestOnlyTheLeaderAnswersForwarded(t *testing.T) {
	c := newTestCluster(t, 3)
	c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
	before := c.state.writes.Load()
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/contexts/c/messages", `{"message":` + textMessage("x") + `}`},
		{"PUT", "/v1/contexts/c", ""}, {"DELETE", "/v1/contexts/c", ""}, {"GET", "/v1/contexts/c", ""},
		{"GET", "/v1/contexts/c/tail", ""}, {"GET", "/v1/contexts/c/context", ""}, {"GET", "/v1/contexts/c/messages", ""},
		{"PATCH", "/v1/contexts/c/metadata", `{"metadata":{}}`}, {"POST", "/v1/contexts/c/compact", `{"replacement":[]}`},
	} {
		frame, ok := appendForwarded(nil, requestCtx(r.method, r.path, r.body))
		require.True(t, ok)
		require.Equal(t, []byte{'x', cluster.AnswerNotLeader}, c.nodes[1].s.ServeForwarded(frame, []byte("x")), r.path)
	}
	require.Equal(t, before, c.state.writes.Load())
	for _, r := range c.routes {
		require.Zero(t, r.forwarded.Load()+r.awaited.Load())
	}
	// What is wrong in itself is answered, whoever leads.
	frame, _ := appendForwarded(nil, requestCtx("POST", "/v1/contexts/c/messages", `{`))
	answer := c.nodes[1].s.ServeForwarded(frame, nil)
	require.Equal(t, cluster.AnswerDone, answer[0])
	require.Contains(t, string(answer), "invalid_json")
}

// TestWhatIsNotForwarded: the other routes are nobody's business but this node's, also when another one asks.
func TestWhatIsNotForwarded(t *testing.T) {
	c := newTestCluster(t, 2, func(cfg *Config) { cfg.APIKey = "key" })
	for _, path := range []string{"/metrics", "/health/live", "/v1/cluster", "/v1/contexts/c/stream", "/v1/contexts/c/events", "/nothing"} {
		frame, ok := appendForwarded(nil, requestCtx("GET", path, ""))
		require.True(t, ok)
		answer := c.nodes[0].s.ServeForwarded(frame, nil)
		require.Contains(t, string(answer), `"not_found"`, path)
	}
	// The key is checked where the request arrives, and there only.
	c.nodes[1].refused(401, "unauthorized", "GET", "/v1/contexts/c", "")
	c.nodes[1].do("GET", "/health/live", "")
	require.Zero(t, c.routes[1].forwarded.Load())
	c.nodes[1].auth = "key"
	c.nodes[1].refused(404, "context_not_found", "GET", "/v1/contexts/c", "")
	require.Equal(t, int64(1), c.routes[1].forwarded.Load())
}

// TestStaleRoutes: who takes itself, or another, for the leader finds the real one, and writes once.
func TestStaleRoutes(t *testing.T) {
	c := newTestCluster(t, 3)
	c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
	n := 0
	appendThrough := func(node int) {
		t.Helper()
		n++
		body := c.nodes[node].ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
		require.Contains(t, body, fmt.Sprintf(`"seq":%d,"version":%d`, n, n))
		require.Contains(t, c.nodes[node].ok(200, "GET", "/v1/contexts/c", ""), fmt.Sprintf(`"version":%d`, n))
	}
	c.routes[1].believes.Store(1 + 1) // itself
	appendThrough(1)
	require.Equal(t, int64(1), c.routes[1].awaited.Load())
	c.routes[2].believes.Store(1 + 1) // a node that does not lead
	appendThrough(2)
	c.routes[2].believes.Store(1 + 0)
	c.leader.Store(2) // itself, without knowing it yet
	appendThrough(2)
	appendThrough(0)
	appendThrough(1)
}

// stoppingStore refuses everything, as a node does that stops.
type stoppingStore struct{ *memoryStore }

func (stoppingStore) Do(_ uint32, r *shard.Request) {
	r.Result = shard.Result{Code: shard.CodeShuttingDown}
}
func (stoppingStore) Read([]byte, *shard.View) shard.Code { return shard.CodeShuttingDown }

// TestLeaderThatStops sends the others on to the next one; its own clients are told to go.
func TestLeaderThatStops(t *testing.T) {
	g := newRig(t, func(cfg *Config) { cfg.Store = stoppingStore{newMemoryStore()} })
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/contexts/c", ""}, {"POST", "/v1/contexts/c/messages", `{"message":` + textMessage("x") + `}`},
	} {
		frame, _ := appendForwarded(nil, requestCtx(r.method, r.path, r.body))
		require.Equal(t, []byte{cluster.AnswerNotLeader}, g.s.ServeForwarded(frame, nil))
		g.refused(503, "unavailable", r.method, r.path, r.body)
	}
}

// TestNoLeader: the search for a leader ends in a 503, and nothing was written.
func TestNoLeader(t *testing.T) {
	c := newTestCluster(t, 2)
	c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
	before := c.state.writes.Load()
	c.leader.Store(-1)
	c.nodes[1].refused(503, "unavailable", "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	c.nodes[1].refused(503, "unavailable", "GET", "/v1/contexts/c", "")

	r := c.routes[0]
	for range 10 { // a router that is wrong for ever
		left := 5
		r.await = func() bool { r.believes.Store(1 + 0); left--; return left > 0 }
		r.believes.Store(1 + 0)
		c.nodes[0].refused(503, "unavailable", "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	}
	require.Equal(t, int64(50), r.awaited.Load())
	require.Equal(t, before, c.state.writes.Load())
}

// TestLostAnswers: what a client is told when the leader was asked and did not answer.
func TestLostAnswers(t *testing.T) {
	c := newTestCluster(t, 2)
	c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
	r, g := c.routes[1], c.nodes[1]
	f := func(code shard.Code, status int, want, method, path, body string, again bool, headers ...string) {
		t.Helper()
		r.answer.Store(1 + int32(code))
		r.again = nil
		g.refused(status, want, method, path, body, headers...)
		require.Equal(t, []bool{again}, r.again)
	}
	message := `{"message":` + textMessage("x") + `}`
	f(shard.CodeTimeout, 503, "raft_timeout", "POST", "/v1/contexts/c/messages", message, false)
	f(shard.CodeTimeout, 503, "raft_timeout", "POST", "/v1/contexts/c/messages", message, true, "Idempotency-Key: k")
	f(shard.CodeTimeout, 503, "raft_timeout", "POST", "/v1/contexts/c/compact", `{"replacement":[]}`, false, "Idempotency-Key: k")
	f(shard.CodeTimeout, 503, "raft_timeout", "PUT", "/v1/contexts/c", "", false)
	f(shard.CodeTimeout, 503, "raft_timeout", "DELETE", "/v1/contexts/c", "", false)
	f(shard.CodeTimeout, 503, "unavailable", "GET", "/v1/contexts/c", "", true)
	f(shard.CodeUnavailable, 503, "unavailable", "POST", "/v1/contexts/c/messages", message, false)
	f(shard.CodeOverloaded, 503, "overloaded", "POST", "/v1/contexts/c/messages", message, false)
	f(shard.CodeShuttingDown, 503, "unavailable", "GET", "/v1/contexts/c/tail", "", true)

	// An answer that cannot be read is a lost one.
	r.answer.Store(1 + int32(shard.CodeOK))
	g.refused(503, "raft_timeout", "POST", "/v1/contexts/c/messages", message)
	g.refused(503, "unavailable", "GET", "/v1/contexts/c/context", "")
}

// TestNothingIsPromisedOfALostAttempt: an append with a key that was sent once more after its answer was lost is told what
// holds for both attempts. A refusal of the second is none of the first.
func TestNothingIsPromisedOfALostAttempt(t *testing.T) {
	c := newTestCluster(t, 2)
	c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
	r, g := c.routes[1], c.nodes[1]
	refusals := map[shard.Code]string{
		shard.CodeUnavailable: "unavailable", shard.CodeStorageFull: "storage_full", shard.CodeOverloaded: "overloaded",
		shard.CodeShuttingDown: "unavailable",
	}
	message := `{"message":` + textMessage("x") + `}`
	refused := func(want string) {
		t.Helper()
		r.unsure.Store(true)
		g.refused(503, "raft_timeout", "POST", "/v1/contexts/c/messages", message, "Idempotency-Key: k")
		r.unsure.Store(false)
		g.refused(503, want, "POST", "/v1/contexts/c/messages", message, "Idempotency-Key: k")
	}
	for code, want := range refusals {
		// By Forward itself.
		r.answer.Store(1 + int32(code))
		refused(want)
		// By the leader that the second attempt came to.
		r.answer.Store(0)
		c.state.forced.Store(int32(code))
		if code != shard.CodeShuttingDown { // which sends the request on
			refused(want)
		}
		// By this node, which leads since.
		c.leader.Store(1)
		r.believes.Store(1 + 0)
		r.answer.Store(1 + int32(shard.CodeNotLeader))
		refused(want)
		c.leader.Store(0)
		r.believes.Store(0)
		c.state.forced.Store(int32(shard.CodeOK))
	}
	// By nobody: this node was told that it leads, does not, and time is up.
	r.await = func() bool { return false }
	refused("unavailable")

	// What the state machine says holds for both.
	r.answer.Store(0)
	r.unsure.Store(true)
	g.refused(409, "conflict", "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`,"if_version":7}`, "Idempotency-Key: k")
	g.ok(201, "POST", "/v1/contexts/c/messages", message, "Idempotency-Key: k")
	require.Equal(t, shard.CodeTooLarge, (&work{unsure: true}).honest(shard.CodeTooLarge))
}

// panicStore has a bug.
type panicStore struct{ *memoryStore }

func (panicStore) Read([]byte, *shard.View) shard.Code { panic("planted") }

// TestPanicOfTheLeader is a 500 there and here, and the server goes on.
func TestPanicOfTheLeader(t *testing.T) {
	s := New(testConfig(t, panicStore{newMemoryStore()}))
	frame, _ := appendForwarded(nil, requestCtx("GET", "/v1/contexts/c", ""))
	for range 3 {
		answer := s.ServeForwarded(frame, nil)
		require.Equal(t, cluster.AnswerDone, answer[0])
		ctx := requestCtx("GET", "/v1/contexts/c", "")
		require.NoError(t, takeAnswer(ctx, answer[1:]))
		require.Equal(t, 500, ctx.Response.StatusCode())
		require.Contains(t, string(ctx.Response.Body()), "internal_error")
	}
}

// TestForwardedInParallel has pooled contexts and buffers used by many at once: no answer may reach another request.
func TestForwardedInParallel(t *testing.T) {
	c := newTestCluster(t, 2)
	var group sync.WaitGroup
	defer group.Wait()
	for i := range 8 {
		group.Go(func() {
			path := fmt.Sprintf("/v1/contexts/c%d", i)
			text := strings.Repeat(fmt.Sprint(i), 100*(i+1))
			c.nodes[1].ok(201, "PUT", path, fmt.Sprintf(`{"metadata":{"n":%d}}`, i))
			for n := range 50 {
				body := c.nodes[1].ok(201, "POST", path+"/messages", `{"message":`+textMessage(text)+`}`)
				require.Contains(t, body, fmt.Sprintf(`"seq":%d,`, n+1))
			}
			require.Equal(t, 50, strings.Count(c.nodes[1].ok(200, "GET", path+"/tail", ""), `"`+text+`"`))
		})
	}
}
