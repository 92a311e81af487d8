package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

const statusAnswer = `{"node":"b","version":"1.2","ready":false,"reason":"raft_sync","cluster_id":"0815","coordinator":"a","map_version":3,
"nodes":[{"name":"a","id":1,"address":"10.0.0.1:4000","self":false,"state":"active","alive":true,"replicas":256,"leading":128,"lag":0},
{"name":"b","id":2,"address":"10.0.0.2:4000","self":true,"state":"draining","alive":true,"replicas":12,"leading":0,"lag":7},
{"name":"long-name-c","id":3,"address":"10.0.0.3:4000","self":false,"state":"active","alive":false,"replicas":256,"leading":0,"lag":1234}],
"shards":{"count":256,"with_leader":254,"moving":3,"max_lag":1234},
"moves":[{"shard":7,"from":["a","b","c"],"to":["a","c","d"]},{"shard":8,"from":["a"],"to":["a","c","d"]},{"shard":9,"from":["a","b"],"to":["b","a"]}],
"leaders":[{"shard":0,"leader":"a"},{"shard":1,"leader":null},{"shard":255,"leader":null}]}`

const statusTable = `cluster      0815
coordinator  a
asked        b, version 1.2: not ready (raft_sync)

NODE         ID  ADDRESS        STATE         REPLICAS  LEADS  LAG
a            1   10.0.0.1:4000  active        256       128    0
b            2   10.0.0.2:4000  draining      12        0      7
long-name-c  3   10.0.0.3:4000  active, down  256       0      1234

256 shards, 254 with a leader, 3 moving; the slowest replica is 1234 entries behind
without a leader: 1 255
moving:
  shard 7: b -> d
  shard 8: to c, d
  shard 9: settling on b, a
`

// TestOperatorsCommands runs the commands against a node that says what is written above.
func TestOperatorsCommands(t *testing.T) {
	var asked []string
	answers := map[string]struct {
		status int
		body   string
	}{
		"GET /v1/cluster":                      {200, statusAnswer},
		"GET /health/ready":                    {200, `{"status":"ok"}`},
		"POST /v1/cluster/nodes/a%20b/drain":   {202, `{"node":"a b","state":"draining"}`},
		"POST /v1/cluster/nodes/a/undrain":     {202, `{"node":"a","state":"active"}`},
		"POST /v1/cluster/nodes/nobody/drain":  {404, `{"error":"node_not_found","message":"no node has this name"}`},
		"POST /v1/cluster/nodes/proxied/drain": {502, `<html>`},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Authorization"))
		a := answers[r.Method+" "+r.URL.EscapedPath()]
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	defer s.Close()
	f := func(code int, wantOut, wantErr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		require.Equal(t, code, run(args, &out, &errs), "%s", errs.String())
		require.Equal(t, wantOut, out.String())
		require.Contains(t, errs.String(), wantErr)
		if wantErr == "" {
			require.Empty(t, errs.String())
		}
	}
	at := "--addr=" + s.URL
	f(0, statusTable, "", "status", at)
	f(0, statusAnswer+"\n", "", "status", "--json", at)
	f(0, "", "", "status", "--check", at)
	f(0, "a b is being drained; `fastpaca status` shows when it holds no replica any more and can be stopped\n", "", "drain", "a b", at, "--api-key", "k")
	require.Equal(t, "Bearer k", asked[len(asked)-1])
	f(0, "a is active again\n", "", "undrain", at, "a")
	f(1, "", "nobody: no node has this name", "drain", at, "nobody")
	f(1, "", "502 Bad Gateway", "drain", at, "proxied")
	f(2, "", "usage: fastpaca drain", "drain", at)
	f(2, "", "usage: fastpaca status", "status", "extra")
	f(2, "", "not the URL of a node", "status", "--addr", "ftp://x")

	answers["GET /health/ready"] = struct {
		status int
		body   string
	}{503, `{"status":"starting","reason":"raft_sync"}`}
	f(1, "", "starting: raft_sync", "status", "--check", at)
	s.Close()
	f(1, "", "no answer from the node", "status", "--check", at)
}

func TestDefaultURL(t *testing.T) {
	for listen, want := range map[string]string{
		"": "http://127.0.0.1:4000", ":5000": "http://127.0.0.1:5000", "0.0.0.0:5000": "http://127.0.0.1:5000",
		"[::]:5000": "http://127.0.0.1:5000", "10.0.0.1:5000": "http://10.0.0.1:5000", "db:1": "http://db:1", "[::1]:1": "http://[::1]:1",
	} {
		require.Equal(t, want, defaultURL(listen), listen)
	}
}
