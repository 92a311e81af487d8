package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

const (
	// controlQueueMax bounds the bytes that wait for the control lane's writer: the heartbeats of all groups (257 of about
	// 10 bytes) some hundred times over, which only a connection that has stopped can gather.
	controlQueueMax = 1 << 20
	// dataQueueMax bounds those of the data lane: some times what raft keeps in flight (8 MiB per group and follower), and
	// a third of a second of a gigabit link. A frame is taken while less than this waits, so that one of any size can go.
	dataQueueMax = 32 << 20
	// writePiece bounds one write, so that a slow link shows progress (writeStall).
	writePiece = 1 << 20
	// keepBuffer is the largest buffer that is kept for the next batch.
	keepBuffer = 1 << 20
)

var (
	errReplaced = errors.New("peer: the other node opened this lane anew")
	errSilent   = errors.New("peer: nothing was heard for too long: cut off, stopped, or overloaded beyond use")
	errStalled  = errors.New("peer: the other node takes no bytes")
)

// session is one established connection of the control or data lane.
//
// Whoever has something to send encodes it under mu into buf and wakes the writer if buf was empty. The writer swaps buf
// for an empty one and writes all that gathered in one call: batches are as large as the writer is slow, and nothing
// waits for a timer. A loop that ends its pass writes by itself instead, where it can, and so does who pings (write.go).
type session struct {
	p      *peer
	t      *Transport
	lane   lane
	dialed bool // by this node
	conn   net.Conn
	max    int // of len(buf)

	mu     sync.Mutex
	buf    []byte // frames that wait
	batch  uint64 // how often buf was taken
	busy   bool   // it was taken by somebody who writes it: nobody else may
	spare  []byte // to take its place
	rest   []byte // what a direct write left to the writer; busy is the writer's then
	closed error  // why it ended; nothing more is taken
	calls  calls  // that wait for their answer

	direct direct // belongs to who is busy

	wake  chan struct{}
	ended chan struct{}

	heard   atomic.Int64 // Unix ns of the last read
	pinged  int64        // Unix ns of the last ping; housekeep's
	found   uint64       // the batch that the last sweeps have found waiting, and how many of them; housekeep's
	sweeps  int
	writing atomic.Int64 // Unix ns of the start of the write under way; 0: none
}

func newSession(p *peer, l lane, c net.Conn, dialed bool) *session {
	s := &session{
		p: p, t: p.t, lane: l, dialed: dialed, conn: c, max: dataQueueMax,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if l == laneControl {
		s.max = controlQueueMax
	}
	s.direct.init(c)
	s.heard.Store(p.t.cfg.Now().UnixNano())
	return s
}

// run serves the session until it ends, and returns why. Everything that was lost with it was taken before run returns:
// what the caller then reports (Unreachable) comes after all of it.
func (s *session) run() error {
	stop := context.AfterFunc(s.p.ctx, func() { s.fail(ErrClosed) })
	defer stop()
	written := make(chan struct{})
	if !s.t.goDo(func() { defer close(written); s.write() }) {
		s.fail(ErrClosed)
		close(written)
	}
	s.fail(s.read())
	<-written
	return s.cause()
}

// fail ends the session for the given reason; the first counts. Calls that wait are answered.
func (s *session) fail(err error) {
	s.mu.Lock()
	first := s.closed == nil
	if first {
		s.closed = err
		close(s.ended)
	}
	batch := s.batch
	s.buf = nil
	s.mu.Unlock()
	if first {
		_ = s.conn.Close()
		s.calls.fail(s, batch)
	}
}

func (s *session) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// begin locks the session for appending to buf. It reports false, unlocked, if nothing can be taken.
func (s *session) begin() error {
	s.mu.Lock()
	if s.closed != nil {
		s.mu.Unlock()
		return ErrNotSent
	}
	if len(s.buf) >= s.max {
		s.mu.Unlock()
		return ErrOverloaded
	}
	return nil
}

// end unlocks after begin. before is the length of buf then.
func (s *session) end(before int) {
	s.mu.Unlock()
	if before == 0 {
		s.rouse()
	}
}

// rouse wakes the writer.
func (s *session) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ping says that this node is there.
func (s *session) ping() {
	if s.begin() != nil {
		return // a full queue says the same
	}
	s.buf = appendFrame(s.buf, kindPing, nil)
	s.mu.Unlock()
	s.flush()
}
