package peer

import (
	"time"

	"fastpaca/shard/pulse"
)

const (
	// sweepEvery is how exact the timeouts of calls are.
	sweepEvery = 50 * time.Millisecond
	// answerSweeps bounds the wait of messages for company (canWait): 50 to 100 ms, the period of heartbeats. With whom this node
	// leads a group, the answers to theirs thus go with its own; a leader still hears of each member in every 200 ms, and asks
	// every 600 ms whether it has heard of a quorum.
	answerSweeps = 2
	// pingEvery is how often each end of a connection says that it is there. Heartbeats come more often on the control lane, but
	// only from leaders.
	pingEvery = 500 * time.Millisecond
	// aliveFor is how long a node that says nothing is still believed alive: three pings lost in a row, and some.
	aliveFor = 2 * time.Second
	// silentMax is when a connection on which nothing came is given up as half open: the other node is cut off, stopped, or
	// lost its power. Beyond aliveFor, so that a long pause does not also cost the connections.
	silentMax = 3 * time.Second
	// writeStall is when a connection that takes no bytes is given up. A megabyte that takes longer is no link for a cluster.
	writeStall = 10 * time.Second
)

// housekeep is the one goroutine that looks at the clock: timeouts of calls, pings, connections that went silent.
func (t *Transport) housekeep() {
	defer t.group.Done()
	tick := pulse.NewTicker(sweepEvery)
	defer tick.Stop()
	var sessions []*session
	for {
		select {
		case <-tick.C:
			tick.Next()
		case <-t.ctx.Done():
			return
		}
		now := t.cfg.Now().UnixNano()
		for _, p := range t.view.Load().peers {
			sessions = p.sessions(sessions[:0])
			for _, s := range sessions {
				s.check(now)
			}
		}
		clear(sessions)
		t.snapshots.report(t)
	}
}

// rouseIfForgotten wakes the writer for what somebody has left and not flushed: a bug, which is not to cost more than this wait.
func (s *session) rouseIfForgotten() {
	s.mu.Lock()
	forgotten := len(s.buf) > 0 && !s.busy
	s.mu.Unlock()
	if forgotten {
		s.rouse()
	}
}

// flushWaiting sends what can wait (canWait) once answerSweeps sweeps have found it.
func (s *session) flushWaiting() {
	s.mu.Lock()
	waits, batch := len(s.buf) > 0 && !s.busy, s.batch
	s.mu.Unlock()
	if !waits || batch != s.found {
		s.found, s.sweeps = batch, 0
	}
	if !waits {
		return
	}
	if s.sweeps++; s.sweeps >= answerSweeps {
		s.flush()
	}
}

// check looks after one session.
func (s *session) check(now int64) {
	if s.lane == laneData {
		s.calls.sweep(s, now)
		s.rouseIfForgotten()
	} else {
		s.flushWaiting()
	}
	if now-s.pinged >= int64(pingEvery) {
		s.pinged = now
		s.ping()
	}
	if now-s.heard.Load() > int64(silentMax) {
		s.fail(errSilent)
	}
	if w := s.writing.Load(); w != 0 && now-w > int64(writeStall) {
		s.fail(errStalled)
	}
}
