package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/httpd"
	"fastpaca/shard"
	"fastpaca/tokenize"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// testStore is a node on a disk of its own, in memory, behind its HTTP server.
type testStore struct {
	t    *testing.T
	base string
	api  *transferAPI
}

func openTestStore(t *testing.T, o shard.Options) *testStore {
	t.Helper()
	o.Dir, o.FS, o.SegmentBytes = "/data", walfs.NewMem(), 8<<20
	node, err := shard.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	require.Eventually(t, func() bool { ok, _ := node.Ready(); return ok }, patience, time.Millisecond)
	counter, err := tokenize.New("chars:4")
	require.NoError(t, err)
	srv := httpd.New(httpd.Config{Store: node, Counter: counter})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s := &testStore{t: t, base: "http://" + ln.Addr().String()}
	s.api = s.newAPI()
	t.Cleanup(func() {
		s.api.close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-served
	})
	return s
}

func (s *testStore) newAPI() *transferAPI {
	a := newTransferAPI(&client{base: s.base}, func(string) {})
	s.t.Cleanup(a.close)
	a.patience, a.pause = patience, time.Millisecond
	return a
}

func (s *testStore) do(method, path, body string) string {
	s.t.Helper()
	answer, err := s.api.send(context.Background(), method, path, []byte(body))
	require.NoError(s.t, err, "%s %s %.200s", method, path, body)
	return string(answer)
}

// stored is everything of a store that an export must bring back.
type stored struct {
	configs  map[string]string // by id: what GET says, without what is the store's own
	messages map[string][]string
}

func (s *testStore) contents() stored {
	s.t.Helper()
	ctx := context.Background()
	out := stored{map[string]string{}, map[string][]string{}}
	for cursor := ""; ; {
		contexts, next, err := s.api.list(ctx, cursor, 7)
		require.NoError(s.t, err)
		for _, c := range contexts {
			out.configs[c.ID] = fmt.Sprintf("%s %d %s %s %s %s", c.Status, c.LastSeq, c.TokenBudget, c.TriggerRatio, c.Policy, c.Metadata)
			out.messages[c.ID] = nil
			for next := uint64(1); next <= c.LastSeq; {
				page, err := s.api.messages(ctx, c.ID, next, 1000)
				require.NoError(s.t, err)
				for _, m := range page {
					out.messages[c.ID] = append(out.messages[c.ID], string(m))
				}
				next += uint64(len(page))
			}
		}
		if cursor = next; next == "" {
			return out
		}
	}
}

// sameAs compares byte for byte, without printing megabytes.
func (want stored) sameAs(t *testing.T, got stored) {
	t.Helper()
	require.Equal(t, want.configs, got.configs)
	for id, messages := range want.messages {
		require.Len(t, got.messages[id], len(messages), "context %q", id)
		for i, m := range messages {
			if m != got.messages[id][i] {
				t.Fatalf("context %q, message %d: %.200q became %.200q", id, i+1, m, got.messages[id][i])
			}
		}
	}
}

