package shard

import (
	"sync"

	"fastpaca/raft"
	"fastpaca/wal"
)

// mailboxMax bounds the requests that wait for one loop. A connection has one request under way at a
// time, so the bound is met only by a loop that has stopped; past it the client gets a 503 at once.
const mailboxMax = 1 << 16

// messagesMax and messageBytesMax bound what other nodes have sent and the loop has not yet looked at. A pass takes all of
// it, so that this is met only by a loop that stands still for a good part of a second. What comes on top is dropped:
// raft sends it again.
const (
	messagesMax     = 1 << 15
	messageBytesMax = 32 << 20
)

// messageCost is what a message takes in the mailbox besides its entries.
const messageCost = 160

// ticksMax caps the ticks that a loop catches up with after a pause. More would only burn the time that
// the pause has already cost (ANCHORS B.28).
const ticksMax = 3

// mail is what a loop takes out of its mailbox in one go.
type mail struct {
	requests []*Request
	durable  []*wal.Batch
	reads    []*readWait
	messages []raft.Message
	entries  []raft.Entry // of messages
	control  []func()
	ticks    int

	messageBytes int
}

func (m *mail) empty() bool {
	return len(m.requests) == 0 && len(m.durable) == 0 && len(m.messages) == 0 && len(m.reads) == 0 && len(m.control) == 0 && m.ticks == 0
}

// reset forgets the mail but keeps its slices. Pointers are cleared so that a quiet loop does not keep
// the last burst's requests alive.
func (m *mail) reset() {
	clear(m.requests)
	clear(m.durable)
	clear(m.control)
	clear(m.reads)
	clear(m.messages)
	clear(m.entries)
	m.requests, m.durable, m.control, m.ticks = m.requests[:0], m.durable[:0], m.control[:0], 0
	m.reads, m.messages, m.entries, m.messageBytes = m.reads[:0], m.messages[:0], m.entries[:0], 0
}

// mailbox hands work to one loop: a mutex and two sets of slices that swap. Measured at 21 ns an
// operation with four producers, against 41 ns for a lock-free queue and 45 ns for a channel
// (ANCHORS D.3). The loop is woken only when the mailbox turns from empty to not empty.
type mailbox struct {
	mu     sync.Mutex
	in     mail
	closed bool
	wake   chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// request leaves r for the loop. The answer is OK, or the code to give the client instead. first means that the
// mailbox was empty: the caller must see to it that the loop passes (signal, or a pass of its own).
func (b *mailbox) request(r *Request) (code Code, first bool) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return CodeShuttingDown, false
	}
	if len(b.in.requests) >= mailboxMax {
		b.mu.Unlock()
		return CodeOverloaded, false
	}
	first = b.in.empty()
	b.in.requests = append(b.in.requests, r)
	b.mu.Unlock()
	return CodeOK, first
}

// read leaves a waiter for the loop. The answer is as for request.
func (b *mailbox) read(w *readWait) (code Code) {
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return CodeShuttingDown
	case len(b.in.reads) >= mailboxMax:
		b.mu.Unlock()
		return CodeOverloaded
	}
	first := b.in.empty()
	b.in.reads = append(b.in.reads, w)
	b.mu.Unlock()
	if first {
		b.signal()
	}
	return CodeOK
}

// deliver leaves those messages for which mine is true, and returns how many of them found no room.
func (b *mailbox) deliver(msgs []raft.Message, mine func(*raft.Message) bool) (dropped int) {
	b.mu.Lock()
	first := b.in.empty()
	for i := range msgs {
		m := &msgs[i]
		if !mine(m) {
			continue
		}
		size := messageCost
		for j := range m.Entries {
			size += len(m.Entries[j].Data) + messageCost/4
		}
		if len(b.in.messages) >= messagesMax || b.in.messageBytes+size > messageBytesMax {
			dropped++
			continue
		}
		b.in.messageBytes += size
		b.in.messages = append(b.in.messages, *m)
		if len(m.Entries) > 0 {
			from := len(b.in.entries)
			b.in.entries = append(b.in.entries, m.Entries...)
			b.in.messages[len(b.in.messages)-1].Entries = b.in.entries[from:len(b.in.entries):len(b.in.entries)]
		}
	}
	first = first && !b.in.empty()
	b.mu.Unlock()
	if first {
		b.signal()
	}
	return dropped
}

// durable tells the loop that batch is on disk. It is taken even after close: what was submitted must
// be answered. first is as for request.
func (b *mailbox) durable(batch *wal.Batch) (first bool) {
	b.mu.Lock()
	first = b.in.empty()
	b.in.durable = append(b.in.durable, batch)
	b.mu.Unlock()
	return first
}

// do runs f on the loop.
func (b *mailbox) do(f func()) {
	b.mu.Lock()
	first := b.in.empty()
	b.in.control = append(b.in.control, f)
	b.mu.Unlock()
	if first {
		b.signal()
	}
}

// tick adds a tick, up to ticksMax that wait.
func (b *mailbox) tick() {
	b.mu.Lock()
	first := b.in.empty()
	if b.in.ticks < ticksMax {
		b.in.ticks++
	}
	b.mu.Unlock()
	if first {
		b.signal()
	}
}

// close refuses further requests. What waits is still delivered.
func (b *mailbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
}

// waits says whether there is mail.
func (b *mailbox) waits() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.in.empty()
}

func (b *mailbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take swaps the waiting mail with out, which must be reset. It does not block.
func (b *mailbox) take(out *mail) {
	b.mu.Lock()
	b.in, *out = *out, b.in
	b.mu.Unlock()
}
