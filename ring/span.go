package ring

import "slices"

// span numbers the messages of a window: positions 0 to len(head)-1 are the head, the rest is the log from seq from on.
// Holes have a position, too.
type span struct {
	t     Tail
	head  []HeadMsg
	holes []uint64 // ascending, all in [from, last]
	from  uint64   // seq of position len(head)
	last  uint64
}

func newSpan(t *Tail, w Window) span {
	s := span{t: *t, from: min(max(w.LiveFrom, t.first()), t.last+1), last: t.last}
	if w.Head != nil {
		s.head, s.holes = w.Head.Msgs, w.Head.Holes
		s.holes = s.holesFrom(s.from)
		to, _ := slices.BinarySearch(s.holes, s.last+1)
		s.holes = s.holes[:to]
	}
	return s
}

// len returns the number of positions, holes included.
func (s *span) len() int { return len(s.head) + int(s.last+1-s.from) }

// seq returns the seq at a position of the log.
func (s *span) seq(pos int) uint64 { return s.from + uint64(pos-len(s.head)) }

// pos returns the position of a live seq.
func (s *span) pos(seq uint64) int { return len(s.head) + int(seq-s.from) }

func (s *span) holesFrom(seq uint64) []uint64 {
	i, _ := slices.BinarySearch(s.holes, seq)
	return s.holes[i:]
}

func (s *span) hole(pos int) bool {
	if len(s.holes) == 0 || pos < len(s.head) {
		return false
	}
	_, is := slices.BinarySearch(s.holes, s.seq(pos))
	return is
}

func (s *span) flags(pos int) uint16 {
	if pos < len(s.head) {
		return s.head[pos].Flags
	}
	return s.t.slot(s.seq(pos)).flags()
}

func (s *span) aux(pos int) []byte {
	if pos < len(s.head) {
		return s.head[pos].Aux
	}
	_, aux, _ := s.t.Message(s.seq(pos))
	return aux
}

func (s *span) tokens(pos int) uint32 {
	if pos < len(s.head) {
		return s.head[pos].Tokens
	}
	seq := s.seq(pos)
	return uint32(s.t.Cum(seq) - s.t.Cum(seq-1))
}

func (s *span) message(pos int) HeadMsg {
	if pos < len(s.head) {
		return s.head[pos]
	}
	json, aux, m := s.t.Message(s.seq(pos))
	return HeadMsg{Seq: s.seq(pos), Tokens: m.Tokens, Flags: m.Flags & (FlagSystem | FlagToolCall | FlagToolResult), JSON: json, Aux: aux}
}

// sum returns the tokens of the positions [lo, hi), holes left out.
func (s *span) sum(lo, hi int) (n uint64) {
	for ; lo < min(hi, len(s.head)); lo++ {
		n += uint64(s.head[lo].Tokens)
	}
	if lo >= hi {
		return n
	}
	from, to := s.seq(lo), s.seq(hi)-1
	n += s.t.Cum(to) - s.t.Cum(from-1)
	for _, h := range s.holesFrom(from) {
		if h > to {
			break
		}
		n -= s.t.Cum(h) - s.t.Cum(h-1)
	}
	return n
}

// suffix returns the smallest position in [lo, hi] such that the messages of [position, hi) have at most room tokens.
// Behind the head it is one binary search for every run between holes.
func (s *span) suffix(lo, hi int, room uint64) int {
	end := hi
	for holes := s.holes; end > max(lo, len(s.head)); {
		from, to := s.seq(max(lo, len(s.head))), s.seq(end)-1
		i, _ := slices.BinarySearch(holes, to+1)
		holes = holes[:i]
		run := from
		if i > 0 && holes[i-1] >= from {
			run = holes[i-1] + 1
		}
		if run > to { // to is a hole
			end--
			continue
		}
		start := s.t.suffix(run, to, room)
		if start > run {
			return s.pos(start)
		}
		room -= s.t.Cum(to) - s.t.Cum(run-1)
		end = s.pos(run)
	}
	for ; end > lo && uint64(s.head[end-1].Tokens) <= room; end-- {
		room -= uint64(s.head[end-1].Tokens)
	}
	return end
}

// next returns the first position in [lo, hi) that is no hole and has one of the tool flags.
func (s *span) next(lo, hi int, flags uint16) (pos int, ok bool) {
	for ; lo < min(hi, len(s.head)); lo++ {
		if s.head[lo].Flags&flags != 0 {
			return lo, true
		}
	}
	for lo < hi {
		seq, ok := s.t.nextFlagged(s.seq(lo), min(s.seq(hi)-1, s.t.tool), flags)
		if !ok {
			break
		}
		if lo = s.pos(seq); !s.hole(lo) {
			return lo, true
		}
		lo++
	}
	return 0, false
}

// prev returns the last position in [0, hi) that is no hole and has one of the tool flags.
func (s *span) prev(hi int, flags uint16) (pos int, ok bool) {
	for hi > len(s.head) {
		seq, ok := s.t.prevFlagged(s.from, min(s.seq(hi)-1, s.t.tool), flags)
		if !ok {
			break
		}
		if hi = s.pos(seq); !s.hole(hi) {
			return hi, true
		}
	}
	for hi = min(hi, len(s.head)) - 1; hi >= 0; hi-- {
		if s.head[hi].Flags&flags != 0 {
			return hi, true
		}
	}
	return 0, false
}
