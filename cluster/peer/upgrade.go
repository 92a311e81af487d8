package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// handshakeTimeout bounds all from the first byte to the welcome. Both ends are machines that have nothing to think
	// about; a node that was stopped (SIGSTOP) still completes the TCP connection, and is found out here.
	handshakeTimeout = 3 * time.Second
	// maxHeadBytes bounds the answer to the upgrade.
	maxHeadBytes = 2 << 10
)

// connect opens a connection of lane l to addr, up to and including the handshake. want, if not nil, is who must be
// there. The caller closes the connection and forgets it (t.forget). The Hello is the other node's if it
// proved the secret, also with some errors.
func (t *Transport) connect(ctx context.Context, addr string, l lane, want *Peer) (net.Conn, Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := t.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, Hello{}, err
	}
	if !t.remember(raw) {
		_ = raw.Close()
		return nil, Hello{}, ErrClosed
	}
	c, h, err := t.greet(ctx, raw, addr, l)
	if err == nil && want != nil && (h.ID != want.ID || h.Incarnation != want.Incarnation || h.ClusterID != t.self().ClusterID) {
		err = fmt.Errorf("peer: %s is node %q, id %d, incarnation %s of cluster %s and not the expected %q, id %d, incarnation %s",
			addr, h.Name, h.ID, h.Incarnation, h.ClusterID, want.Name, want.ID, want.Incarnation)
	}
	if err != nil {
		t.forget(raw)
		_ = raw.Close()
		return nil, h, err
	}
	return &dialed{Conn: c, raw: raw, t: t}, h, nil
}

// dialed is a connection that Transport.Close cuts until it is closed.
type dialed struct {
	net.Conn
	raw net.Conn
	t   *Transport
}

// WritesTo says where writes go; with TLS that is no TCP connection.
func (d *dialed) WritesTo() net.Conn { return d.Conn }

// ReadsFrom says where reads come from.
func (d *dialed) ReadsFrom() net.Conn { return d.Conn }

// Close closes the connection, which Transport.Close then need not.
func (d *dialed) Close() error {
	d.t.forget(d.raw)
	return d.Conn.Close()
}

// greet upgrades the connection and does the handshake, under the deadline of ctx.
func (t *Transport) greet(ctx context.Context, c net.Conn, addr string, l lane) (net.Conn, Hello, error) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true) // Go's default; what leaves here is batched already
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, Hello{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	if t.cfg.TLS != nil {
		c = tls.Client(c, t.tlsConfig(addr))
	}
	if err := requestUpgrade(c, addr); err != nil {
		stop()
		return nil, Hello{}, err
	}
	h, err := t.party().dial(c, l)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, h, err
	}
	return c, h, c.SetDeadline(time.Time{})
}

func (t *Transport) tlsConfig(addr string) *tls.Config {
	if t.cfg.TLS.ServerName != "" {
		return t.cfg.TLS
	}
	cfg := t.cfg.TLS.Clone()
	cfg.ServerName = addr
	if host, _, err := net.SplitHostPort(addr); err == nil {
		cfg.ServerName = host
	}
	return cfg
}

// requestUpgrade asks for the upgrade and reads the answer's head, and not a byte more.
func requestUpgrade(c net.Conn, addr string) error {
	if _, err := io.WriteString(c, "GET "+UpgradePath+" HTTP/1.1\r\nHost: "+addr+
		"\r\nConnection: Upgrade\r\nUpgrade: "+UpgradeProtocol+"\r\n\r\n"); err != nil {
		return err
	}
	head := make([]byte, 0, maxHeadBytes)
	for {
		// The acceptor is silent after its 101 until it has our hello: what was read belongs to the head.
		n, err := c.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		ours := bytes.HasPrefix(head, upgraded[:min(len(head), len(upgraded))])
		end := bytes.Index(head, endOfHead)
		switch {
		case ours && end >= 0 && end+len(endOfHead) == len(head):
			return nil
		case !ours, end >= 0, len(head) == cap(head):
			line, _, _ := bytes.Cut(head, endOfHead[:2])
			return fmt.Errorf("peer: %s answered the upgrade with %q: not a fastpaca node of this version", addr, line[:min(len(line), 100)])
		case err != nil:
			return unexpected(err)
		}
	}
}

var (
	upgraded  = []byte("HTTP/1.1 101 ")
	endOfHead = []byte("\r\n\r\n")
)
