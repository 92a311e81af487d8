package ring

import (
	"iter"
	"math/bits"
	"slices"
)

// The window is what a model gets to see of a context: a head that is not in the log as it stands (what a compaction
// put in place, and messages that a policy has rewritten), then the messages of the log from LiveFrom on, without
// those that lost their tool call:
//
//	| summary | rewritten messages | LiveFrom .............. Last |
//	|<-- Head.Msgs --------------->|<-- log, minus Head.Holes --->|
//
// The functions here are pure: they read a View and a Window and return a new Window or a Plan. Windows and heads are
// immutable once they have been given to anybody.

// HeadMsg is a message of the head. JSON and Aux may refer to a page of the log, which they then keep in memory.
type HeadMsg struct {
	Seq    uint64 // 0: a replacement that a client sent; otherwise the seq of the message that was rewritten
	Tokens uint32
	Flags  uint16 // FlagSystem, FlagToolCall, FlagToolResult; the last two as ScanAux says
	JSON   []byte
	Aux    []byte // nil where the rule of aux.go wants none
}

// Head is what stands before the live part of a window. Immutable.
type Head struct {
	Msgs    []HeadMsg
	Tokens  uint64 // of all Msgs
	Summary int    // the first Summary of Msgs are the summary segment
	// What the summary stands for; 0 where Summary is 0.
	SummaryFrom, SummaryTo uint64
	// Live seqs that are left out, ascending, all after LiveFrom: tool results whose call was cut.
	Holes []uint64
	// A tool call has left the window some time, so that a result may arrive whose call is gone.
	CutCalls bool
}

// Window is a window over a View. The zero Window is the whole of an empty log.
type Window struct {
	Head     *Head  // nil: no head, no holes, no call was ever cut
	LiveFrom uint64 // first live seq; Last+1: none
	Used     uint64 // tokens of all messages of the window
}

// Count returns the number of messages in the window.
func Count[E any](v *View[E], w Window) int {
	s := newSpan(&v.Tail, w)
	return s.len() - len(s.holes)
}

// Messages walks the messages of the window in order. Those of the log come as HeadMsg, too; nothing is copied.
func Messages[E any](v *View[E], w Window) iter.Seq[HeadMsg] {
	s := newSpan(&v.Tail, w)
	return func(yield func(HeadMsg) bool) {
		for pos := range s.len() {
			if !s.hole(pos) && !yield(s.message(pos)) {
				return
			}
		}
	}
}

// Extend returns the window after the messages from seq from through v.Last were appended to the log; w is the window
// before. A tool result whose call was cut out of the window earlier does not enter it (a hole). For a writer that has
// committed and not yet published: take v from Log.Pending. O(log pages) unless a call was ever cut.
func Extend[E any](v *View[E], w Window, from uint64) Window {
	return extend(&v.Tail, w, from)
}

func extend(t *Tail, w Window, from uint64) Window {
	if w.LiveFrom == 0 {
		w.LiveFrom = from
	}
	if from > t.last {
		return w
	}
	w.Used += t.Cum(t.last) - t.Cum(from-1)
	if w.Head == nil || !w.Head.CutCalls || t.tool < from {
		return w
	}
	s := newSpan(t, w)
	first := s.pos(from)
	start, drops := s.orphans(keep{prefix: first, start: first, end: s.len()}, false)
	if start == first && len(drops) == 0 {
		return w
	}
	holes := slices.Clone(w.Head.Holes)
	for pos := first; pos < start; pos++ {
		w.Used -= uint64(s.tokens(pos))
		holes = append(holes, s.seq(pos))
	}
	for _, pos := range drops {
		w.Used -= uint64(s.tokens(pos))
		holes = append(holes, s.seq(pos))
	}
	head := *w.Head
	head.Holes = holes
	return WithHead(w, head)
}

// Orphan reports whether a new message with this aux, not yet in the log, holds a tool result whose call was cut out
// of the window before. Such a message is kept in the log and left out of the window. Extend asks the same question
// for messages that are in the log.
func Orphan[E any](v *View[E], w Window, aux []byte) bool {
	if w.Head == nil || !w.Head.CutCalls {
		return false
	}
	s := newSpan(&v.Tail, w)
	n := s.len()
	p := pairing{s: &s, older: lookback{pos: n, prefix: n}}
	return p.add(aux)
}

// Replace returns the window after a compaction that put msgs in place of all of w. The summary covers the seqs that
// it replaces, those of an earlier summary included.
func Replace[E any](v *View[E], w Window, msgs []HeadMsg) Window {
	s := newSpan(&v.Tail, w)
	_, calls := s.next(0, s.len(), FlagToolCall)
	head := Head{Msgs: msgs, Summary: len(msgs), CutCalls: calls || w.Head != nil && w.Head.CutCalls}
	for i := range msgs {
		head.Tokens += uint64(msgs[i].Tokens)
	}
	if len(msgs) > 0 {
		head.SummaryFrom, head.SummaryTo = ReplacedRange(v, w)
	}
	return WithHead(Window{LiveFrom: v.Tail.last + 1, Used: head.Tokens}, head)
}

