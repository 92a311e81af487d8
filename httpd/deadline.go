package httpd

import (
	"net"
	"sync/atomic"
	"time"

	"fastpaca/shard/pulse"

	"github.com/valyala/fasthttp"
)

// A request moves its connection's deadlines three times: idle, reading, writing. Done by fasthttp, each move is
// a look at the clock and a visit to the runtime's timer locks, together as much as parsing the request. So
// fasthttp is given no timeouts. A connection notes when its phase ends, by a clock that the listener's sweeper
// moves on, and the sweeper fires what has passed: at most sweepShare of the shortest timeout (or sweepMax) late,
// and never early. That is what "30 s" means to a slow client.
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
	at    atomic.Int64 // of listener.clock, 0: none
	fired atomic.Bool
}

// set moves the deadline to at, a time of listener.clock; 0 is none.
func (d *lazyDeadline) set(at int64, real func(time.Time) error) {
	d.at.Store(at)
	if d.fired.Load() && d.fired.CompareAndSwap(true, false) {
		_ = real(time.Time{}) // fails only on a connection that is closed already
	}
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

// phase is fasthttp's word on where a connection stands: the whole of a request has ReadTimeout from its first
// byte on, the wait for the next one IdleTimeout.
func phase(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	if !ok || c.direct.Load() {
		return
	}
	c.quick.state(state)
	switch state {
	case fasthttp.StateNew, fasthttp.StateActive:
		wait := c.l.s.cfg.ReadTimeout
		if c.reserved {
			wait = min(wait, reserveWait)
		}
		c.read.set(c.l.after(wait), c.Conn.SetReadDeadline)
	case fasthttp.StateIdle:
		c.read.set(c.l.after(c.l.s.cfg.IdleTimeout), c.Conn.SetReadDeadline)
	}
}

// elapsed is a clock for durations, which nobody can turn: one look where time.Now takes two.
func (l *listener) elapsed() time.Duration { return time.Since(l.began) }

// after is the moment d from now, or up to one sweep later. It is never 0.
func (l *listener) after(d time.Duration) int64 { return l.clock.Load() + int64(l.period) + int64(d) }

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
	tick := pulse.NewTicker(l.period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			tick.Next()
		case <-l.swept:
			return
		}
		now := int64(l.elapsed())
		l.clock.Store(now)
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
