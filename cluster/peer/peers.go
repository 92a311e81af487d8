package peer

import (
	"context"
	"sync"
	"sync/atomic"
)

// peer is another node: the two connections that this node dials, the two that it dialed, and what waits for them.
type peer struct {
	Peer // Addr is where it was at first; addr where it is now
	t    *Transport
	addr atomic.Pointer[string]

	ctx     context.Context // ends when the node is no longer a peer
	cancel  context.CancelFunc
	started bool // under Transport.mu

	control, data *link
	heard         atomic.Int64 // Unix ns: when a byte of it came last on control or data, either way

	mu      sync.Mutex
	inbound [laneLimit]*session // control and data, as dialed by the other node
	out     outgoing            // snapshots to it

	inData atomic.Pointer[session] // inbound[laneData], for readers without mu
	left   atomic.Bool             // answers were left for Flush
}

func newPeer(t *Transport, p Peer) *peer {
	x := &peer{Peer: p, t: t}
	x.addr.Store(&p.Addr)
	x.ctx, x.cancel = context.WithCancel(t.ctx)
	x.control, x.data = newLink(x, laneControl), newLink(x, laneData)
	return x
}

// start starts the links, once. Transport.mu is held.
func (p *peer) start() {
	if p.started {
		return
	}
	p.started = true
	p.t.goLocked(p.control.run)
	p.t.goLocked(p.data.run)
}

// stop ends all connections of the peer; it does not wait for their goroutines.
func (p *peer) stop() {
	p.cancel() // each session watches it
	p.dropSnapshots()
}

// adopt makes s the inbound session of its lane. One that was there is of an earlier life of the connection: the other
// node dials again only when it has given up the old one. It reports false if the peer was stopped.
func (p *peer) adopt(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	if old := p.inbound[s.lane]; old != nil {
		old.fail(errReplaced)
	}
	p.inbound[s.lane] = s
	if s.lane == laneData {
		p.inData.Store(s)
	}
	return true
}

func (p *peer) abandon(s *session) {
	p.mu.Lock()
	if p.inbound[s.lane] == s {
		p.inbound[s.lane] = nil
		if s.lane == laneData {
			p.inData.Store(nil)
		}
	}
	p.mu.Unlock()
}

// shared is the data connection that both nodes send on: the one that the node with the lower id has dialed, while there is
// one, otherwise the other one; nil without any. So all that a pass of a loop gives rise to (appends, acknowledgements,
// answers, and the requests that came meanwhile) leaves in one write and arrives in one read, where it would be two of
// each with a connection per direction.
//
// The nodes may disagree for a moment: either connection takes anything, and an answer goes where its call came from.
func (p *peer) shared() *session {
	own, theirs := p.data.session.Load(), p.inData.Load()
	if own == nil || theirs != nil && p.ID < p.t.self().ID {
		return theirs
	}
	return own
}

// sessions appends the sessions there are to dst.
func (p *peer) sessions(dst []*session) []*session {
	for _, l := range [...]*link{p.control, p.data} {
		if s := l.session.Load(); s != nil {
			dst = append(dst, s)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.inbound {
		if s != nil {
			dst = append(dst, s)
		}
	}
	return dst
}

// Alive reports whether a connection to id is up and something came from it within aliveFor.
func (t *Transport) Alive(id uint64) bool {
	p := t.view.Load().find(id)
	return p != nil && p.alive(t.cfg.Now().UnixNano())
}

func (p *peer) alive(now int64) bool {
	return p.control.session.Load() != nil && now-p.heard.Load() < int64(aliveFor)
}
