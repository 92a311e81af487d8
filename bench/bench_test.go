package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fastpaca/bench/load"
	"fastpaca/bench/report"
)

func TestMessagesHaveTheirSizeAndAreJSON(t *testing.T) {
	w := newWriter(1)
	seen := map[string]bool{}
	for range 1000 {
		m := w.message(nil)
		require.Len(t, m, messageBytes)
		require.True(t, json.Valid(m), "%s", m)
		seen[string(m)] = true
	}
	require.Greater(t, len(seen), 990, "texts differ")
	require.Equal(t, newWriter(1).message(nil), newWriter(1).message(nil), "and are the same in every run")
}

func TestRequests(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:4000")
	for _, req := range [][]byte{
		newWriter(1).single(nil, addr, "a"), newWriter(1).batch(nil, addr, "a", 3),
		request(addr, "PUT", "/v1/contexts/a", []byte(`{}`)),
	} {
		head, body, ok := strings.Cut(string(req), "\r\n\r\n")
		require.True(t, ok)
		require.True(t, json.Valid([]byte(body)), body)
		require.Contains(t, head+"\r\n", "\r\nContent-Length: "+itoa(len(body))+"\r\n")
		require.Contains(t, head, "\r\nHost: 127.0.0.1:4000")
	}
	require.Equal(t, "GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n", string(request(addr, "GET", "/health/ready", nil)))
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestCheckRun(t *testing.T) {
	body := []byte(`{"messages":[{"seq":9,"role":"user"},{"seq":10,"role":"user"}],"next_seq":11}`)
	require.NoError(t, checkRun(body, 9, 2))
	require.Error(t, checkRun(body, 8, 2))
	require.Error(t, checkRun(body, 9, 1))
	require.Error(t, checkRun([]byte(`{"messages":[{"seq":9,"role":"user"},{"seq":11,"role":"user"}]}`), 9, 2))
	require.NoError(t, checkRun([]byte(`{"messages":[]}`), 1, 0))
}

func TestParseGC(t *testing.T) {
	got := parseGC(`starting
gc 1 @0.010s 3%: 0.05+12+0.01 ms clock, 0.1+1.2/12/0.5+0.02 ms cpu, 300->320->200 MB, 310 MB goal, 0 MB stacks, 0 MB globals, 2 P
{"level":"info"}
gc 2 @1.010s 0%: 0.05+1+0.01 ms clock, 0.1+0/1/0+0.02 ms cpu, 3->3->2 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)
`)
	require.Len(t, got, 2)
	require.InDelta(t, 13.82, got[0].cpu, 1e-9)
	require.InDelta(t, 0.06, got[0].pauses, 1e-9)
	require.Equal(t, 12.0, got[0].wall)
	require.Equal(t, 200.0, got[0].live)
	require.Empty(t, parseGC(""))
}

func TestSampleSum(t *testing.T) {
	text := "# TYPE a counter\na 1\na_b 100\na{x=\"1\"} 2\na{x=\"}\"} 3.5 1700000000\nb nonsense\n"
	v, ok := sampleSum(text, "a")
	require.True(t, ok)
	require.Equal(t, 6.5, v)
	_, ok = sampleSum(text, "b")
	require.False(t, ok)
	_, ok = sampleSum(text, "c")
	require.False(t, ok)
}

func TestByProcessor(t *testing.T) {
	f := []report.Round{{ServerCPU: 10, ClientCPU: 5}}
	o := []report.Round{{ServerCPU: 14, ClientCPU: 6}}
	require.Equal(t, 0.75, byProcessor(f, o))
	require.Zero(t, byProcessor(f, nil))
}

func TestPick(t *testing.T) {
	all, err := pick("")
	require.NoError(t, err)
	some, err := pick("tokens,appends")
	require.NoError(t, err)
	require.Len(t, some, 2)
	require.Equal(t, "appends", some[0].name, "in their own order")
	require.Greater(t, len(all), len(some))
	_, err = pick("appends,typo")
	require.ErrorContains(t, err, `no scenario "typo"`)
}

func TestPieces(t *testing.T) {
	text := []byte(strings.Repeat("word ", 1000))
	var joined []byte
	ps := pieces(text)
	for _, p := range ps {
		joined = append(joined, p...)
	}
	require.Equal(t, text, joined)
	require.Len(t, ps, 5)
}

// newTestBench is a benchmark against the fake.
func newTestBench(t *testing.T) *bench {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	b, err := newBench(context.Background(), options{quick: true, longer: 1, bin: self, dir: t.TempDir(), maxprocs: 2}, 1)
	require.NoError(t, err)
	b.prog.Close()
	b.prog = report.NewProgress(null, 1)
	t.Cleanup(func() { b.close(); _ = null.Close() })
	require.NoError(t, b.build())
	return b
}

func TestDuelAgainstTheFake(t *testing.T) {
	b := newTestBench(t)
	b.begin(scenario{name: "test", seconds: 1})
	ours, err := b.startOurs("")
	require.NoError(t, err)
	require.Positive(t, ours.took)
	durable, err := b.readyDurable(true)
	require.NoError(t, err)
	require.NoError(t, b.putContexts(ours, appendPrefix, appendContexts, appendConfig))

	window := 60 * time.Millisecond
	plans := map[*server]load.Plan{
		durable: appendPlan(durable, 4, window/5, window), ours: appendPlan(ours, 4, window/5, window),
	}
	got, err := b.duel("4 connections", 2, plans, durable, ours)
	require.NoError(t, err)
	require.Len(t, got[ours], 2)
	require.Len(t, b.rep.Rounds, 4)
	for i, want := range []string{kindDurable, kindOurs, kindDurable, kindOurs} {
		require.Equal(t, want, b.rep.Rounds[i].Server, "in turn")
		require.Positive(t, b.rep.Rounds[i].Conns)
	}
	require.Positive(t, b.acked[ours])
	require.NoError(t, b.checkAppends(ours), "every acknowledged message is there")
	b.acked[ours]++
	require.ErrorContains(t, b.checkAppends(ours), "were acknowledged", "and one more would be missed")

	require.NoError(t, b.fillOne(ours, contextID("x", 0), 300, 100))
	body, err := b.call(ours, "GET", contextPath(contextID("x", 0))+"/tail?limit=50", nil, 200)
	require.NoError(t, err)
	require.NoError(t, checkRun(body, 251, 50))

	// Killed and started again on its data.
	ours.Kill()
	again, err := b.startOurs(ours.data)
	require.NoError(t, err)
	n, err := b.lastSeq(again, contextID("x", 0))
	require.NoError(t, err)
	require.Equal(t, uint64(300), n)

	// An error of the server fails the run and says what it was.
	_, err = b.measure(again, load.Plan{
		Conns: 1, Status: 204, Requests: [][]byte{request(again.Addr, "GET", contextPath("x"), nil)}, Duration: window,
	}, "wrong", 0)
	require.ErrorContains(t, err, "status 200, want 204")
}

func TestServerThatDoesNotStart(t *testing.T) {
	b := newTestBench(t)
	b.bin = "/bin/false"
	_, err := b.startOurs("")
	require.ErrorContains(t, err, "exited while starting")
}

func TestSettle(t *testing.T) {
	b := newTestBench(t)
	s, err := b.startOurs("")
	require.NoError(t, err)
	require.NoError(t, b.settle(s, 50*time.Millisecond))
	s.Kill()
	require.Error(t, b.settle(s, time.Second))
}
