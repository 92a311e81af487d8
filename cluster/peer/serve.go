package peer

import (
	"encoding/binary"
	"sync"
)

const (
	// serveMax bounds the calls that are served at once, each on a goroutine. A call waits for its shard's commit, so that
	// they are as many as the writes under way that came through other nodes.
	serveMax = 8192
	// serveKeep is how many idle goroutines stay for the next calls, with their stacks and buffers grown.
	serveKeep = 256
	// keepRequest is the largest request that is copied, and the largest buffer a worker keeps. Longer ones stay where they
	// were read: the reader then leaves that buffer alone.
	keepRequest = 64 << 10
)

// pool runs Serve on goroutines that are used again, the latest first, while its stack is in the cache.
type pool struct {
	t *Transport

	mu      sync.Mutex
	idle    []*worker
	running int
	closed  bool
}

type worker struct {
	pool *pool
	next chan bool // false: end

	session *session
	id      uint64
	kind    uint8
	req     []byte
	own     []byte // req's memory if it was copied
	answer  []byte
}

// worker returns one that waits for work, or nil past serveMax.
func (p *pool) worker() *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return w
	}
	if p.running >= serveMax {
		return nil
	}
	w := &worker{pool: p, next: make(chan bool, 1)}
	if !p.t.goDo(w.run) {
		return nil
	}
	p.running++
	return w
}

// park puts w back among the idle. It reports false if w is to end.
func (p *pool) park(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= serveKeep {
		p.running--
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.idle {
		w.next <- false
	}
	p.idle = nil
}

// called handles a call: what may be taken at once gathers until the chunk's end, the rest is a worker's.
func (s *session) called(in *inbox, body []byte) error {
	d := decoder{b: body}
	id, kind := d.uvarint(), d.byte()
	if d.bad {
		return errAnswer
	}
	if s.t.cfg.Take == nil || len(d.b) > takeMax {
		s.serve(in, id, kind, d.b)
		return nil
	}
	in.calls = append(in.calls, Incoming{Caller: Caller{to: s, id: id}, Kind: kind, Request: d.b})
	if len(in.calls) == takesMax {
		s.offer(in)
	}
	return nil
}

// serve gives a call to a worker, or refuses it.
func (s *session) serve(in *inbox, id uint64, kind uint8, req []byte) {
	w := s.t.pool.worker()
	if w == nil {
		s.t.counters.serveOverloaded.Add(1)
		s.answer(id, outcomeOverloaded, nil)
		return
	}
	w.session, w.id, w.kind = s, id, kind
	if len(req) <= keepRequest {
		w.own = append(w.own[:0], req...)
		w.req = w.own
	} else {
		w.req, in.pinned = req, true
	}
	w.next <- true
}

func (w *worker) run() {
	for <-w.next {
		s := w.session
		s.t.counters.served.Add(1)
		w.answer = s.t.cfg.Serve(s.p.ID, w.kind, w.req, w.answer[:0])
		if len(w.answer)+callOverhead > maxFrame {
			s.answer(w.id, outcomeTooLarge, nil)
		} else {
			s.answer(w.id, outcomeDone, w.answer)
		}
		w.session, w.req = nil, nil
		if cap(w.answer) > keepRequest {
			w.answer = nil
		}
		if !w.pool.park(w) {
			return
		}
	}
}

// answer sends an answer. If the queue is full it is dropped, and the caller's time runs out.
func (s *session) answer(id uint64, outcome byte, b []byte) {
	if before, ok := s.put(id, outcome, b); ok {
		s.end(before)
	}
}

// leave is answer, but the answer waits for the next flush of the peer.
func (s *session) leave(id uint64, outcome byte, b []byte) {
	if _, ok := s.put(id, outcome, b); ok {
		s.mu.Unlock()
		if !s.p.left.Load() {
			s.p.left.Store(true)
		}
	}
}

// put encodes an answer into the buffer, if it can be taken; end, or unlocking, is the caller's then.
func (s *session) put(id uint64, outcome byte, b []byte) (before int, ok bool) {
	if s.begin() != nil {
		s.t.counters.answersDropped.Add(1)
		return 0, false
	}
	before = len(s.buf)
	f := beginFrame(s.buf, kindAnswer)
	f = binary.AppendUvarint(f, id)
	f = append(f, outcome)
	f = append(f, b...)
	s.buf = endFrame(f, before)
	return before, true
}
