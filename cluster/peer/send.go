package peer

import "fastpaca/raft"

// frameSoftMax is when a frame of messages is closed and another begun: the receiver's memory comes in such pieces.
const frameSoftMax = 256 << 10

// laneOf says what must not wait behind appends: whatever an election depends on. A snapshot's message goes with its
// file (SendSnapshot), and never by itself.
func laneOf(m *raft.Message) lane {
	switch m.Type {
	case raft.MsgAppend, raft.MsgAppendResp:
		return laneData
	case raft.MsgSnapshot:
		return laneBulk
	}
	return laneControl
}

// canWait: the message says that its sender lives, and nothing that anybody waits for. It leaves with what is sent on its lane next,
// as a rule this node's own heartbeats, and after answerSweeps sweeps at the latest. The echo of a read round leaves at once.
func canWait(m *raft.Message) bool {
	return m.Type == raft.MsgHeartbeatResp && m.Round == 0 && !m.Damaged
}

// Flush sends the answers that Caller.Leave has left. It does not block.
func (t *Transport) Flush() {
	for _, p := range t.view.Load().peers {
		if p.left.Load() {
			p.flush()
		}
	}
}

// flush sends what was left on either data connection.
func (p *peer) flush() {
	p.left.Store(false)
	for _, s := range [...]*session{p.data.session.Load(), p.inData.Load()} {
		if s != nil {
			s.flush()
		}
	}
}

// Send sends what can be sent and drops the rest: what has no connection, or no room in its queue. msgs and their Entries
// slices are used during the call only. It does not block. All messages of one call to one node travel in one frame per lane.
func (t *Transport) Send(msgs []raft.Message) {
	sent := 0
	for _, p := range t.view.Load().peers {
		sent += p.send(msgs, laneControl, p.control.session.Load())
		sent += p.send(msgs, laneData, p.shared())
		if sent == len(msgs) {
			return
		}
	}
	t.counters.nowhere.Add(uint64(len(msgs) - sent)) // for nodes that are no peers (any more), and snapshots
}

// send takes care of the messages to p on lane l, and returns how many these are.
func (p *peer) send(msgs []raft.Message, l lane, s *session) (n int) {
	first := -1
	for i := range msgs {
		if msgs[i].To == p.ID && laneOf(&msgs[i]) == l {
			if first < 0 {
				first = i
			}
			n++
		}
	}
	if n == 0 {
		return 0
	}
	c := &p.t.counters.lanes[l]
	if s == nil || s.begin() != nil {
		c.dropped.Add(uint64(n))
		return n
	}
	at, wait := len(s.buf), true
	b := beginFrame(s.buf, kindMessages)
	for i := first; i < len(msgs); i++ {
		m := &msgs[i]
		if m.To != p.ID || laneOf(m) != l {
			continue
		}
		if len(b)-at > frameSoftMax {
			b = endFrame(b, at)
			at = len(b)
			b = beginFrame(b, kindMessages)
		}
		b = appendMessage(b, m)
		wait = wait && canWait(m)
	}
	s.buf = endFrame(b, at)
	s.mu.Unlock()
	if !wait {
		s.flush()
	}
	c.messagesOut.Add(uint64(n))
	return n
}
