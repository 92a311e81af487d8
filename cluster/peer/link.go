package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// dialPauseMin and dialPauseMax bound the pause between two attempts, which doubles in between and is jittered by half:
	// a node that restarts is found at once (it kicks us by dialing), one that is gone costs two packets a second.
	dialPauseMin = 20 * time.Millisecond
	dialPauseMax = time.Second
	// settled is how long a connection must have lasted for its loss to be answered by a redial without a pause. What is lost
	// sooner, as where two processes run on copies of one data directory, counts as another failed attempt.
	settled = time.Second
)

// link keeps one dialed connection to a peer up.
type link struct {
	p       *peer
	lane    lane
	session atomic.Pointer[session] // nil: not connected
	kick    chan struct{}           // ends the pause between attempts
	log     throttle
}

func newLink(p *peer, l lane) *link { return &link{p: p, lane: l, kick: make(chan struct{}, 1)} }

// hurry ends the pause between attempts: the peer is there, it has just dialed us.
func (l *link) hurry() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

func (l *link) run() {
	t, pause, lost := l.p.t, dialPauseMin, false
	for l.p.ctx.Err() == nil {
		started := t.cfg.Now()
		up, err := l.once()
		if lost = lost || up; up && t.cfg.Now().Sub(started) >= settled {
			pause = dialPauseMin
			continue
		}
		if lost && !up && errors.Is(err, syscall.ECONNREFUSED) {
			lost = false
			if l.lane == laneControl && l.p.ctx.Err() == nil {
				t.view.Load().node.PeerDown(l.p.ID)
			}
		}
		l.wait(l.jitter(pause))
		pause = min(2*pause, dialPauseMax)
	}
}

// once dials and stays until the connection is lost. up says that there was one.
func (l *link) once() (up bool, err error) {
	p, t := l.p, l.p.t
	addr := *p.addr.Load()
	c, _, err := t.connect(p.ctx, addr, l.lane, &p.Peer)
	if err != nil {
		l.failed(addr, err)
		return false, err
	}
	s := newSession(p, l.lane, c, true)
	p.heard.Store(t.cfg.Now().UnixNano())
	if l.lane == laneControl {
		t.cfg.Logf("peer_connected", "id", p.ID, "name", p.Name, "address", addr)
	}
	t.counters.connects.Add(1)
	l.session.Store(s)
	err = s.run()
	l.session.Store(nil)
	if p.ctx.Err() == nil {
		if l.lane == laneData {
			t.view.Load().node.Unreachable(p.ID)
		} else {
			t.cfg.Logf("peer_lost", "id", p.ID, "name", p.Name, "address", addr, "error", err)
		}
	}
	return true, err
}

// failed logs an attempt that failed. The lanes fail for the same reasons: one of them speaks.
func (l *link) failed(addr string, err error) {
	t := l.p.t
	t.counters.dialErrors.Add(1)
	if l.lane != laneControl || l.p.ctx.Err() != nil {
		return
	}
	if n, ok := l.log.allow(t.cfg.Now()); ok {
		t.cfg.Logf("peer_connect_failed", "id", l.p.ID, "name", l.p.Name, "address", addr, "error", err, "suppressed", n)
	}
}

func (l *link) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.kick:
	case <-l.p.ctx.Done():
	}
}

// jitter takes up to half of d away, so that nodes that lost one another at the same moment do not meet again.
func (l *link) jitter(d time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(l.p.t.cfg.Entropy, b[:]); err != nil {
		panic(fmt.Sprintf("peer: the entropy source failed: %v; restart the node", err))
	}
	return d - time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(d/2+1))
}
