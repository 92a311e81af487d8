package httpd

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"fastpaca/shard"
	"fastpaca/tokenize"

	"github.com/stretchr/testify/require"
)

func TestContextLifeCycle(t *testing.T) {
	g := newRig(t)
	at := time.Date(2025, 1, 24, 12, 0, 0, 120e6, time.UTC)
	g.store.now = func() time.Time { return at }
	const path = "/v1/contexts/support-123"

	g.refused(404, "context_not_found", "GET", path, "")
	require.JSONEq(t, `{"id":"support-123","status":"active","token_budget":8000,"trigger_ratio":0.7,
		"policy":{"strategy":"last_n","config":{"limit":200}},"metadata":{},"version":0,"last_seq":0,"archived_seq":0,
		"used_tokens":0,"created_at":"2025-01-24T12:00:00.120Z","updated_at":"2025-01-24T12:00:00.120Z"}`,
		g.ok(201, "PUT", path, ""))
	got := g.ok(200, "PUT", path, ` { "token_budget" : 1000000, "unknown":[{"a":1}], "policy":{"strategy":"skip_parts"}, "metadata":{"project" : 1.0} } `)
	for _, want := range []string{`"token_budget":1000000`, `"trigger_ratio":0.7`, `"metadata":{"project" : 1.0}`,
		`"policy":{"strategy":"skip_parts","config":{"skip_kinds":["tool","reasoning"],"limit":200}}`} {
		require.Contains(t, got, want)
	}
	require.Equal(t, got, g.ok(200, "GET", path, ""))
	got = g.ok(200, "PATCH", path+"/metadata", `{"metadata":{"tier":"gold","project":null}}`)
	require.Contains(t, got, `"metadata":{"tier":"gold"}`)

	require.JSONEq(t, `{"seq":1,"version":1,"token_estimate":2}`, g.ok(201, "POST", path+"/messages", `{"message":`+textMessage("hello")+`}`))
	require.Empty(t, g.ok(204, "DELETE", path, ""))
	require.Empty(t, g.ok(204, "DELETE", path, ""))
	require.Contains(t, g.ok(200, "GET", path, ""), `"status":"tombstoned"`)
	for _, sub := range []string{"/tail", "/messages", "/context"} {
		require.Contains(t, g.ok(200, "GET", path+sub, ""), `"hello"`)
	}
	g.refused(409, "context_tombstoned", "PUT", path, `{}`)
	g.refused(409, "context_tombstoned", "POST", path+"/messages", `{"message":`+textMessage("x")+`}`)
	g.refused(409, "context_tombstoned", "POST", path+"/compact", `{"replacement":[]}`)
	g.refused(404, "context_not_found", "DELETE", "/v1/contexts/other", "")
	g.refused(404, "context_not_found", "POST", "/v1/contexts/other/messages", `{"message":`+textMessage("x")+`}`)
}

