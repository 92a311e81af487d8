package httpd

import (
	"bytes"
	"net"

	"github.com/valyala/fasthttp"
)

// upgradePeer is the protocol that nodes ask for on the port that clients use, too.
const upgradePeer = "fastpaca-peer"

// servePeer answers GET /internal/peer, which other nodes send: 101, and the connection is Config.Peer's. The API key is
// not asked for, since peers prove something better to one another; until they have, a connection holds no more
// than any client's does. A client that gets lost here learns nothing but that.
func (s *Server) servePeer(ctx *fasthttp.RequestCtx, _ *work) {
	if s.draining.Load() {
		ctx.SetConnectionClose()
		writeError(ctx, errUnavailable, "the node is shutting down")
		return
	}
	h := &ctx.Request.Header
	if !bytes.EqualFold(h.Peek(fasthttp.HeaderUpgrade), []byte(upgradePeer)) || !h.ConnectionUpgrade() {
		writeError(ctx, errInvalidRequest, "this path is for the nodes of a cluster among themselves; clients find theirs in /openapi.json")
		return
	}
	ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
	ctx.Response.Header.Set(fasthttp.HeaderConnection, "Upgrade")
	ctx.Response.Header.Set(fasthttp.HeaderUpgrade, upgradePeer)
	ctx.Hijack(func(c net.Conn) { s.cfg.Peer(newPeerConn(c)) })
}

// peerConn is a hijacked connection that its owner can close: fasthttp's own Close does nothing, and who waits in a
// Read would wait for ever. Reads go through fasthttp's buffer, which may hold the first bytes of the protocol.
type peerConn struct {
	net.Conn          // our listener's
	buffered net.Conn // fasthttp's
}

func newPeerConn(c net.Conn) net.Conn {
	inner, ok := c.(interface{ UnsafeConn() net.Conn })
	if !ok {
		return c // already one that closes
	}
	own := inner.UnsafeConn()
	if o, ok := own.(*conn); ok {
		o.peer.Store(true)
	}
	return &peerConn{Conn: own, buffered: c}
}

func (c *peerConn) Read(p []byte) (int, error) { return c.buffered.Read(p) }

// WritesTo says where writes go: what a connection of another node writes is neither counted nor timed here.
func (c *peerConn) WritesTo() net.Conn {
	if own, ok := c.Conn.(*conn); ok {
		return own.Conn
	}
	return c.Conn
}

// NetConn returns what is below, for socket options.
func (c *peerConn) NetConn() net.Conn { return unwrap(c.Conn) }
