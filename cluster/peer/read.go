package peer

import (
	"errors"
	"fmt"

	"fastpaca/raft"
)

const (
	// readChunk is how much one read takes at most of an ordinary stream of small frames.
	readChunk = 64 << 10
	// readRoom is the least room worth a read. Below it what is incomplete moves to another buffer.
	readRoom = 4 << 10
	// keepMessages is how many decoded messages of a chunk keep their memory for the next.
	keepMessages = 4096
)

var (
	errKind           = errors.New("peer: frame of a kind that does not belong on this lane")
	errSnapshotInline = errors.New("peer: a snapshot's message without its file: it belongs on the bulk lane")
)

// inbox is a buffer that frames are read into, and decoded from in place.
//
//	0           r             w               len(buf)
//	| handled   | incomplete  | free          |
//
// What was handed over (entries' data, large requests) belongs to the receiver for ever: once pinned, bytes before r never
// change again, and the buffer is replaced when it is used up. Otherwise it is used again from its start.
type inbox struct {
	buf    []byte
	r, w   int
	pinned bool

	calls []Incoming // of the chunk being worked off, which Config.Take is to be offered
}

// room makes room for at least need bytes from r on (what the incomplete frame takes), growing by what has arrived and not by
// what a length claims.
func (b *inbox) room(need int) {
	have := b.w - b.r
	size := readChunk
	if need > readChunk {
		size = min(need, max(2*have, readChunk))
	}
	switch {
	case len(b.buf)-b.r >= min(need, size) && (len(b.buf)-b.w >= readRoom || b.r == 0 && b.w < len(b.buf)):
		return
	case !b.pinned && len(b.buf) >= size && (len(b.buf) <= readChunk || need > readChunk):
		copy(b.buf, b.buf[b.r:b.w])
	default:
		next := make([]byte, size)
		copy(next, b.buf[b.r:b.w])
		b.buf, b.pinned = next, false
	}
	b.r, b.w = 0, have
}

// read is the reader: it runs until the connection ends, and returns why.
func (s *session) read() error {
	var in inbox
	var msgs []raft.Message
	c := &s.t.counters.lanes[s.lane]
	need := frameHeader
	var from source
	from.init(s.conn)
	for {
		in.room(need)
		n, err := from.Read(in.buf[in.w:])
		if n > 0 {
			now := s.t.cfg.Now().UnixNano()
			s.heard.Store(now)
			s.p.heard.Store(now)
			c.bytesIn.Add(uint64(n))
			c.reads.Add(1)
			in.w += n
			var ferr error
			msgs, need, ferr = s.frames(&in, msgs)
			s.offer(&in)
			msgs = s.deliver(msgs)
			if ferr != nil {
				s.t.refused(s.conn, s.p.hello(), ReasonProtocol, ferr)
				return ferr
			}
		}
		if err != nil {
			return err
		}
	}
}

// frames handles all complete frames. need is how many bytes the next one takes, as far as is known.
func (s *session) frames(in *inbox, msgs []raft.Message) ([]raft.Message, int, error) {
	for {
		kind, body, n, need, err := parseFrame(in.buf[in.r:in.w], maxFrame)
		if err != nil || n == 0 {
			return msgs, need, err
		}
		in.r += n
		if msgs, err = s.frame(in, kind, body, msgs); err != nil {
			return msgs, 0, err
		}
	}
}

func (s *session) frame(in *inbox, kind byte, body []byte, msgs []raft.Message) ([]raft.Message, error) {
	switch {
	case kind == kindPing:
		return msgs, nil
	case kind == kindMessages && (!s.dialed || s.lane == laneData):
		before := len(msgs)
		msgs, err := DecodeMessages(body, s.p.ID, s.t.view.Load().self.ID, msgs)
		for i := before; i < len(msgs); i++ {
			in.pinned = in.pinned || len(msgs[i].Entries) > 0
			if msgs[i].Snapshot != nil {
				return msgs[:i], errSnapshotInline
			}
		}
		return msgs, err
	case kind == kindCall && s.lane == laneData:
		return msgs, s.called(in, body)
	case kind == kindAnswer && s.lane == laneData:
		return msgs, s.answered(body)
	}
	return msgs, fmt.Errorf("%w: %d on %s", errKind, kind, s.lane)
}

// deliver hands all messages of a chunk over at once and empties the slice for the next.
func (s *session) deliver(msgs []raft.Message) []raft.Message {
	if len(msgs) == 0 {
		return msgs
	}
	s.t.counters.lanes[s.lane].messagesIn.Add(uint64(len(msgs)))
	s.t.view.Load().node.Deliver(s.p.ID, msgs)
	for i := range msgs {
		clear(msgs[i].Entries) // references that would keep buffers alive
	}
	if cap(msgs) > keepMessages {
		return nil
	}
	return msgs[:0]
}