// fill puts in what is hard to carry.
func (s *testStore) fill() {
	s.t.Helper()
	s.do("PUT", "/v1/contexts/odd", "{\n\"metadata\" : {\"b\":1.0e+3,\n \"a\":\"\\u00e9\\ud83d\\ude00 <&>\"},\"trigger_ratio\":0.123456789,\"token_budget\":50}")
	for _, m := range []string{
		`{"role":"user","parts":[{"type":"text","text":"plain"}]}`,
		`{"parts":[{"type":"text","text":"order"}],"role":"user","n":1.0e+3,"m":-0.0,"big":123456789012345678901234567890,"e":1E400}`,
		"{ \"role\" : \"user\" ,\r\n\t\"parts\" : [ {\"type\" : \"text\",\n \"text\":\"line\\nbreaks\"} ] , \"metadata\" : { } }",
		`{"metadata":{},"role":"us\u0065r","parts":[{"type":"te\u0078t","text":"\u00e9\ud83d\ude00\ud800 \/ \" <&> é😀\u2028` + "\u2028" + `"}],"token_count":3}`,
		`{"token_count":0,"role":"user","x":1,"x":2,"parts":[{"type":"text","text":"y"}],"metadata":{"b":1,"a":2,"a":3}}`,
		`{"role":"assistant","parts":[{"type":"tool_call","id":"c1","payload":{"z":[1,{"y":null}]}},{"type":"text","text":"x"}]}`,
		`{"role":"tool","parts":[{"type":"tool_result","tool_call_id":"c1","output":"a\nb"}],"id":"mine"}`,
		`{"role":"user","parts":[{"type":"deep","v":` + strings.Repeat("[", 123) + strings.Repeat("]", 123) + `}]}`,
		`{"role":"user","parts":[{"type":"text","text":"` + strings.Repeat("huge ", 250_000) + `"}]}`,
	} {
		s.do("POST", "/v1/contexts/odd/messages", `{"message":`+m+`}`)
	}
	s.do("PUT", "/v1/contexts/empty", `{"policy":{"strategy":"manual"}}`)
	s.do("PUT", "/v1/contexts/..", `{"policy":{"strategy":"skip_parts","config":{"limit":3}}}`)
	s.do("PUT", "/v1/contexts/a%20%F0%9F%98%80%3F%25%22", "")
	s.do("POST", "/v1/contexts/a%20%F0%9F%98%80%3F%25%22/messages", `{"message":{"role":"user","parts":[{"type":"text","text":"id"}]}}`)
	for _, id := range []string{"gone", "gone-empty"} {
		s.do("PUT", "/v1/contexts/"+id, `{"metadata":{"was":"here"}}`)
		if id == "gone" {
			s.do("POST", "/v1/contexts/gone/messages", `{"messages":[{"role":"user","parts":[{"type":"text","text":"1"}]},{"role":"user","parts":[{"type":"text","text":"2"}]}]}`)
		}
		s.do("DELETE", "/v1/contexts/"+id, "")
	}
	s.long("long", 3000)
	for i := range 120 {
		id := fmt.Sprintf("small-%d", i)
		s.do("PUT", "/v1/contexts/"+id, "")
		if i%3 > 0 {
			s.long(id, i%3)
		}
	}
}

// long makes a context with n messages.
func (s *testStore) long(id string, n int) {
	s.do("PUT", "/v1/contexts/"+id, `{"token_budget":100}`)
	for from := 0; from < n; from += 100 {
		var b []string
		for i := from; i < min(from+100, n); i++ {
			b = append(b, fmt.Sprintf(`{"role":"user","n":%d,"parts":[{"type":"text","text":"message %d %s"}]}`, i, i, strings.Repeat("x", i%50)))
		}
		s.do("POST", "/v1/contexts/"+id+"/messages", `{"messages":[`+strings.Join(b, ",")+`]}`)
	}
}

// faults is a network that loses requests and answers, and a client that is killed. It is an http.RoundTripper.
type faults struct {
	http.RoundTripper
	mu    sync.Mutex
	rng   *rand.Rand
	share float64 // of the requests that go wrong
	left  int     // requests until kill is called; negative: never
	kill  func()
}

var errLost = errors.New("connection reset by the test")

func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	dice, how := f.rng.Float64(), f.rng.IntN(4)
	f.left--
	if f.left == 0 {
		f.kill()
	}
	f.mu.Unlock()
	if dice >= f.share {
		return f.RoundTripper.RoundTrip(r)
	}
	switch how {
	case 0: // it does not arrive
		return nil, errLost
	case 1:
		return &http.Response{StatusCode: 503, Header: http.Header{}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"error":"unavailable","message":"no leader"}`))}, nil
	}
	resp, err := f.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if how == 2 { // it arrives, and the answer is lost
		_ = resp.Body.Close()
		return nil, errLost
	}
	body, err := io.ReadAll(resp.Body) // or half of it
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(string(body[:len(body)/2])), brokenReader{}))
	return resp, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errLost }

// faulty is an API to s through such a network.
func (s *testStore) faulty(seed uint64, share float64, left int, kill func()) *transferAPI {
	a := s.newAPI()
	a.client.http.Transport = &faults{
		RoundTripper: a.client.http.Transport, rng: rand.New(rand.NewPCG(seed, 1)), share: share, left: left, kill: kill,
	}
	return a
}

func quiet() *progress { return newProgress(io.Discard, "test") }
