package peer

const (
	// takeMax is the largest request that Config.Take is offered: the reader of a connection works on it itself, and what
	// comes behind it, acknowledgements among it, waits. Parsing and counting 8 KiB takes about 30 us.
	takeMax = 8 << 10
	// takesMax bounds the calls of one chunk of bytes that are offered together; some hundred fit 64 KiB.
	takesMax = 256
)

// Incoming is a call of another node that is offered to Config.Take.
type Incoming struct {
	Caller
	Kind    uint8
	Request []byte // valid during the call of Take only
	Taken   bool   // set by Take: it sees to the answer
}

// Caller is whoever waits for the answer to a call that was taken. It may be copied and kept.
type Caller struct {
	to answerer
	id uint64
}

// answerer sends answers: a session, or a test.
type answerer interface {
	leave(id uint64, outcome byte, b []byte)
}

// Leave answers; b is not kept. Exactly one answer goes to each caller. It waits for the next Transport.Flush: loops answer
// many in a pass, and flush at its end. Within Config.Take it leaves when that returns. Leave does not block: where the connection is
// gone or its queue is full, the answer is dropped, and the caller is told that it does not know the outcome.
func (c Caller) Leave(b []byte) {
	if len(b)+callOverhead > maxFrame {
		c.to.leave(c.id, outcomeTooLarge, nil)
		return
	}
	c.to.leave(c.id, outcomeDone, b)
}

// CallerFunc is a Caller whose answer goes to f: for tests of what takes calls.
func CallerFunc(f func(answer []byte)) Caller { return Caller{to: answerFunc(f)} }

type answerFunc func([]byte)

func (f answerFunc) leave(_ uint64, _ byte, b []byte) { f(b) }

// offer gives the calls that gathered while a chunk was worked off to Config.Take, and what that leaves to the workers.
func (s *session) offer(in *inbox) {
	if len(in.calls) == 0 {
		return
	}
	s.t.cfg.Take(s.p.ID, in.calls)
	taken := 0
	for i := range in.calls {
		c := &in.calls[i]
		if c.Taken {
			taken++
		} else {
			s.serve(in, c.id, c.Kind, c.Request)
		}
	}
	s.t.counters.served.Add(uint64(taken))
	if s.p.left.Load() {
		s.p.flush()
	}
	clear(in.calls)
	in.calls = in.calls[:0]
}
