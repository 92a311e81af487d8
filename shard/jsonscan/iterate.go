package jsonscan

// Members walks the members of an object in order, in one pass over the text:
//
//	m := jsonscan.Object(b, i)
//	for m.Next() {
//		switch {
//		case jsonscan.Equal(m.Key(), "role"):
//			role = m.Value()
//		case jsonscan.Equal(m.Key(), "parts"):
//			parts := m.Array()          // walk the value instead of skipping it
//			for parts.Next() { ... }
//			m.LeaveArray(&parts)
//		}                                   // a value that nobody took is checked and skipped by Next
//	}
//	end, err := m.End()
//
// The zero Members is not usable. Nothing is allocated unless an error is made.
type Members struct{ walk }

// Elements walks the elements of an array, as Members does an object.
type Elements struct{ walk }

// walk is what both have in common.
type walk struct {
	b     []byte
	key   int // offset of the current key
	keyTo int
	at    int // offset of the current value; while before the first, of the bracket
	end   int // offset after the current value, 0 while it has not been scanned; after the last, after the bracket
	depth int // containers around the current value, this one included
	state state
	code  Code
}

type state uint8

const (
	before state = iota
	inside
	done
)

// Object starts a walk over the object whose brace is b[i].
func Object(b []byte, i int) Members { return Members{start(b, i, 0, '{')} }

// Array starts a walk over the array whose bracket is b[i].
func Array(b []byte, i int) Elements { return Elements{start(b, i, 0, '[')} }

func start(b []byte, i, depth int, bracket byte) walk {
	w := walk{b: b, at: i, depth: depth + 1}
	switch {
	case i >= len(b):
		w.fail(Truncated, len(b))
	case b[i] != bracket && bracket == '{':
		w.fail(NotObject, i)
	case b[i] != bracket:
		w.fail(NotArray, i)
	case depth >= MaxDepth:
		w.fail(Depth, i)
	}
	return w
}

func (w *walk) fail(c Code, at int) { w.state, w.code, w.end = done, c, at }

// Next moves to the next member. It returns false after the last one and on an error: see End.
func (m *Members) Next() bool {
	if !m.step('}', NoCommaOrBrace) {
		return false
	}
	if m.at >= len(m.b) {
		m.fail(Truncated, len(m.b))
		return false
	}
	m.key = m.at
	if m.b[m.at] != '"' {
		m.fail(NoKey, m.at)
		return false
	}
	to, code := scanString(m.b, m.at)
	if code != 0 {
		m.fail(code, to)
		return false
	}
	m.keyTo = to
	i := SkipSpace(m.b, to)
	switch {
	case i >= len(m.b):
		m.fail(Truncated, len(m.b))
		return false
	case m.b[i] != ':':
		m.fail(NoColon, i)
		return false
	}
	m.at = SkipSpace(m.b, i+1)
	return true
}

// Next moves to the next element. It returns false after the last one and on an error: see End.
func (e *Elements) Next() bool { return e.step(']', NoCommaOrBracket) }

// step finishes the current value and finds the place of the next one.
func (w *walk) step(closing byte, none Code) bool {
	var i int
	switch w.state {
	case done:
		return false
	case before:
		w.state = inside
		i = SkipSpace(w.b, w.at+1)
		if i < len(w.b) && w.b[i] == closing {
			w.state, w.end = done, i+1
			return false
		}
	case inside:
		if w.finish(); w.code != 0 {
			return false
		}
		i = SkipSpace(w.b, w.end)
		switch {
		case i >= len(w.b):
			w.fail(Truncated, len(w.b))
			return false
		case w.b[i] == closing:
			w.state, w.end = done, i+1
			return false
		case w.b[i] != ',':
			w.fail(none, i)
			return false
		}
		i = SkipSpace(w.b, i+1)
	}
	w.at, w.end = i, 0
	return true
}

// finish scans the current value unless that has been done.
func (w *walk) finish() {
	if w.end != 0 || w.state != inside {
		return
	}
	end, code := scanValue(w.b, w.at, w.depth)
	if code != 0 {
		w.fail(code, end)
		return
	}
	w.end = end
}

// Key returns the current member's name as a raw string. Compare it with Equal: it may hold escapes.
func (m *Members) Key() []byte { return m.b[m.key:m.keyTo] }

// KeyStart returns the offset of the current member's name.
func (m *Members) KeyStart() int { return m.key }

// Start returns the offset at which the current value begins.
func (w *walk) Start() int { return w.at }

// Kind returns the first byte of the current value: one of {["tfn-0123456789 in valid text, 0 at its end.
func (w *walk) Kind() byte {
	if w.state != inside || w.at >= len(w.b) {
		return 0
	}
	return w.b[w.at]
}

// Value checks the current value and returns its bytes, nil if it is malformed (then Next returns
// false, and End the error). The bytes are part of the text, with no room behind them.
func (w *walk) Value() []byte {
	if w.finish(); w.code != 0 {
		return nil
	}
	return w.b[w.at:w.end:w.end]
}

// Object starts a walk over the current value. Hand it to LeaveObject afterwards.
func (w *walk) Object() Members { return Members{start(w.b, w.at, w.depth, '{')} }

// Array starts a walk over the current value. Hand it to LeaveArray afterwards.
func (w *walk) Array() Elements { return Elements{start(w.b, w.at, w.depth, '[')} }

// LeaveObject takes up the walk after the current value, over which m is a walk (from Object). A walk
// that was left early is finished first. It returns false if the value is malformed.
func (w *walk) LeaveObject(m *Members) bool { return w.leave(m.rest()) }

// LeaveArray takes up the walk after the current value, over which e is a walk (from Array). A walk
// that was left early is finished first. It returns false if the value is malformed.
func (w *walk) LeaveArray(e *Elements) bool { return w.leave(e.rest()) }

func (w *walk) leave(end int, code Code) bool {
	if code != 0 {
		w.fail(code, end)
		return false
	}
	w.end = end
	return true
}

func (m *Members) rest() (int, Code) {
	for m.Next() {
	}
	return m.end, m.code
}

func (e *Elements) rest() (int, Code) {
	for e.Next() {
	}
	return e.end, e.code
}

// End returns the offset after the closing bracket, or the *SyntaxError that ended the walk. What was
// not walked yet is checked first.
func (m *Members) End() (int, error) { return result(m.rest()) }

// End returns the offset after the closing bracket, or the *SyntaxError that ended the walk. What was
// not walked yet is checked first.
func (e *Elements) End() (int, error) { return result(e.rest()) }

func result(end int, code Code) (int, error) {
	if code != 0 {
		return 0, newError(code, end)
	}
	return end, nil
}
