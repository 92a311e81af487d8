package peer

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Reason is why a connection from outside was refused.
type Reason uint8

// The reasons, in the order of Stats.Refused.
const (
	ReasonGarbage  Reason = iota // not this protocol, or broken off in the handshake
	ReasonTimeout                // said nothing, or not enough, in time
	ReasonVersion                // another protocol version
	ReasonSecret                 // no secret, or a wrong one
	ReasonSelf                   // this node itself, or a copy of its data directory
	ReasonCluster                // a node of another cluster
	ReasonEarly                  // this node has no cluster yet
	ReasonUnknown                // id or incarnation not in the placement map (yet)
	ReasonBusy                   // too many connections in the handshake, or of that lane
	ReasonProtocol               // authenticated, but then broke the protocol
	Reasons
)

var reasonNames = [Reasons]string{"garbage", "timeout", "version", "secret", "self", "cluster", "early", "unknown", "busy", "protocol"}

// String is the name for log lines and labels.
func (r Reason) String() string { return reasonNames[r] }

// reasonOf classifies what ended a handshake on the accepting side.
func reasonOf(err error) Reason {
	var refused refusedError
	var version errVersion
	var timeout net.Error
	switch {
	case errors.As(err, &refused):
		switch verdict(refused) {
		case refusedSelf:
			return ReasonSelf
		case refusedCluster:
			return ReasonCluster
		case refusedEarly:
			return ReasonEarly
		case refusedUnknown:
			return ReasonUnknown
		}
		return ReasonBusy
	case errors.As(err, &version):
		return ReasonVersion
	case errors.Is(err, errSecret):
		return ReasonSecret
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe): // closed here, to make room
		return ReasonBusy
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	}
	return ReasonGarbage
}

// logPeriod is the least time between two log lines of one kind: a node that is refused tries again every second.
const logPeriod = time.Minute

// throttle lets through one event of its kind per logPeriod and counts the others.
type throttle struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

// allow says whether to log now, and how many events were not logged since the last that was.
func (l *throttle) allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && now.Sub(l.last) < logPeriod {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed, l.last = l.suppressed, 0, now
	return suppressed, true
}

// refusals counts refused connections and logs some of them.
type refusals struct {
	count [Reasons]atomic.Uint64
	log   [Reasons]throttle
}

// refused counts and logs that c was refused. h is what the other end said of itself, proved or not.
func (t *Transport) refused(c net.Conn, h Hello, r Reason, err error) {
	t.refusals.count[r].Add(1)
	n, ok := t.refusals.log[r].allow(t.cfg.Now())
	if !ok {
		return
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the connection ended in the handshake")
	}
	t.cfg.Logf("peer_refused", "reason", r.String(), "remote", c.RemoteAddr().String(), "name", h.Name, "id", h.ID,
		"cluster", h.ClusterID, "incarnation", h.Incarnation, "error", err, "suppressed", n)
}