// ReplacedRange returns the seqs that a compaction of w would replace, both inclusive; 0, 0 where there are none.
func ReplacedRange[E any](v *View[E], w Window) (from, to uint64) {
	s := newSpan(&v.Tail, w)
	from, to = s.from, s.last
	if w.Head != nil && w.Head.Summary > 0 {
		from = w.Head.SummaryFrom
	} else if len(s.head) > 0 {
		from = s.head[0].Seq
	}
	if from == 0 || from > to {
		return 0, 0
	}
	return from, to
}

// CutNewest returns the window of the newest limit messages of w, those of the head included, minus tool results whose
// call is thereby cut. w itself where it has no more than limit messages. A cut that drops no tool call costs
// O(log pages) and what it drops, and does not allocate where w has no head.
func CutNewest[E any](v *View[E], w Window, limit int) Window {
	return cutNewest(&v.Tail, w, limit)
}

func cutNewest(t *Tail, w Window, limit int) Window {
	s := newSpan(t, w)
	n := s.len()
	limit = max(limit, 0)
	if n-len(s.holes) <= limit {
		return w
	}
	start := n - limit
	for i := len(s.holes) - 1; i >= 0 && s.pos(s.holes[i]) >= start; i-- {
		start--
	}
	var head Head
	if w.Head != nil {
		head = *w.Head
	}
	var drops []int
	if _, calls := s.next(0, start, FlagToolCall); calls {
		head.CutCalls = true
		start, drops = s.orphans(keep{start: start, end: n}, true)
	}

	w.Used = s.sum(start, n)
	for _, pos := range drops {
		w.Used -= uint64(s.tokens(pos))
	}
	cut := min(start, len(s.head))
	for _, msg := range s.head[:cut] {
		head.Tokens -= uint64(msg.Tokens)
	}
	head.Msgs = s.head[cut:]
	if bits.Len(uint(len(head.Msgs))) < bits.Len(uint(len(s.head))) {
		head.Msgs = slices.Clone(head.Msgs) // half of the old slice is gone: let go of what it holds on to
	}
	head.Summary = max(head.Summary-cut, 0)
	w.LiveFrom = s.from + uint64(start-cut)
	head.Holes = s.holesFrom(w.LiveFrom)
	if len(drops) > 0 {
		s.drop(&head, cut, drops)
	}
	if head.Summary == 0 {
		head.SummaryFrom, head.SummaryTo = 0, 0
	}
	return WithHead(w, head)
}

// drop takes the messages at the positions drops out of head, whose Msgs start at position cut, and out of the live
// part.
func (s *span) drop(head *Head, cut int, drops []int) {
	head.Msgs = slices.Clone(head.Msgs)
	head.Holes = slices.Clone(head.Holes)
	for i := len(drops) - 1; i >= 0; i-- {
		pos := drops[i]
		if pos >= len(s.head) {
			head.Holes = append(head.Holes, s.seq(pos))
			continue
		}
		head.Tokens -= uint64(s.head[pos].Tokens)
		head.Msgs = slices.Delete(head.Msgs, pos-cut, pos-cut+1)
		if pos-cut < head.Summary {
			head.Summary--
		}
	}
	slices.Sort(head.Holes)
}

// WithHead returns w with head in place of its own. Windows have one form, so that equal windows of two replicas are
// equal whatever led to them: holes at the very start of the live part become its start, a head that says nothing is
// nil, and a head that equals the one that w has is that one.
func WithHead(w Window, head Head) Window {
	for len(head.Holes) > 0 && head.Holes[0] <= w.LiveFrom {
		if head.Holes[0] == w.LiveFrom {
			w.LiveFrom++
		}
		head.Holes = head.Holes[1:]
	}
	if len(head.Holes) == 0 {
		head.Holes = nil
	}
	if len(head.Msgs) == 0 {
		head.Msgs = nil
	}
	switch old := w.Head; {
	case head.Msgs == nil && head.Holes == nil && !head.CutCalls:
		w.Head = nil
	case old == nil || !same(&head, old):
		h := new(Head)
		*h = head
		w.Head = h
	}
	return w
}

func same(a, b *Head) bool {
	return a.Tokens == b.Tokens && a.Summary == b.Summary && a.SummaryFrom == b.SummaryFrom && a.SummaryTo == b.SummaryTo &&
		a.CutCalls == b.CutCalls && slices.Equal(a.Holes, b.Holes) &&
		len(a.Msgs) == len(b.Msgs) && (len(a.Msgs) == 0 || &a.Msgs[0] == &b.Msgs[0])
}
