package peer

import (
	"context"
	"errors"
	"net"
	"runtime"
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
// waits for a timer. Ownership of the bytes is the mutex's, then the writer's.
type session struct {
	p      *peer
	t      *Transport
	lane   lane
	dialed bool // by this node: it sends messages and calls, and gets answers
	conn   net.Conn
	max    int // of len(buf)

	mu     sync.Mutex
	buf    []byte // frames that wait for the writer
	batch  uint64 // how often the writer has taken buf
	closed error  // why it ended; nothing more is taken
	calls  calls  // that wait for their answer

	wake  chan struct{}
	ended chan struct{}

	heard   atomic.Int64 // Unix ns of the last read
	pinged  int64        // Unix ns of the last ping; housekeep's
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
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// write is the writer: it runs until the session ends.
func (s *session) write() {
	var spare []byte
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			return
		}
		// The goroutine that woke the writer runs it next, before those that are about to bring more. Letting them go first
		// turned 1.7 calls a write into 22 at 64 callers, and 4.5 us a call into 1.5; one caller alone pays nothing.
		runtime.Gosched()
		s.mu.Lock()
		batch := s.buf
		s.buf = spare[:0]
		s.batch++
		s.mu.Unlock()
		if err := s.writeAll(batch); err != nil {
			s.fail(err)
			return
		}
		if spare = batch; cap(spare) > keepBuffer {
			spare = nil
		}
	}
}

func (s *session) writeAll(b []byte) error {
	c := &s.t.counters.lanes[s.lane]
	for len(b) > 0 {
		piece := b[:min(len(b), writePiece)]
		s.writing.Store(s.t.cfg.Now().UnixNano())
		n, err := s.conn.Write(piece)
		s.writing.Store(0)
		c.bytesOut.Add(uint64(n))
		c.writes.Add(1)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// ping says that this node is there.
func (s *session) ping() {
	if s.begin() != nil {
		return // a full queue says the same
	}
	before := len(s.buf)
	s.buf = appendFrame(s.buf, kindPing, nil)
	s.end(before)
}
