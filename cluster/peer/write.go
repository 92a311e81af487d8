package peer

import (
	"net"
	"runtime"
	"syscall"
)

// Two kinds of goroutines write to a connection: its writer, which waits until the connection takes everything, and those that
// never wait (flush): loops at the end of a pass, and the housekeeping. Who is busy owns the bytes that it took, and is alone in
// writing:
//
//	           take                              all written
//	idle ------------------> busy: a loop ----------------------> idle
//	  |                         | the connection took less, or it is much
//	  | take                    v
//	  +---------------> busy: the writer -----------------------> idle
//
// Whoever becomes idle wakes the writer for what has gathered meanwhile.
//
// A loop that wrote by waking the writer had two goroutines scheduled for each of its passes, often on a thread that had to be
// woken for it: a fifth of the processor time of three busy nodes was that, and half of that of three idle ones.

// directMax bounds what a loop writes by itself: the kernel copies it in about 10 us.
const directMax = 64 << 10

// direct writes to a connection without waiting, if that is a TCP connection with nothing in between.
type direct struct {
	raw   syscall.RawConn // nil: it cannot
	try   func(fd uintptr) bool
	bytes []byte
	n     int
}

// passesOn is a connection whose writes go to another one unchanged.
type passesOn interface{ WritesTo() net.Conn }

func (d *direct) init(c net.Conn) {
	d.try = d.write
	d.raw = socketBelow(c, func(c net.Conn) net.Conn {
		if x, ok := c.(passesOn); ok {
			return x.WritesTo()
		}
		return nil
	})
}

// socketBelow goes from one connection to the next, down to TCP; nil where next says that there is none.
func socketBelow(c net.Conn, next func(net.Conn) net.Conn) syscall.RawConn {
	for ; c != nil; c = next(c) {
		if tcp, ok := c.(*net.TCPConn); ok {
			raw, _ := tcp.SyscallConn() // fails where it is closed, as reads and writes will
			return raw
		}
	}
	return nil
}

// now writes what the connection takes of b at once. An error shows at the next ordinary write.
func (d *direct) now(b []byte) (n int) {
	d.bytes, d.n = b, 0
	_ = d.raw.Write(d.try)
	d.bytes = nil
	return d.n
}

// write is one attempt; true says that there is to be no other.
func (d *direct) write(fd uintptr) bool {
	if n, err := writeNow(fd, d.bytes); err == nil {
		d.n = n
	}
	return true
}

// flush sees to it that what gathered leaves, and writes it here and now where it can. It does not block.
func (s *session) flush() {
	if s.direct.raw == nil {
		s.rouse()
		return
	}
	b := s.take()
	if b == nil {
		return // nothing there, or somebody is busy and will see to it
	}
	n := 0
	if len(b) <= directMax {
		n = s.direct.now(b)
		c := &s.t.counters.lanes[s.lane]
		c.bytesOut.Add(uint64(n))
		c.writes.Add(1)
	}
	if n == len(b) {
		s.written(b)
		return
	}
	s.mu.Lock()
	s.rest = b[n:]
	s.mu.Unlock()
	s.rouse()
}

// take makes the caller busy with all that gathered. nil: there is nothing, or somebody else is busy.
func (s *session) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rest != nil || s.busy || len(s.buf) == 0 {
		return nil
	}
	b := s.buf
	s.buf, s.spare, s.busy = s.spare[:0], nil, true
	s.batch++
	return b
}

// written ends what take began, and keeps b's memory.
func (s *session) written(b []byte) {
	if cap(b) > keepBuffer {
		b = nil
	}
	s.mu.Lock()
	s.busy, s.spare = false, b
	more := len(s.buf) > 0
	s.mu.Unlock()
	if more {
		s.rouse()
	}
}

// write is the writer: it runs until the session ends.
func (s *session) write() {
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			return
		}
		// The goroutine that woke the writer runs it next, before those that are about to bring more. Letting them go first
		// turned 1.7 calls a write into 22 at 64 callers, and 4.5 us a call into 1.5; one caller alone pays nothing.
		runtime.Gosched()
		b := s.left()
		if b == nil {
			b = s.take()
		}
		if b == nil {
			continue
		}
		if err := s.writeAll(b); err != nil {
			s.fail(err)
			return
		}
		s.written(b)
	}
}

// left is what a loop has left to the writer.
func (s *session) left() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.rest
	s.rest = nil
	return b
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
