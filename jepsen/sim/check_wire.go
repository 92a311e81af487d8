package sim

import (
	"fmt"

	"fastpaca/raft"
)

// Checks on what nodes say. They see a violation when it is spoken, long before it is applied.

// spoken is the entry at one index as a leader of some term sent it.
type spoken struct {
	prevTerm uint64
	hash     uint64
}

type position struct{ index, term uint64 }

// wireChecks is what one group's leaders have said. Maps are looked up, never walked.
type wireChecks struct {
	leaders map[uint64]uint64 // term -> who leads it
	maxTerm uint64
	entries map[position]spoken
	conf    raft.Conf // the newest that a leader sent to anybody
}

func newWireChecks() *wireChecks {
	return &wireChecks{leaders: map[uint64]uint64{}, entries: map[position]spoken{}}
}

// leads notes that id says it leads term; first says that it had not said so before.
func (c *wireChecks) leads(group uint32, id, term uint64) (first bool, err error) {
	if who, ok := c.leaders[term]; ok && who != id {
		return false, fmt.Errorf("group %d: both %d and %d lead term %d", group, who, id, term)
	} else if !ok {
		first = true
		c.leaders[term] = id
	}
	c.maxTerm = max(c.maxTerm, term)
	return first, nil
}

// message checks what a node is about to send.
func (w *World) checkMessage(m *raft.Message) error {
	g := w.group(m.Group)
	switch m.Type {
	case raft.MsgAppend, raft.MsgHeartbeat, raft.MsgSnapshot:
		first, err := g.wire.leads(m.Group, m.From, m.Term)
		if err != nil {
			return err
		}
		if first {
			w.count.Elections++
			w.delicate(m.From, true)
			w.atOnce(m.From, m.Group)
		}
	case raft.MsgVoteResp:
		if !m.Reject {
			w.delicate(m.From, false)
		}
	}
	if m.Type != raft.MsgAppend {
		return nil
	}
	prev := m.LogTerm
	for i := range m.Entries {
		e := &m.Entries[i]
		at, now := position{e.Index, e.Term}, spoken{prev, hashEntry(e)}
		// Log matching (paper 5.3): what has the same index and term is the same, and so is what precedes it.
		if old, ok := g.wire.entries[at]; !ok {
			g.wire.entries[at] = now
			if c, err := raft.DecodeConf(e.Data); e.Kind == raft.KindConf && err == nil {
				g.wire.conf = c
			}
		} else if old != now {
			return fmt.Errorf("log matching: group %d: leader %d of term %d sends another entry %d of term %d than was sent before", m.Group, m.From, m.Term, e.Index, e.Term)
		}
		// Leader completeness (paper 5.4): leaders of later terms have what was committed.
		if k := e.Index; k <= uint64(len(g.entries)) {
			if d := &g.entries[k-1]; m.Term > d.maxTerm && (d.term != e.Term || d.hash != now.hash) {
				return fmt.Errorf("leader completeness: group %d: leader %d of term %d has entry %d of term %d, committed is term %d",
					m.Group, m.From, m.Term, k, e.Term, d.term)
			}
		}
		prev = e.Term
	}
	return nil
}

func hashEntry(e *raft.Entry) uint64 {
	return uint64(digest(e.Kind).add(e.Data))
}
