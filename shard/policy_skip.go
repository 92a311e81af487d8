package shard

import (
	"slices"
	"strconv"

	"fastpaca/ring"
	"fastpaca/shard/jsonscan"
)

// cleanMark remembers, for skip_parts, that the head and the live messages through seq have no part left
// to remove under config. It only saves looking again: it is not part of the state, is not in snapshots,
// and the window comes out the same without it.
type cleanMark struct {
	config *Config
	seq    uint64
}

// through returns the seq up to which nothing needs looking at, 0 if everything does.
func (c cleanMark) through(config *Config) uint64 {
	if c.config != config {
		return 0
	}
	return c.seq
}

// skipParts returns w without the parts whose type begins with one of kinds, and without the messages that
// have no part left. Results of a removed call go with it, whatever their type is called. Messages through
// clean, and the head if clean is not 0, are known to have nothing to remove.
//
// A message that loses parts is rewritten and moves into the head, and with it everything before it, as
// references to the bytes in the log. So each message is looked at once, and moved at most once.
func (s *skipper) skipParts(v *ring.View[Ext], w ring.Window, kinds []string, clean uint64) ring.Window {
	var head ring.Head
	if w.Head != nil {
		head = *w.Head
	}
	s.kinds, s.cutCalls, s.calls, s.near = kinds, false, nil, false
	changed := false

	if clean == 0 {
		msgs := head.Msgs
		for i := range msgs {
			out, verdict := s.message(msgs[i])
			if verdict == untouched {
				if changed {
					head.Msgs = append(head.Msgs, out)
				}
				continue
			}
			if !changed {
				changed = true
				head.Msgs = append(make([]ring.HeadMsg, 0, len(msgs)), msgs[:i]...)
			}
			head.Tokens -= uint64(msgs[i].Tokens)
			w.Used -= uint64(msgs[i].Tokens)
			if verdict == gone {
				if i < w.Head.Summary {
					head.Summary--
				}
				continue
			}
			head.Msgs = append(head.Msgs, out)
			head.Tokens += uint64(out.Tokens)
			w.Used += uint64(out.Tokens)
		}
		if head.Summary == 0 {
			head.SummaryFrom, head.SummaryTo = 0, 0
		}
	}

	// moved is the first live message that is not in the head yet. Appending to head.Msgs may write behind
	// what readers of the published head see; nothing else is ever appended there.
	moved := w.LiveFrom
	holes := head.Holes
	for seq := max(w.LiveFrom, clean+1); seq <= v.Last; seq++ {
		if isHole(holes, seq) {
			continue
		}
		before := logMessage(v, seq)
		out, verdict := s.message(before)
		if verdict == untouched {
			continue
		}
		changed = true
		for ; moved < seq; moved++ {
			if !isHole(holes, moved) {
				m := logMessage(v, moved)
				head.Msgs = append(head.Msgs, m)
				head.Tokens += uint64(m.Tokens)
			}
		}
		moved = seq + 1
		w.Used -= uint64(before.Tokens)
		if verdict == rewritten {
			head.Msgs = append(head.Msgs, out)
			head.Tokens += uint64(out.Tokens)
			w.Used += uint64(out.Tokens)
		}
	}
	if !changed {
		return w
	}
	w.LiveFrom = moved
	head.CutCalls = head.CutCalls || s.cutCalls
	s.calls = nil
	return ring.WithHead(w, head)
}

func isHole(holes []uint64, seq uint64) bool {
	_, is := slices.BinarySearch(holes, seq)
	return is
}

// logMessage is a message of the log as one of the head, by reference.
func logMessage(v *ring.View[Ext], seq uint64) ring.HeadMsg {
	json, aux, m := v.Message(seq)
	return ring.HeadMsg{
		Seq: seq, Tokens: m.Tokens, JSON: json, Aux: aux,
		Flags: m.Flags & (ring.FlagSystem | ring.FlagToolCall | ring.FlagToolResult),
	}
}

type verdict uint8

const (
	untouched verdict = iota
	rewritten
	gone
)

// skipper looks at messages in the order of the window. A value can be used again; it keeps its scratch.
type skipper struct {
	kinds    []string
	cutCalls bool            // a call was removed
	calls    map[uint64]bool // ids of calls seen, true if removed; only once one was
	near     bool            // the nearest call before this message was removed

	parts []skipPart // scratch
	out   []ring.Part
}

type skipPart struct {
	from, to int // in the message's JSON
	aux      ring.Part
	cut      bool
}

