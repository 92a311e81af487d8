package httpd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// Every answer that the server gives here is described, member by member.
func TestAnswersAreDocumented(t *testing.T) {
	o := loadOpenAPI(t)
	s := startStreams(t, nil)
	jsonHead := http.Header{"Content-Type": {"application/json"}}
	keyed := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"k"}}
	msg := `{"role":"user","parts":[{"type":"text","text":"hi"}],"own":1}`
	own := `{"seq":5,"role":"user","parts":[{"type":"text","text":"hi"}],"inserted_at":"2025-01-24T12:00:15.120Z"}`
	seen := map[string]bool{}
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		status             int
	}{
		{"PUT", "/v1/contexts/c", `{"token_budget":100,"trigger_ratio":0.5,"metadata":{"a":1}}`, jsonHead, 201},
		{"PUT", "/v1/contexts/c", ``, nil, 200},
		{"PUT", "/v1/contexts/c", `{"policy":{"strategy":"skip_parts","config":{}}}`, jsonHead, 200},
		{"PUT", "/v1/contexts/c", `{"policy":{"strategy":"x"}}`, jsonHead, 400},
		{"PUT", "/v1/contexts/c", `{`, jsonHead, 400},
		{"PUT", "/v1/contexts/c", `x`, http.Header{"Content-Type": {"text/plain"}}, 415},
		{"POST", "/v1/contexts/c", `{}`, jsonHead, 405},
		{"GET", "/v1/contexts/c", ``, nil, 200},
		{"GET", "/v1/contexts/none", ``, nil, 404},
		{"GET", "/v1/contexts", ``, nil, 200},
		{"GET", "/v1/contexts?limit=1", ``, nil, 200},
		{"GET", "/v1/contexts?limit=0", ``, nil, 400},
		{"GET", "/v1/contexts?cursor=x", ``, nil, 400},
		{"POST", "/v1/contexts", `{}`, jsonHead, 405},
		{"PATCH", "/v1/contexts/c/metadata", `{"metadata":{"a":null,"b":2}}`, jsonHead, 200},
		{"PATCH", "/v1/contexts/c/metadata", `{}`, jsonHead, 400},
		{"POST", "/v1/contexts/c/messages", `{"message":` + msg + `}`, jsonHead, 201},
		{"POST", "/v1/contexts/c/messages", `{"message":` + msg + `}`, keyed, 201},
		{"POST", "/v1/contexts/c/messages", `{"message":` + msg + `}`, keyed, 201},
		{"POST", "/v1/contexts/c/messages", `{"messages":[` + msg + `]}`, keyed, 409},
		{"POST", "/v1/contexts/c/messages", `{"messages":[` + msg + `,` + msg + `]}`, jsonHead, 201},
		{"POST", "/v1/contexts/c/messages", `{"message":` + msg + `,"if_version":77}`, jsonHead, 409},
		{"POST", "/v1/contexts/c/messages", `{"message":{}}`, jsonHead, 400},
		{"POST", "/v1/contexts/c/messages?import=true", `{"message":` + own + `}`, jsonHead, 201},
		{"POST", "/v1/contexts/c/messages?import=true", `{"message":` + own + `}`, jsonHead, 409},
		{"POST", "/v1/contexts/c/messages?import=true", `{"message":` + msg + `}`, jsonHead, 400},
		{"POST", "/v1/contexts/c/messages?import=perhaps", `{"message":` + own + `}`, jsonHead, 400},
		{"GET", "/v1/contexts/c/messages", ``, nil, 200},
		{"GET", "/v1/contexts/c/messages?from_seq=1&limit=1", ``, nil, 200},
		{"GET", "/v1/contexts/c/messages?limit=x", ``, nil, 400},
		{"GET", "/v1/contexts/c/tail", ``, nil, 200},
		{"GET", "/v1/contexts/c/context", ``, nil, 200},
		{"GET", "/v1/contexts/c/context?budget_tokens=1", ``, nil, 200},
		{"POST", "/v1/contexts/c/compact", `{"replacement":[{"role":"system","parts":[{"type":"text","text":"sum"}]}]}`, jsonHead, 200},
		{"POST", "/v1/contexts/c/compact", `{"replacement":[1]}`, jsonHead, 400},
		{"GET", "/v1/contexts/c/context?if_version=0", ``, nil, 409},
		{"GET", "/v1/contexts/c/context", ``, nil, 200},
		{"DELETE", "/v1/contexts/c", ``, nil, 204},
		{"POST", "/v1/contexts/c/messages", `{"message":` + msg + `}`, jsonHead, 409},
		{"GET", "/v1/contexts/c", ``, nil, 200},
		{"GET", "/v1/cluster", ``, nil, 200},
		{"GET", "/health/live", ``, nil, 200},
		{"GET", "/health/ready", ``, nil, 200},
		{"GET", "/metrics", ``, nil, 200},
		{"GET", "/openapi.json", ``, nil, 200},
	} {
		status, h, body := s.request(t, c.method, c.path, c.header, c.body)
		require.Equal(t, c.status, status, "%s %s %s: %s", c.method, c.path, c.body, body)
		path, _, _ := strings.Cut(c.path, "?")
		route := strings.NewReplacer("/contexts/c", "/contexts/{id}", "/contexts/none", "/contexts/{id}").Replace(path)
		seen[route] = true
		if status != 405 {
			o.checkAnswer(t, c.method, route, status, h.Get("Content-Type"), []byte(body))
		}
	}
	for r := routeNone + 1; r < routeCount; r++ {
		switch r {
		case routeDrain, routeUndrain, routePeer: // theirs are checked in drain_test.go and peer_test.go
			continue
		}
		if r != routeStream && r != routeEvents { // theirs are checked in stream_test.go
			require.True(t, seen[r.String()], "no answer of %s is checked", r)
		}
	}

	status, h, body := s.get(t, "/v1/openapi.json", nil)
	require.Equal(t, 200, status)
	require.Equal(t, "application/json", h.Get("Content-Type"))
	require.Equal(t, string(openapiJSON), body)
	_, _, text := s.get(t, "/metrics", nil)
	f := parseMetrics(t, text)
	require.Equal(t, 5.0, f["fastpaca_messages_append_total"].samples[`fastpaca_messages_append_total{role="user",source="server"}`])
	require.Contains(t, f["fastpaca_http_requests_total"].samples, `fastpaca_http_requests_total{route="/v1/contexts/{id}",code="201"}`)
	require.Greater(t, f["fastpaca_http_sent_bytes_total"].samples["fastpaca_http_sent_bytes_total"], 1000.0)
}