func TestAppendAndRead(t *testing.T) {
	g := newRig(t)
	const path = "/v1/contexts/c"
	g.ok(201, "PUT", path, "")

	require.JSONEq(t, `{"seq":1,"version":1,"token_estimate":1}`, g.ok(201, "POST", path+"/messages", `{"message":`+textMessage("abcd")+`,"if_version":0}`))
	require.JSONEq(t, `{"results":[{"seq":2,"token_estimate":77},{"seq":3,"token_estimate":2}],"version":2}`,
		g.ok(201, "POST", path+"/messages", `{"if_version":1,"messages":[{"token_count":77,"role":"user","parts":[{"type":"text","text":"b"}]},`+textMessage("abcde")+`]}`))
	a := g.refused(409, "conflict", "POST", path+"/messages", `{"message":`+textMessage("late")+`,"if_version":1}`)
	require.Contains(t, a.body, `"version":2`)
	require.Regexp(t, `1\b.*\b2\b`, a.message())

	tail := g.ok(200, "GET", path+"/tail?limit=2", "")
	require.Equal(t, []int{2, 3}, seqs(t, tail))
	require.Equal(t, []int{1}, seqs(t, g.ok(200, "GET", path+"/tail?limit=2&offset=2", "")))
	require.JSONEq(t, `{"messages":[]}`, g.ok(200, "GET", path+"/tail?offset=3", ""))
	require.JSONEq(t, `{"messages":[]}`, g.ok(200, "GET", path+"/tail?offset=9007199254740991", ""))
	history := g.ok(200, "GET", path+"/messages?from_seq=1&limit=2&other=%zz", "")
	require.Equal(t, []int{1, 2}, seqs(t, history))
	require.Contains(t, history, `"next_seq":3`)
	history = g.ok(200, "GET", path+"/messages?from_seq=-2", "")
	require.Equal(t, []int{2, 3}, seqs(t, history))
	require.Contains(t, history, `"next_seq":null`)
	require.Equal(t, []int{1, 2, 3}, seqs(t, g.ok(200, "GET", path+"/messages?from_seq=-9007199254740991", "")))
	require.Empty(t, seqs(t, g.ok(200, "GET", path+"/messages?from_seq=4", "")))
	require.Empty(t, seqs(t, g.ok(200, "GET", path+"/messages?from_seq=9007199254740991", "")))

	window := g.ok(200, "GET", path+"/context", "")
	require.Equal(t, []int{1, 2, 3}, seqs(t, window))
	require.Contains(t, window, `"used_tokens":80`)
	require.Equal(t, window, g.ok(200, "GET", path+"/context?budget_tokens=&if_version=", ""))
	require.Equal(t, window, g.ok(200, "GET", path+"/context?if_version=2", ""))
	require.Equal(t, []int{3}, seqs(t, g.ok(200, "GET", path+"/context?budget_tokens=5", "")))
	a = g.refused(409, "conflict", "GET", path+"/context?if_version=1", "")
	require.Contains(t, a.body, `"version":2`)

	require.JSONEq(t, `{"version":3}`, g.ok(200, "POST", path+"/compact", `{"replacement":[{"role":"system","parts":[{"type":"text","text":"sum"}]}],"if_version":2}`))
	g.refused(409, "conflict", "POST", path+"/compact", `{"replacement":[],"if_version":2}`)
	require.Contains(t, g.ok(200, "GET", path+"/context", ""), `"segments":[{"type":"summary","from_seq":1,"to_seq":3}]`)
	require.JSONEq(t, `{"version":4}`, g.ok(200, "POST", path+"/compact", `{"replacement":[]}`))
}

// seqs lists the seqs of the messages in an answer.
func seqs(t *testing.T, body string) (out []int) {
	t.Helper()
	var a struct{ Messages []struct{ Seq int } }
	require.NoError(t, json.Unmarshal([]byte(body), &a))
	for _, m := range a.Messages {
		out = append(out, m.Seq)
	}
	return out
}

func TestIdempotencyKey(t *testing.T) {
	g := newRig(t)
	const path = "/v1/contexts/c/messages"
	g.ok(201, "PUT", "/v1/contexts/c", "")
	body := `{"messages":[` + textMessage("a") + `,` + textMessage("bcdef") + `]}`
	first := g.ok(201, "POST", path, body, "Idempotency-Key: k1")
	require.JSONEq(t, `{"results":[{"seq":1,"token_estimate":1},{"seq":2,"token_estimate":2}],"version":1}`, first)
	g.ok(201, "POST", path, `{"message":`+textMessage("between")+`}`)
	again := g.ok(201, "POST", path, body, "Idempotency-Key: k1")
	require.Equal(t, strings.TrimSuffix(first, "}")+`,"deduplicated":true}`, again)
	g.refused(409, "idempotency_key_reused", "POST", path, `{"message":`+textMessage("a")+`}`, "Idempotency-Key: k1")
	g.ok(201, "POST", path, body, "idempotency-key: "+strings.Repeat("k", 255))
	writes := g.store.writes.Load()
	g.refused(400, "invalid_message", "POST", path, body, "Idempotency-Key: "+strings.Repeat("k", 256))
	g.refused(400, "invalid_message", "POST", path, body, "Idempotency-Key:")
	require.Equal(t, writes, g.store.writes.Load())
}

