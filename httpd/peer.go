package httpd

import (
	"bytes"
	"errors"
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
// Read would wait for ever. Nor do reads go through fasthttp's buffer, once it has given up what it holds.
type peerConn struct {
	*conn
	first []byte // of the protocol: they came with the request
}

// errNoneBuffered is what fasthttp's buffer gets that wants to read more of another node's connection.
var errNoneBuffered = errors.New("httpd: the connection is another node's")

func newPeerConn(c net.Conn) net.Conn {
	inner, ok := c.(interface{ UnsafeConn() net.Conn })
	if !ok {
		return c // already one that closes
	}
	own, ok := inner.UnsafeConn().(*conn)
	if !ok {
		return c
	}
	own.peer.Store(true)
	p := &peerConn{conn: own}
	var b [512]byte
	for {
		n, err := c.Read(b[:])
		p.first = append(p.first, b[:n]...)
		if err != nil {
			return p
		}
	}
}

func (c *peerConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.conn.Conn.Read(b)
}

// ReadsFrom says where reads come from, nil as long as some of it is here; and not while somebody reads.
func (c *peerConn) ReadsFrom() net.Conn {
	if len(c.first) > 0 {
		return nil
	}
	return c.conn.Conn
}

// WritesTo says where writes go: what a connection of another node writes is neither counted nor timed here.
func (c *peerConn) WritesTo() net.Conn { return c.conn.Conn }

// NetConn returns what is below, for socket options.
func (c *peerConn) NetConn() net.Conn { return unwrap(c.conn) }
