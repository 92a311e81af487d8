package ring

// The pair rule: a tool result never stays in a window that its call has left, since model providers refuse such a
// conversation. A result with an id belongs to the nearest call with that id in its own message or before it; one
// without, to the nearest call part before it. A message goes as a whole as soon as one of its results has to, and
// its own calls go with it. A result that never had a call in the window belongs to nothing and stays.

// keep says what of a span stays after a cut: positions [0, prefix) and [start, end), prefix <= start.
type keep struct{ prefix, start, end int }

// orphans returns what else has to go of [start, end): start moves behind orphans at the very beginning, drops are the
// positions of the others, ascending. Costs what stays, and of what was cut before start only as much as it takes to
// find the calls in question.
//
// missing says what to do with a result whose call is nowhere in the span: a cut keeps it (true), the end of a window
// that has lost calls before does not admit it (false).
func (s *span) orphans(k keep, missing bool) (start int, drops []int) {
	start = k.start
	for s.hole(start) {
		start++
	}
	pos, ok := s.next(start, k.end, FlagToolResult)
	if !ok || missing && k.prefix == k.start {
		return start, nil
	}
	p := pairing{s: s, missing: missing, older: lookback{pos: k.start, prefix: k.prefix}}
	pos, ok = s.next(start, pos+1, FlagToolCall|FlagToolResult)
	for ok {
		if p.add(s.aux(pos)) {
			if pos == start {
				for start++; start < k.end && s.hole(start); start++ {
				}
			} else {
				drops = append(drops, pos)
			}
		}
		pos, ok = s.next(pos+1, k.end, FlagToolCall|FlagToolResult)
	}
	return start, drops
}

// pairing walks messages forward and tells which of them have lost a call.
type pairing struct {
	s       *span
	missing bool     // see orphans
	seen    calls    // calls of the messages walked
	older   lookback // calls before them
}

// add takes the next message and reports whether it is an orphan. The calls of an orphan that a cut found are cut; an
// orphan that was not admitted to the window has never been in it, nor have its calls.
func (p *pairing) add(aux []byte) (orphan bool) {
	var own calls
	own.addAll(aux, callKept)
	near := p.seen.near
	r := ReadAux(aux)
	for part, ok := r.Next(); ok && !orphan; part, ok = r.Next() {
		switch part.Kind {
		case PartCall:
			near = callKept
		case PartResult:
			orphan = !p.kept(part.ID, near, &own)
		}
	}
	switch {
	case !orphan:
		p.seen.addAll(aux, callKept)
	case p.missing:
		p.seen.addAll(aux, callCut)
	}
	return orphan
}

// kept reports whether the call of a result stays: the one with this id, or, for id 0, the nearest one.
func (p *pairing) kept(id uint64, near callState, own *calls) bool {
	state := near
	if id != 0 {
		if state = own.get(id); state == callUnknown {
			state = p.seen.get(id)
		}
	}
	if state == callUnknown {
		state = p.older.get(p.s, id)
	}
	if state == callUnknown {
		return p.missing
	}
	return state == callKept
}

// lookback finds the calls before a position, nearest first, and goes no further back than it has to. What it has seen
// it remembers, so that any number of questions costs one walk.
type lookback struct {
	pos    int // walked back to here
	prefix int // calls in [0, prefix) stay, those behind were cut
	seen   calls
}

func (l *lookback) get(s *span, id uint64) callState {
	for {
		state := l.seen.near
		if id != 0 {
			state = l.seen.get(id)
		}
		if state != callUnknown {
			return state
		}
		pos, ok := s.prev(l.pos, FlagToolCall)
		if !ok {
			l.pos = 0
			return callUnknown
		}
		l.pos = pos
		state = callCut
		if pos < l.prefix {
			state = callKept
		}
		l.seen.addOlder(s.aux(pos), state)
	}
}

// callState is what is known of a call.
type callState uint8

const (
	callUnknown callState = iota
	callKept
	callCut
)

// calls is a set of call ids with what became of them. The first few need no allocation.
type calls struct {
	near  callState // of the nearest call, with or without an id
	n     int
	small [32]struct {
		id    uint64
		state callState
	}
	big map[uint64]callState
}

func (c *calls) get(id uint64) callState {
	for i := range c.small[:c.n] {
		if c.small[i].id == id {
			return c.small[i].state
		}
	}
	return c.big[id]
}

func (c *calls) set(id uint64, state callState) {
	for i := range c.small[:c.n] {
		if c.small[i].id == id {
			c.small[i].state = state
			return
		}
	}
	if c.n < len(c.small) {
		c.small[c.n].id, c.small[c.n].state = id, state
		c.n++
		return
	}
	if c.big == nil {
		c.big = make(map[uint64]callState)
	}
	c.big[id] = state
}

// addAll notes the calls of a message that is nearer than all noted before.
func (c *calls) addAll(aux []byte, state callState) {
	r := ReadAux(aux)
	for part, ok := r.Next(); ok; part, ok = r.Next() {
		if part.Kind != PartCall {
			continue
		}
		c.near = state
		if part.ID != 0 {
			c.set(part.ID, state)
		}
	}
}

// addOlder notes the calls of a message that is farther than all noted before.
func (c *calls) addOlder(aux []byte, state callState) {
	r := ReadAux(aux)
	for part, ok := r.Next(); ok; part, ok = r.Next() {
		if part.Kind != PartCall {
			continue
		}
		if c.near == callUnknown {
			c.near = state
		}
		if part.ID != 0 && c.get(part.ID) == callUnknown {
			c.set(part.ID, state)
		}
	}
}
