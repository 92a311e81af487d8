package ring

import "slices"

// Plan is what one read serves of a window: the part that fits a ceiling. It holds on to the pages of the View it was
// made from.
type Plan struct {
	Used      uint64 // tokens of the messages served; never above the ceiling
	Messages  int    // messages served
	Truncated int    // messages of the window left out

	s       span
	keep    keep
	drops   []int // positions in [keep.start, keep.end) that lost their call, ascending
	summary int
	from    uint64 // what the summary stands for
	to      uint64
	segs    [3]Segment
	nsegs   int
}

// Segment is a run of the messages of a Plan.
type Segment struct {
	Summary        bool // otherwise live
	FromSeq, ToSeq uint64
}

// Fit returns the part of the window that has at most ceiling tokens. What is left out first are the oldest messages
// that are neither summary nor a system message at the very start of the window; then the oldest of the summary; then
// that system message. Tool results whose call is left out go, too. O(log pages + log page) where the window has
// neither head nor tool messages, with no allocation; O(1) where all of it fits.
func Fit[E any](v *View[E], w Window, ceiling uint64) Plan {
	return fit(&v.Tail, w, ceiling)
}

func fit(t *Tail, w Window, ceiling uint64) Plan {
	s := newSpan(t, w)
	n := s.len()
	p := Plan{s: s, Used: w.Used, keep: keep{end: n}}
	if w.Head != nil && w.Head.Summary > 0 {
		p.summary, p.from, p.to = w.Head.Summary, w.Head.SummaryFrom, w.Head.SummaryTo
	}
	count := n - len(s.holes)
	if w.Used > ceiling {
		p.keep = s.cut(p.summary, ceiling)
		p.keep.start, p.drops = s.orphans(p.keep, true)
		p.Used = s.sum(0, p.keep.prefix) + s.sum(p.keep.start, p.keep.end)
		for _, pos := range p.drops {
			p.Used -= uint64(s.tokens(pos))
		}
	}
	p.Messages = p.keep.prefix + p.keep.end - p.keep.start - len(p.drops)
	if p.keep.end > len(s.head) {
		p.Messages -= len(s.holesFrom(s.seq(max(p.keep.start, len(s.head)))))
	}
	p.Truncated = count - p.Messages
	p.segments()
	return p
}

// cut chooses what stays under a ceiling that the window exceeds, without regard to pairs.
func (s *span) cut(summary int, ceiling uint64) keep {
	n := s.len()
	lead, leadTokens := 0, uint64(0)
	if n > 0 && s.flags(0)&FlagSystem != 0 {
		lead, leadTokens = 1, uint64(s.tokens(0))
	}
	prefix := max(summary, lead)
	if fixed := s.sum(0, prefix); fixed <= ceiling {
		return keep{prefix: prefix, start: s.suffix(prefix, n, ceiling-fixed), end: n}
	}
	if leadTokens > ceiling {
		return keep{}
	}
	return keep{prefix: lead, start: s.suffix(lead, summary, ceiling-leadTokens), end: summary}
}

// Append appends the JSON of the messages, separated by commas and without brackets.
func (p *Plan) Append(dst []byte) []byte {
	n := len(dst)
	dst = p.appendRange(dst, 0, p.keep.prefix)
	dst = p.appendRange(dst, p.keep.start, p.keep.end)
	if len(dst) > n {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// Len returns how many bytes Append appends.
func (p *Plan) Len() int {
	n := p.rangeLen(0, p.keep.prefix) + p.rangeLen(p.keep.start, p.keep.end)
	return max(n-1, 0)
}

// Segments describes the messages in order: the summary, if any of it is left, then what is live. A system message
// that was kept though messages behind it were not is a segment of its own. The slice belongs to p.
func (p *Plan) Segments() []Segment { return p.segs[:p.nsegs] }

func (p *Plan) appendRange(dst []byte, lo, hi int) []byte {
	for lo, end, ok := p.run(lo, hi); ok; lo, end, ok = p.run(end, hi) {
		for ; lo < min(end, len(p.s.head)); lo++ {
			dst = append(dst, p.s.head[lo].JSON...)
			dst = append(dst, ',')
		}
		if lo < end {
			dst = p.s.t.AppendMessages(dst, p.s.seq(lo), p.s.seq(end)-1)
			dst = append(dst, ',')
		}
	}
	return dst
}

func (p *Plan) rangeLen(lo, hi int) (n int) {
	for lo, end, ok := p.run(lo, hi); ok; lo, end, ok = p.run(end, hi) {
		for ; lo < min(end, len(p.s.head)); lo++ {
			n += len(p.s.head[lo].JSON) + 1
		}
		if lo < end {
			n += p.s.t.MessagesLen(p.s.seq(lo), p.s.seq(end)-1) + 1
		}
	}
	return n
}

// run returns the first run [from, to) of positions in [lo, hi) that has neither a hole nor a drop in it.
func (p *Plan) run(lo, hi int) (from, to int, ok bool) {
	for lo < hi && p.left(lo) {
		lo++
	}
	if lo >= hi {
		return 0, 0, false
	}
	to = hi
	if i, _ := slices.BinarySearch(p.drops, lo); i < len(p.drops) {
		to = min(to, p.drops[i])
	}
	if to > len(p.s.head) {
		if holes := p.s.holesFrom(p.s.seq(max(lo, len(p.s.head)))); len(holes) > 0 {
			to = min(to, p.s.pos(holes[0]))
		}
	}
	return lo, to, true
}

// left reports whether the message at pos is left out though it lies in a range that stays.
func (p *Plan) left(pos int) bool {
	_, drop := slices.BinarySearch(p.drops, pos)
	return drop || p.s.hole(pos)
}

func (p *Plan) segments() {
	if p.summary > 0 {
		_, _, some := p.run(0, min(p.keep.prefix, p.summary))
		if !some {
			_, _, some = p.run(p.keep.start, min(p.keep.end, p.summary))
		}
		if some {
			p.add(Segment{Summary: true, FromSeq: p.from, ToSeq: p.to})
		}
	}
	p.live(p.summary, p.keep.prefix)
	p.live(max(p.keep.start, p.summary), p.keep.end)
}

// live adds the segment of the messages in [lo, hi), none of which is of the summary.
func (p *Plan) live(lo, hi int) {
	for ; lo < hi && p.left(lo); lo++ {
	}
	for ; lo < hi && p.left(hi-1); hi-- {
	}
	if lo >= hi {
		return
	}
	p.add(Segment{FromSeq: p.seqAt(lo), ToSeq: p.seqAt(hi - 1)})
}

func (p *Plan) seqAt(pos int) uint64 {
	if pos < len(p.s.head) {
		return p.s.head[pos].Seq
	}
	return p.s.seq(pos)
}

func (p *Plan) add(s Segment) {
	p.segs[p.nsegs] = s
	p.nsegs++
}