func TestOutcomes(t *testing.T) {
	g := newRig(t)
	f := func(c shard.Code, status int, code string) {
		t.Helper()
		g.store.forced.Store(int32(c))
		g.refused(status, code, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	}
	f(shard.CodeNotFound, 404, "context_not_found")
	f(shard.CodeTombstoned, 409, "context_tombstoned")
	f(shard.CodeConflict, 409, "conflict")
	f(shard.CodeKeyReused, 409, "idempotency_key_reused")
	f(shard.CodeTimeout, 503, "raft_timeout")
	f(shard.CodeUnavailable, 503, "unavailable")
	f(shard.CodeStorageFull, 503, "storage_full")
	f(shard.CodeOverloaded, 503, "overloaded")
	f(shard.CodeShuttingDown, 503, "unavailable")
	f(shard.CodeTooLarge, 413, "payload_too_large")
	g.store.forced.Store(int32(shard.CodeTimeout))
	g.refused(503, "unavailable", "GET", "/v1/contexts/c", "")

	// A code that nobody mapped is a bug: 500, and the server lives on.
	g.store.forced.Store(200)
	g.refused(500, "internal_error", "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	g.store.forced.Store(0)
	g.ok(201, "PUT", "/v1/contexts/c", "")
}

// TestEveryCodeIsMapped fails when shard grows a code that the API has no answer for.
func TestEveryCodeIsMapped(t *testing.T) {
	for c := shard.Code(0); !strings.HasPrefix(c.String(), "code("); c++ {
		if _, ok := outcomes[c]; !ok && c != shard.CodeOK && c != shard.CodeConflict && c != shard.CodeSeqConflict {
			t.Errorf("code %v is not in outcomes", c)
		}
	}
}

func TestIDs(t *testing.T) {
	g := newRig(t)
	f := func(path, id string) {
		t.Helper()
		quoted, _ := json.Marshal(id)
		require.Contains(t, g.ok(201, "PUT", "/v1/contexts/"+path, ""), `{"id":`+string(quoted)+`,`)
		require.Contains(t, g.ok(200, "GET", "/v1/contexts/"+path, ""), `{"id":`+string(quoted)+`,`)
	}
	f("plain-1_2.3~x", "plain-1_2.3~x")
	f("a%20b", "a b")
	f("a+b", "a+b")
	f("%e6%bc%A2", "漢")
	f("é", "é")
	f("..", "..")
	f(".", ".")
	f("%22%5c", `"\`)
	f("a:b@c;d=e,f", "a:b@c;d=e,f")
	f("%25", "%")
	f(strings.Repeat("x", 255), strings.Repeat("x", 255))
	f(strings.Repeat("%6d", 255), strings.Repeat("m", 255))

	before := g.store.writes.Load()
	bad := func(path string) {
		t.Helper()
		g.refused(400, "invalid_context_id", "PUT", "/v1/contexts/"+path, "")
		g.refused(400, "invalid_context_id", "GET", "/v1/contexts/"+path+"/tail", "")
		g.refused(400, "invalid_context_id", "POST", "/v1/contexts/"+path+"/messages", `{"message":`+textMessage("x")+`}`)
	}
	bad("")
	bad(strings.Repeat("x", 256))
	bad(strings.Repeat("%6d", 256))
	bad("a%2Fb")
	bad("a%2fb")
	bad("a%00b")
	bad("a%0ab")
	bad("a%7f")
	bad("%c2%85") // a C1 control
	bad("%ff")
	bad("%e6%bc")
	bad("%ed%a0%80")
	bad("%zz")
	bad("%4")
	bad("%")
	bad("a%")
	require.Equal(t, before, g.store.writes.Load())
}

func TestRoutes(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/contexts/c/", "/v1/contexts/c/nothing", "/v1/contexts/c/messages/",
		"/v1/contexts/c/messages/1", "/v2/contexts/c", "/V1/contexts/c", "//v1/contexts/c", "/v1//contexts/c", "/v1/contexts/a/b/tail", "/v1/contexts/c/metadata/x"} {
		g.refused(404, "not_found", "GET", path, "")
	}
	f := func(method, path, allow string) {
		t.Helper()
		a := g.refused(405, "method_not_allowed", method, path, "")
		require.Equal(t, allow, a.header.Get("Allow"))
	}
	f("POST", "/v1/contexts/c", "GET, HEAD, PUT, DELETE")
	f("OPTIONS", "/v1/contexts/c", "GET, HEAD, PUT, DELETE")
	f("PATCH", "/v1/contexts/c", "GET, HEAD, PUT, DELETE")
	f("GET", "/v1/contexts/c/metadata", "PATCH")
	f("PUT", "/v1/contexts/c/messages", "GET, HEAD, POST")
	f("DELETE", "/v1/contexts/c/tail", "GET, HEAD")
	f("POST", "/v1/contexts/c/context", "GET, HEAD")
	f("GET", "/v1/contexts/c/compact", "POST")
	f("POST", "/v1/contexts/c/stream", "GET")
	f("POST", "/v1/contexts/c/events", "GET")
	f("BREW", "/v1/contexts/c/events", "GET")
	f("POST", "/v1/cluster", "GET, HEAD")
	f("POST", "/health/live", "GET, HEAD")
	f("POST", "/health/ready", "GET, HEAD")
	f("POST", "/metrics", "GET, HEAD")
	f("POST", "/openapi.json", "GET, HEAD")

	// A target in absolute form is its path.
	require.Contains(t, g.ok(200, "GET", "http://elsewhere/v1/contexts/c?x=/", ""), `"id":"c"`)
}

func TestQueries(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	good := func(path string) {
		t.Helper()
		g.ok(200, "GET", "/v1/contexts/c/"+path, "")
	}
	good("tail?limit=1")
	good("tail?limit=10000&offset=0")
	good("tail?limit=%31%30")
	good("tail?l%69mit=1")
	good("tail?&&limit=1&")
	good("tail?")
	bad := func(path string) {
		t.Helper()
		g.refused(400, "invalid_query", "GET", "/v1/contexts/c/"+path, "")
	}
	for _, v := range []string{"", "0", "-1", "10001", "1.0", "1e2", "ten", "%31%", "+5", "%2b5", "0x10", "01", "1%00", "99999999999999999999999999", "%zz", " 1",
		"1%20", strings.Repeat("1", 100), "--1", "-"} {
		bad("tail?limit=" + strings.ReplaceAll(v, " ", "%20"))
		bad("messages?limit=" + strings.ReplaceAll(v, " ", "%20"))
	}
	bad("tail?limit=0")
	bad("tail?limit")
	bad("tail?limit=1&limit=1")
	bad("tail?l%69mit=0")
	bad("tail?offset=-1")
	bad("tail?offset=9007199254740992")
	bad("messages?from_seq=0")
	bad("messages?from_seq=-0")
	bad("messages?from_seq=x")
	bad("context?budget_tokens=0")
	bad("context?budget_tokens=-5")
	bad("context?budget_tokens=1.5")
	bad("context?if_version=-1")
	bad("context?if_version=x")
	bad("context?if_version=1&if_version=1")
}

func TestMediaTypes(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	const path = "/v1/contexts/c/messages"
	body := `{"message":` + textMessage("x") + `}`
	for _, v := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`, "application/json ; x=y"} {
		g.ok(201, "POST", path, body, "Content-Type: "+v)
	}
	g.ok(201, "POST", path, body, "Content-Type:")
	require.Equal(t, 201, g.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n"+body).status)
	g.ok(201, "POST", path, body, "Content-Encoding: identity")
	for _, v := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "application/vnd.api+json",
		"application/json; charset=utf-16", "json", "*/*"} {
		g.refused(415, "unsupported_media_type", "POST", path, body, "Content-Type: "+v)
	}
	g.refused(415, "unsupported_media_type", "POST", path, body, "Content-Encoding: gzip")
	g.ok(200, "PUT", "/v1/contexts/c", "", "Content-Type: application/x-www-form-urlencoded")
}

func TestAPIKey(t *testing.T) {
	g := newRig(t, func(c *Config) { c.APIKey = "secret-key" })
	for _, path := range []string{"/v1/contexts/c", "/v1/nothing", "/v1", "/v1/cluster", "/v1/contexts/%zz", "/v1/contexts/c/stream", "http://x/v1/contexts/c"} {
		g.refused(401, "unauthorized", "GET", path, "")
	}
	f := func(value string) {
		t.Helper()
		g.refused(401, "unauthorized", "PUT", "/v1/contexts/c", "{}", "Authorization: "+value)
	}
	f("")
	f("Bearer")
	f("Bearer ")
	f("Bearer wrong-key!")
	f("Bearer secret-ke")
	f("Bearer secret-keyy")
	f("Basic secret-key")
	f("secret-key")
	require.Zero(t, g.store.writes.Load())
	// No key, no body: it is not even read.
	g.refused(401, "unauthorized", "PUT", "/v1/contexts/c", `{"metadata":{"x":"`+strings.Repeat("x", 60<<10)+`"}}`)
	g.refused(401, "unauthorized", "PUT", "/v1/contexts/c", `{"metadata":{"x":"`+strings.Repeat("x", 100<<10)+`"}}`)

	g.ok(201, "PUT", "/v1/contexts/c", "{}", "Authorization: bearer  secret-key")
	g.auth = "secret-key"
	g.ok(200, "GET", "/v1/contexts/c", "")
	g.ok(200, "PUT", "/v1/contexts/c", `{"metadata":{"x":"`+strings.Repeat("x", 60<<10)+`"}}`)
	g.refused(404, "not_found", "GET", "/v1/nothing", "")
	g.auth = ""
	g.ok(200, "GET", "/health/live", "")
	require.Equal(t, 200, g.do("GET", "/metrics", "").status)
	require.Equal(t, 200, g.do("GET", "/openapi.json", "").status)
}

// TestRetryAfterAnotherEstimator: a repeat gets the first answer, also from a node that counts differently now.
func TestRetryAfterAnotherEstimator(t *testing.T) {
	first := newRig(t)
	second := newRig(t, func(c *Config) {
		var err error
		c.Store = first.store
		c.Counter, err = tokenize.New("chars:1")
		require.NoError(t, err)
	})
	first.ok(201, "PUT", "/v1/contexts/c", "")
	one := `{"message":` + textMessage("twelve chars") + `}`
	many := `{"messages":[` + textMessage("twelve chars") + `,` + textMessage("four") + `]}`
	const path = "/v1/contexts/c/messages"
	require.JSONEq(t, `{"seq":1,"version":1,"token_estimate":3}`, first.ok(201, "POST", path, one, "Idempotency-Key: a"))
	require.JSONEq(t, `{"results":[{"seq":2,"token_estimate":3},{"seq":3,"token_estimate":1}],"version":2}`,
		first.ok(201, "POST", path, many, "Idempotency-Key: b"))
	require.JSONEq(t, `{"seq":1,"version":1,"token_estimate":3,"deduplicated":true}`,
		second.ok(201, "POST", path, one, "Idempotency-Key: a"))
	require.JSONEq(t, `{"results":[{"seq":2,"token_estimate":3},{"seq":3,"token_estimate":1}],"version":2,"deduplicated":true}`,
		second.ok(201, "POST", path, many, "Idempotency-Key: b"))
}
