package httpd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const peerHead = "GET /internal/peer HTTP/1.1\r\nHost: x\r\nUpgrade: fastpaca-peer\r\nConnection: Upgrade\r\n\r\n"

// TestPeerUpgrade: the connection is the peer's, from the first byte behind the request on, which may have come with
// it; and it can be closed while somebody reads from it.
func TestPeerUpgrade(t *testing.T) {
	checkGoroutines(t)
	closed := make(chan error, 1)
	g := newRig(t, func(cfg *Config) {
		cfg.APIKey = "key" // peers have something better
		cfg.Peer = func(c net.Conn) {
			line, err := bufio.NewReader(c).ReadString('\n')
			if err == nil {
				_, err = io.WriteString(c, strings.ToUpper(line))
			}
			if err != nil {
				closed <- err
				return
			}
			read := make(chan error, 1)
			go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
			time.AfterFunc(10*time.Millisecond, func() { c.Close() })
			closed <- <-read
		}
	})
	c := g.dial()
	_, err := io.WriteString(c, peerHead+"hello\n")
	require.NoError(t, err)
	r := bufio.NewReader(c)
	a, err := readAnswer(r, "GET")
	require.NoError(t, err)
	require.Equal(t, 101, a.status)
	require.Equal(t, "fastpaca-peer", a.header.Get("Upgrade"))
	require.Equal(t, "Upgrade", a.header.Get("Connection"))
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HELLO\n", line)
	require.Error(t, <-closed)
	_, err = r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// TestPeerBytesThatCameWithTheRequest: all of them are the peer's, in order, and whoever reads the connection itself is not let past
// them. What comes behind is not lost either, nor does giving up the buffer wait for it.
func TestPeerBytesThatCameWithTheRequest(t *testing.T) {
	early := strings.Repeat("0123456789", 130) // several times what is taken at once
	got := make(chan string, 1)
	g := newRig(t, func(cfg *Config) {
		cfg.Peer = func(c net.Conn) {
			p := c.(*peerConn)
			read := ""
			for b := make([]byte, 100); len(read) < len(early)+len("late"); {
				if held := len(p.first); held > 0 {
					if p.ReadsFrom() != nil {
						t.Errorf("%d bytes would be passed over", held)
					}
				} else if _, ok := p.ReadsFrom().(*net.TCPConn); !ok {
					t.Error("nothing is held here")
				}
				n, err := c.Read(b)
				if read += string(b[:n]); err != nil {
					t.Error(err)
					break
				}
				if len(read) == len(early) {
					_, _ = io.WriteString(c, "!")
				}
			}
			got <- read
		}
	})
	c := g.dial()
	_, err := io.WriteString(c, peerHead+early)
	require.NoError(t, err)
	r := bufio.NewReader(c)
	a, err := readAnswer(r, "GET")
	require.NoError(t, err)
	require.Equal(t, 101, a.status)
	_, err = r.ReadByte()
	require.NoError(t, err)
	_, err = io.WriteString(c, "late")
	require.NoError(t, err)
	require.Equal(t, early+"late", <-got)
}

func TestPeerRefusals(t *testing.T) {
	g := newRig(t, func(cfg *Config) { cfg.Peer = func(net.Conn) { t.Error("a connection that did not ask for it") } })
	g.refused(400, "invalid_request", "GET", "/internal/peer", "")
	g.refused(400, "invalid_request", "GET", "/internal/peer", "", "Upgrade: websocket", "Connection: Upgrade")
	g.refused(400, "invalid_request", "GET", "/internal/peer", "", "Upgrade: fastpaca-peer")
	g.refused(405, "method_not_allowed", "POST", "/internal/peer", "")
	newRig(t).refused(404, "not_found", "GET", "/internal/peer", "", "Upgrade: fastpaca-peer", "Connection: Upgrade")
	newRig(t).refused(404, "not_found", "POST", "/internal/peer", "")
}

// TestPeersGetInWhenClientsHaveTakenAll: a flood of clients must not cut the cluster in pieces.
func TestPeersGetInWhenClientsHaveTakenAll(t *testing.T) {
	g := newRig(t, func(cfg *Config) {
		cfg.MaxConns = 3
		cfg.Peer = func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	})
	for range 3 {
		c := g.dial()
		_, err := io.WriteString(c, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		a, err := readAnswer(bufio.NewReader(c), "GET")
		require.NoError(t, err)
		require.Equal(t, 200, a.status)
	}
	a := g.refused(503, "overloaded", "GET", "/health/live", "")
	require.True(t, a.closed)
	for range peerReserve {
		c := g.dial()
		_, err := io.WriteString(c, peerHead)
		require.NoError(t, err)
		a, err := readAnswer(bufio.NewReader(c), "GET")
		require.NoError(t, err)
		require.Equal(t, 101, a.status)
	}
	g.isError(g.raw(peerHead), 503, "overloaded")
}

// TestPeersDoNotHoldUpShutdown: it takes as long as clients' requests, and then cuts what is left.
func TestPeersDoNotHoldUpShutdown(t *testing.T) {
	checkGoroutines(t)
	gone := make(chan struct{})
	g := newRig(t, func(cfg *Config) {
		cfg.Peer = func(c net.Conn) {
			defer close(gone)
			_, _ = io.Copy(io.Discard, c)
		}
	})
	c := g.dial()
	_, err := io.WriteString(c, peerHead)
	require.NoError(t, err)
	_, err = readAnswer(bufio.NewReader(c), "GET")
	require.NoError(t, err)
	before := g.s.metrics.received()
	_, err = c.Write(bytes.Repeat([]byte("x"), 1000))
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	require.NoError(t, g.s.Shutdown(ctx))
	require.ErrorIs(t, <-g.done, ErrServerClosed)
	<-gone
	require.Equal(t, before, g.s.metrics.received(), "what peers send is not from clients")
}
