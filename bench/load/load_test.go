package load

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseHead(t *testing.T) {
	const ok = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n"
	tests := []struct {
		name, in string
		want     head
		err      string
	}{
		{"usual", ok + "{}", head{201, len(ok), 17}, ""},
		{"lower case", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", head{200, 38, 5}, ""},
		{"empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", head{200, 38, 0}, ""},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", head{204, 27, 0}, ""},
		{"incomplete", ok[:len(ok)-1], head{}, errIncomplete.Error()},
		{"empty", "", head{}, errIncomplete.Error()},
		{"length in the body only", "HTTP/1.1 200 OK\r\n\r\n\r\nContent-Length: 5\r\n\r\n", head{}, "without Content-Length"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head{}, "without Content-Length"},
		{"other protocol", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", head{}, "not an HTTP/1.1"},
		{"bad status", "HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\n", head{}, "bad status"},
		{"no digits", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", head{}, "bad Content-Length"},
		{"too long a number", "HTTP/1.1 200 OK\r\nContent-Length: 1234567890123\r\n\r\n", head{}, "bad Content-Length"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseHead([]byte(tt.in))
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func request(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func httpServer(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

func TestClosedLoopCountsExactly(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	addr := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		seen[string(b)]++
		mu.Unlock()
		w.WriteHeader(201)
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	})
	var res Result
	const n = 70
	// Bodies of very different size, some larger than a socket buffer, so that writes are partial.
	body := func(i uint64) string { return fmt.Sprintf("%04d%s", i, strings.Repeat("y", int(i%7)*100_000)) }
	err := Run(&Plan{
		Addr: addr, Conns: 7, Status: 201, Count: n,
		Build: func(i uint64, buf []byte) []byte { return append(buf, request("/p", body(i))...) },
	}, &res)
	require.NoError(t, err)
	require.Equal(t, uint64(n), res.Requests)
	require.Equal(t, uint64(n), res.Latency.Count())
	require.Equal(t, uint64(n*1000), res.BodyBytes)
	require.Positive(t, res.PerSecond())
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, n)
	for i := range uint64(n) {
		require.Equal(t, 1, seen[body(i)])
	}
}

func TestWindowDoesNotCountWarmupOrDrain(t *testing.T) {
	var served atomic.Int64
	addr := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, "ok")
	})
	var res Result
	require.NoError(t, Run(&Plan{
		Addr: addr, Conns: 3, Status: 200, Requests: [][]byte{request("/a", ""), request("/b", "")},
		Warmup: 30 * time.Millisecond, Duration: 50 * time.Millisecond,
	}, &res))
	require.Positive(t, res.Requests)
	require.Less(t, res.Requests, res.Total)
	require.Equal(t, uint64(served.Load()), res.Total, "everything sent was answered before Run returned")
	require.Equal(t, 50*time.Millisecond, res.Elapsed)
}

func TestOpenLoopChargesAStall(t *testing.T) {
	var n atomic.Int64
	const stall = 80 * time.Millisecond
	addr := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 5 {
			time.Sleep(stall)
		}
		_, _ = io.WriteString(w, "ok")
	})
	var res Result
	require.NoError(t, Run(&Plan{
		Addr: addr, Conns: 1, Status: 200, Requests: [][]byte{request("/a", "")}, Rate: 500, Duration: 200 * time.Millisecond,
	}, &res))
	require.Positive(t, res.Backlog)
	// About 40 requests fell due during the stall; a closed loop would have recorded one slow answer.
	slow := 0
	for q := 0.0; q < 1; q += 0.01 {
		if res.Latency.Quantile(q) > stall/4 {
			slow++
		}
	}
	require.Greater(t, slow, 10)
}

func TestErrorsEndTheRun(t *testing.T) {
	plan := func(addr netip.AddrPort) *Plan {
		return &Plan{Addr: addr, Conns: 2, Status: 200, Requests: [][]byte{request("/a", "")}, Duration: time.Second}
	}
	var res Result

	addr := httpServer(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no such thing", 404) })
	err := Run(plan(addr), &res)
	require.ErrorContains(t, err, "status 404")
	require.ErrorContains(t, err, "no such thing")

	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	gone := netip.MustParseAddrPort(ln.Addr().String())
	require.NoError(t, ln.Close())
	require.ErrorContains(t, Run(plan(gone), &res), "connect")

	require.ErrorContains(t, Run(&Plan{}, &res), "bad plan")
	require.ErrorContains(t, Run(plan(netip.MustParseAddrPort("[::1]:1")), &res), "not an IPv4")

	stop := make(chan struct{})
	close(stop)
	p := plan(httpServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }))
	p.Stop = stop
	require.ErrorIs(t, Run(p, &res), ErrStopped)
}

// rawServer answers every request on every connection by calling answer.
func rawServer(t *testing.T, answer func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					answer(c)
				}
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return netip.MustParseAddrPort(ln.Addr().String())
}

func TestAnswersInPieces(t *testing.T) {
	const msg = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
	addr := rawServer(t, func(c net.Conn) {
		for i := range len(msg) {
			_, _ = c.Write([]byte{msg[i]})
		}
	})
	var res Result
	require.NoError(t, Run(&Plan{Addr: addr, Conns: 2, Status: 200, Requests: [][]byte{request("/", "")}, Count: 20}, &res))
	require.Equal(t, uint64(200), res.BodyBytes)
}

func TestBrokenServers(t *testing.T) {
	tests := map[string]struct {
		answer func(net.Conn)
		want   string
	}{
		"closes": {func(c net.Conn) { _ = c.Close() }, "closed connection"},
		"too much": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc") },
			"more than Content-Length"},
		"endless head": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*headBytes)) },
			"incomplete response head"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var res Result
			err := Run(&Plan{
				Addr: rawServer(t, tt.answer), Conns: 1, Status: 200, Requests: [][]byte{request("/", "")}, Duration: time.Second,
			}, &res)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
