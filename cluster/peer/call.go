package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Calls travel on the data lane, as many at a time as one likes, told apart by a number that the caller picks:
//
//	call    | id v | kind u8 | request ... |
//	answer  | id v | outcome u8 | answer ... |
//
// An id is the number of a slot and the slot's generation: an answer that comes after its call has timed out finds the slot
// in another generation, and is dropped.
const (
	outcomeDone       = 0 // the answer follows
	outcomeOverloaded = 1 // not carried out: too many at a time
	outcomeTooLarge   = 2 // carried out, but the answer does not fit a frame

	// callsMax bounds the calls that wait on one connection. It is as many as a node lets clients in by default
	// (FASTPACA_MAX_CONNECTIONS), each of which has one request under way.
	callsMax = 1 << 14
	slotBits = 14
	// callOverhead is what a call or answer adds to a frame's body at most.
	callOverhead = 16
)

var errAnswer = errors.New("peer: not an answer")

// slot is one call that waits. Whoever takes it out of the waiting (answer, sweep, loss of the connection; under the
// session's mu) owns it until it has sent on done; then it is the caller's again. The caller waits for nothing else: there
// is no moment at which two parties believe that they own dst.
type slot struct {
	id       uint64
	waiting  bool
	batch    uint64 // the session's batch that holds the request
	deadline int64  // Unix ns
	dst      []byte
	err      error
	done     chan struct{}
}

// calls are the slots of a session. All but the contents of a slot that is owned is under the session's mu.
type calls struct {
	slots []*slot
	free  []*slot
}

// take returns a slot, or nil past callsMax.
func (c *calls) take() *slot {
	if n := len(c.free); n > 0 {
		x := c.free[n-1]
		c.free = c.free[:n-1]
		return x
	}
	if len(c.slots) == callsMax {
		return nil
	}
	x := &slot{id: uint64(len(c.slots)), done: make(chan struct{}, 1)}
	c.slots = append(c.slots, x)
	return x
}

func (c *calls) put(x *slot) {
	x.id += 1 << slotBits // the next generation
	x.dst, x.err = nil, nil
	c.free = append(c.free, x)
}

// claim takes the slot of an answer out of the waiting; nil if nobody waits for it any more.
func (c *calls) claim(id uint64) *slot {
	i := id & (1<<slotBits - 1)
	if i >= uint64(len(c.slots)) {
		return nil
	}
	x := c.slots[i]
	if x.id != id || !x.waiting {
		return nil
	}
	x.waiting = false
	return x
}

// finish gives a claimed slot back to its caller.
func (x *slot) finish(err error) {
	x.err = err
	x.done <- struct{}{}
}

// fail answers all calls of a session that has ended. What was still in the buffer when it did, batch, was surely not sent.
func (c *calls) fail(s *session, batch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range c.slots {
		if x.waiting {
			x.waiting = false
			if x.batch == batch {
				x.finish(ErrNotSent)
			} else {
				x.finish(ErrUnknown)
			}
		}
	}
}

// sweep answers the calls whose time is up.
func (c *calls) sweep(s *session, now int64) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range c.slots {
		if x.waiting && x.deadline <= now {
			x.waiting = false
			x.finish(ErrTimeout)
			n++
		}
	}
	return n
}

// Call sends req, of the given kind, to node to, waits for its answer and appends that to dst. kind is Serve's to
// interpret. timeout is kept to within a tick of the sweep (50 ms). After an error dst is returned as it was: ErrNotSent and
// what wraps it where the request surely was not carried out, ErrUnknown or ErrTimeout where it may have been.
func (t *Transport) Call(to uint64, kind uint8, req, dst []byte, timeout time.Duration) ([]byte, error) {
	t.counters.calls.Add(1)
	p := t.view.Load().find(to)
	if p == nil {
		t.counters.callsNotSent.Add(1)
		return dst, ErrNotSent
	}
	s := p.shared()
	if s == nil {
		t.counters.callsNotSent.Add(1)
		return dst, ErrNotSent
	}
	x, err := s.call(kind, req, dst, t.cfg.Now().Add(timeout).UnixNano())
	if err != nil {
		t.counters.callsNotSent.Add(1)
		return dst, err
	}
	<-x.done
	answer, err := x.dst, x.err
	s.mu.Lock()
	s.calls.put(x)
	s.mu.Unlock()
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, ErrNotSent):
		t.counters.callsNotSent.Add(1)
	case errors.Is(err, ErrTimeout):
		t.counters.callsTimeout.Add(1)
	default:
		t.counters.callsUnknown.Add(1)
	}
	return dst, err
}

// call puts the request into the buffer and a slot into the waiting.
func (s *session) call(kind uint8, req, dst []byte, deadline int64) (*slot, error) {
	if len(req)+callOverhead > maxFrame {
		return nil, ErrTooLarge
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	x := s.calls.take()
	if x == nil {
		s.mu.Unlock()
		return nil, ErrOverloaded
	}
	x.waiting, x.batch, x.deadline, x.dst = true, s.batch, deadline, dst
	before := len(s.buf)
	b := beginFrame(s.buf, kindCall)
	b = binary.AppendUvarint(b, x.id)
	b = append(b, kind)
	b = append(b, req...)
	s.buf = endFrame(b, before)
	s.end(before)
	return x, nil
}

// answered handles an answer.
func (s *session) answered(body []byte) error {
	d := decoder{b: body}
	id, outcome := d.uvarint(), d.byte()
	if d.bad {
		return errAnswer
	}
	s.mu.Lock()
	x := s.calls.claim(id)
	s.mu.Unlock()
	if x == nil {
		s.t.counters.lateAnswers.Add(1)
		return nil
	}
	switch outcome {
	case outcomeDone:
		x.dst = append(x.dst, d.b...)
		x.finish(nil)
	case outcomeOverloaded:
		x.finish(ErrOverloaded)
	case outcomeTooLarge:
		x.finish(fmt.Errorf("%w: the answer is too large for a frame", ErrUnknown))
	default:
		x.finish(ErrUnknown)
		return errAnswer
	}
	return nil
}