// message returns what is left of msg. Where parts were removed, token_count becomes the sum of those of
// the parts that stay, as they were counted when the message was appended.
func (s *skipper) message(msg ring.HeadMsg) (ring.HeadMsg, verdict) {
	partsFrom, partsTo, tokensFrom, tokensTo, ok := s.scan(msg.JSON)
	if !ok {
		return msg, untouched
	}
	aux := ring.ReadAux(msg.Aux)
	left := len(s.parts)
	for i := range s.parts {
		p := &s.parts[i]
		p.aux, _ = aux.Next()
		if p.aux.Kind == ring.PartCall {
			s.call(p)
		}
		if p.cut {
			left--
		}
	}
	left -= s.results()
	switch left {
	case len(s.parts):
		return msg, untouched
	case 0:
		return msg, gone
	}

	s.out = s.out[:0]
	tokens, tools := uint64(0), false
	json := append(make([]byte, 0, len(msg.JSON)), msg.JSON[:partsFrom]...)
	json = append(json, '[')
	for i := range s.parts {
		p := &s.parts[i]
		if p.cut {
			continue
		}
		if len(s.out) > 0 {
			json = append(json, ',')
		}
		json = append(json, msg.JSON[p.from:p.to]...)
		s.out = append(s.out, p.aux)
		tokens += uint64(p.aux.Tokens)
		tools = tools || p.aux.Kind != ring.PartOther
	}
	tokens = min(tokens, 1<<32-1)
	json = append(json, ']')
	json = append(json, msg.JSON[partsTo:tokensFrom]...)
	json = strconv.AppendUint(json, tokens, 10)
	json = append(json, msg.JSON[tokensTo:]...)

	out := ring.HeadMsg{Seq: msg.Seq, Tokens: uint32(tokens), Flags: msg.Flags & ring.FlagSystem, JSON: json}
	if len(s.out) > 1 || tools {
		out.Aux = ring.AppendAux(nil, s.out)
		_, flags, _ := ring.ScanAux(out.Aux)
		out.Flags |= flags
	}
	return out, rewritten
}

// call notes what becomes of a call part.
func (s *skipper) call(p *skipPart) {
	if p.cut && s.calls == nil {
		s.calls = map[uint64]bool{} // looked up, never iterated
	}
	s.cutCalls = s.cutCalls || p.cut
	if s.calls != nil && p.aux.ID != 0 {
		s.calls[p.aux.ID] = p.cut
	}
}

// results removes the results of removed calls and returns how many.
func (s *skipper) results() (n int) {
	if s.calls == nil {
		return 0
	}
	near := s.near
	for i := range s.parts {
		p := &s.parts[i]
		switch p.aux.Kind {
		case ring.PartCall:
			near = p.cut
		case ring.PartResult:
			lost := near
			if p.aux.ID != 0 {
				lost = s.calls[p.aux.ID]
			}
			if lost && !p.cut {
				p.cut = true
				n++
			}
		}
	}
	s.near = near
	return n
}

// scan finds the parts of a stored message and the values of "parts" and "token_count". It returns false
// where they are not what httpd lets through; such a message stays as it is.
func (s *skipper) scan(b []byte) (partsFrom, partsTo, tokensFrom, tokensTo int, ok bool) {
	s.parts = s.parts[:0]
	m := jsonscan.Object(b, 0)
	for m.Next() {
		switch {
		case jsonscan.Equal(m.Key(), "parts"):
			s.parts = s.parts[:0]
			partsFrom = m.Start()
			parts := m.Array()
			for parts.Next() {
				part := parts.Object()
				cut := false
				for part.Next() {
					if jsonscan.Equal(part.Key(), "type") {
						cut = s.skips(part.Value())
					}
				}
				parts.LeaveObject(&part)
				from := parts.Start()
				s.parts = append(s.parts, skipPart{from: from, to: from + len(parts.Value()), cut: cut})
			}
			m.LeaveArray(&parts)
			partsTo = partsFrom + len(m.Value())
		case jsonscan.Equal(m.Key(), "token_count"):
			tokensFrom = m.Start()
			tokensTo = tokensFrom + len(m.Value())
		}
	}
	_, err := m.End()
	return partsFrom, partsTo, tokensFrom, tokensTo, err == nil && len(s.parts) > 0 && partsTo <= tokensFrom
}

func (s *skipper) skips(kind []byte) bool {
	for _, prefix := range s.kinds {
		if jsonscan.HasPrefix(kind, prefix) {
			return true
		}
	}
	return false
}
