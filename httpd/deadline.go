package httpd

import (
	"net"
	"sync/atomic"
	"time"
)

// fasthttp moves a connection's deadlines three times per request. Each move takes the runtime's timer locks:
// together more than a microsecond, as much as parsing the request. So a connection only notes its deadlines,
// and the listener's sweeper looks at all of them now and then and fires those that have passed, at most
// sweepShare of the shortest timeout (or sweepMax) late. That is what "30 s" means to a slow client.
const (
	sweepShare = 16
	sweepMin   = 5 * time.Millisecond
	sweepMax   = time.Second
)

// sweepEvery is the sweeper's period for these timeouts.
func sweepEvery(timeouts ...time.Duration) time.Duration {
	every := sweepMax
	for _, t := range timeouts {
		every = min(every, t/sweepShare)
	}
	return max(every, sweepMin)
}

// lazyDeadline is one direction's deadline of a connection.
//
// The sweeper may find a deadline passed at the moment in which the connection moves it. Whoever comes second
// undoes: the connection clears a real deadline that was fired before (fired), the sweeper looks again after
// firing. In between a read or write may still fail, of a connection that was idle up to its very deadline.
type lazyDeadline struct {
	at    atomic.Int64 // Unix ns, 0: none
	fired atomic.Bool
}

func (d *lazyDeadline) set(t time.Time, real func(time.Time) error) error {
	at := int64(0)
	if !t.IsZero() {
		at = t.UnixNano()
	}
	d.at.Store(at)
	if d.fired.CompareAndSwap(true, false) {
		return real(time.Time{})
	}
	return nil
}

func (d *lazyDeadline) sweep(now int64, real func(time.Time) error) {
	at := d.at.Load()
	if at == 0 || at > now || d.fired.Load() {
		return
	}
	_ = real(longAgo()) // fails only on a connection that is closed already
	d.fired.Store(true)
	if d.at.Load() != at && d.fired.CompareAndSwap(true, false) {
		_ = real(time.Time{})
	}
}

// SetReadDeadline implements net.Conn, late by up to one sweep.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.direct.Load() {
		return c.Conn.SetReadDeadline(t)
	}
	return c.read.set(t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn, late by up to one sweep.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.direct.Load() {
		return c.Conn.SetWriteDeadline(t)
	}
	return c.write.set(t, c.Conn.SetWriteDeadline)
}

// SetDeadline implements net.Conn and ends the laziness: fasthttp calls it for one purpose, to hand a
// connection over to a stream, whose deadlines are its own and exact.
func (c *conn) SetDeadline(t time.Time) error {
	c.direct.Store(true)
	c.read.at.Store(0)
	c.write.at.Store(0)
	return c.Conn.SetDeadline(t)
}

// sweep fires the deadlines that have passed, until the listener is closed and its last connection gone.
func (l *listener) sweep() {
	defer l.group.Done()
	tick := time.NewTicker(sweepEvery(l.s.cfg.ReadTimeout, l.s.cfg.WriteTimeout, l.s.cfg.IdleTimeout))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.swept:
			return
		}
		now := time.Now().UnixNano()
		l.mu.Lock()
		for c := range l.conns {
			if !c.direct.Load() {
				c.read.sweep(now, c.Conn.SetReadDeadline)
				c.write.sweep(now, c.Conn.SetWriteDeadline)
			}
		}
		l.mu.Unlock()
	}
}

var _ net.Conn = (*conn)(nil)
