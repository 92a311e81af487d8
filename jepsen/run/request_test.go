package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"fastpaca/jepsen/run/check"

	"github.com/stretchr/testify/require"
)

// TestLostAnswerIsUnknown: a server that takes a write under a key on a connection that was used before, and dies before it answers,
// leaves its client without knowledge, though nobody listens any more when the client's library tries again.
func TestLostAnswerIsUnknown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		rd := bufio.NewReader(c)
		if _, err := http.ReadRequest(rd); err == nil {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
		}
		_, _ = http.ReadRequest(rd) // done, and the process is no more
		_ = l.Close()
	}()
	n := &node{at: netip.MustParseAddrPort(l.Addr().String()), http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}}
	cl := newClients(nil, time.Now())
	require.Equal(t, 200, cl.send(context.Background(), n, http.MethodGet, "/", "", nil).code)
	a := cl.send(context.Background(), n, http.MethodPost, "/", "key", map[string]any{})
	require.Error(t, a.err)
	require.Equal(t, check.Unknown, cl.outcome(a), "%v", a.err)
	require.Equal(t, check.Fail, cl.outcome(cl.send(context.Background(), n, http.MethodPost, "/", "key", map[string]any{})), "nobody listens")
}