// notReady is a store that starts.
type notReady struct{ Store }

func (notReady) Ready() (bool, string) { return false, "raft_sync" }

func (notReady) Status() shard.Status {
	return shard.Status{Groups: []shard.GroupStatus{{Shard: 0, Leading: true, Term: 1}, {Shard: 1}}}
}

func TestHealthWhileStarting(t *testing.T) {
	o := loadOpenAPI(t)
	s := startStreams(t, func(c *Config) {
		c.Store = notReady{c.Store}
		c.APIKey = "secret" // health and metrics stay open
	})
	status, h, body := s.get(t, "/health/ready", nil)
	require.Equal(t, 503, status)
	require.Equal(t, `{"status":"starting","reason":"raft_sync"}`, body)
	o.checkAnswer(t, "GET", "/health/ready", status, h.Get("Content-Type"), []byte(body))
	status, _, body = s.get(t, "/health/live", nil)
	require.Equal(t, 200, status)
	require.Equal(t, `{"status":"ok"}`, body)
	status, _, text := s.get(t, "/metrics", nil)
	require.Equal(t, 200, status)
	require.Equal(t, 0.0, parseMetrics(t, text)["fastpaca_ready"].samples["fastpaca_ready"])

	status, _, _ = s.get(t, "/v1/cluster", nil)
	require.Equal(t, 401, status)
	status, h, body = s.get(t, "/v1/cluster", http.Header{"Authorization": {"Bearer secret"}})
	require.Equal(t, 200, status)
	o.checkAnswer(t, "GET", "/v1/cluster", status, h.Get("Content-Type"), []byte(body))
	var c struct {
		Reason string
		Shards struct {
			Count      int
			WithLeader int `json:"with_leader"`
		}
		Leaders []struct{ Leader *string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &c))
	require.Equal(t, "raft_sync", c.Reason)
	require.Equal(t, 2, c.Shards.Count)
	require.Equal(t, 1, c.Shards.WithLeader)
	require.Nil(t, c.Leaders[1].Leader)
}
