package peer

import (
	"net"
	"slices"
	"time"
)

const (
	// handshakesMax bounds the connections from outside that have proved nothing yet: several times the nodes of any cluster.
	// Past it the oldest is cut. A node takes some milliseconds to prove itself, so that strangers who hold on to their
	// places, even many of them, do not keep nodes out.
	handshakesMax = 64
	// exchangesMax bounds the exchanges that are answered at once. They are short.
	exchangesMax = 64
)

// ServeConn serves a connection of the HTTP port after the answer 101 to its upgrade. It owns c, and returns when c is closed.
// Deadlines set on c must reach the connection.
func (t *Transport) ServeConn(c net.Conn) {
	if !t.enter(c) {
		_ = c.Close()
		return
	}
	defer t.group.Done()
	defer t.forget(c)
	defer c.Close()
	h, l, err := t.welcome(c)
	if err != nil {
		if t.ctx.Err() == nil {
			t.refused(c, h, reasonOf(err), err)
		}
		return
	}
	switch l {
	case laneControl, laneData:
		t.serveSession(c, h, l)
	case laneBulk:
		t.receiveSnapshot(c, h)
	case laneStream:
		t.serveStream(c, h)
	case laneAsk:
		t.serveAsk(c, h)
	}
}

// enter admits a connection to the handshake. It reports false after Close.
func (t *Transport) enter(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	if len(t.handshaking) >= handshakesMax {
		_ = t.handshaking[0].Close() // its reader returns with net.ErrClosed: ReasonBusy
		t.handshaking = slices.Delete(t.handshaking, 0, 1)
	}
	t.handshaking = append(t.handshaking, c)
	t.conns[c] = struct{}{}
	t.group.Add(1)
	return true
}

// proved takes c out of the handshake, however it ended.
func (t *Transport) proved(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.handshaking, c); i >= 0 {
		t.handshaking = slices.Delete(t.handshaking, i, i+1)
	}
}

// welcome does the acceptor's handshake, within handshakeTimeout.
func (t *Transport) welcome(c net.Conn) (Hello, lane, error) {
	defer t.proved(c)
	if err := c.SetDeadline(t.cfg.Now().Add(handshakeTimeout)); err != nil {
		return Hello{}, 0, err
	}
	h, l, err := t.party().accept(c, t.judge)
	if err != nil {
		return h, l, err
	}
	return h, l, c.SetDeadline(time.Time{})
}

// judge decides about a node that has proved the secret.
func (t *Transport) judge(h Hello, l lane) verdict {
	v := t.view.Load()
	switch {
	case h.Incarnation == v.self.Incarnation: // by way of a seed that names this node, too
		return refusedSelf
	case l == laneAsk:
		return welcome
	case v.node == nil:
		return refusedEarly
	case h.ClusterID != v.self.ClusterID:
		return refusedCluster
	}
	if p := v.find(h.ID); p == nil || p.Incarnation != h.Incarnation {
		return refusedUnknown
	}
	return welcome
}

// known returns the peer that h was judged to be, unless it is none any more.
func (t *Transport) known(h Hello) *peer {
	if p := t.view.Load().find(h.ID); p != nil && p.Incarnation == h.Incarnation {
		return p
	}
	return nil
}

// hello is what the peer says of itself, for log lines.
func (p *peer) hello() Hello {
	return Hello{ClusterID: p.t.self().ClusterID, ID: p.ID, Name: p.Name, Incarnation: p.Incarnation, Address: *p.addr.Load()}
}

// serveSession serves a control or data connection that another node dialed.
func (t *Transport) serveSession(c net.Conn, h Hello, l lane) {
	p := t.known(h)
	if p == nil {
		return
	}
	s := newSession(p, l, c, false)
	if !p.adopt(s) {
		return
	}
	p.control.hurry()
	p.data.hurry()
	_ = s.run()
	p.abandon(s)
	if l == laneData && p.ctx.Err() == nil {
		// Acknowledgements were lost with it.
		t.view.Load().node.Unreachable(p.ID)
	}
}
