package ring

import (
	"fmt"
	"sync/atomic"
)

// Header is what a version of a context looks like from outside, published as one. The ring itself owns Last and
// First: what a caller of Publish puts there is ignored.
type Header struct {
	Version   uint64 // rises with every append request and compaction
	Last      uint64 // newest seq, 0: no message yet
	First     uint64 // oldest seq in memory, Last+1: none
	LiveFrom  uint64 // first seq of the live part of the window; Last+1: no live message
	Used      uint64 // tokens of the window
	Archived  uint64 // every seq up to here is in the archive
	UpdatedMs int64  // Unix time of the last change, milliseconds
}

// Meta is what the log keeps about a message beside its bytes.
type Meta struct {
	Tokens  uint32
	Flags   uint16 // a writer gives FlagSystem; the others are the ring's own and ignored
	Version uint64 // 1 to 2^48-1, greater after every SealVersion
}

// Log is the tail of one context: written by one goroutine, read by any number through View. The zero value is an
// empty log whose first message gets seq 1. E is the part of a context that the ring does not understand
// (configuration, head of the window): immutable, swapped as a pointer. A Log must not be copied after first use.
//
// A writer makes a version visible in three steps:
//
//	Reserve, Commit   for each message
//	SealVersion       once for all messages of the version
//	Publish           once; readers see nothing before and everything after
type Log[E any] struct {
	// What readers load: see View for the protocol. gen is odd while the words below it change.
	gen       atomic.Uint64
	version   atomic.Uint64
	last      atomic.Uint64
	liveFrom  atomic.Uint64
	used      atomic.Uint64
	archived  atomic.Uint64
	updatedMs atomic.Uint64
	lastTool  atomic.Uint64
	bounds    atomic.Uint64 // lo<<32 | hi: the entries of dir that count
	dir       atomic.Pointer[directory]
	ext       atomic.Pointer[E]

	w writer
}

// directory lists pages in order of their seqs. Entries are appended in place behind the bound that readers know;
// when it is full, or too much of it has been evicted, a new one takes its place.
type directory struct{ entries []entry }

type entry struct {
	first uint64
	page  page
}

// writer is the writer's own state; readers never look at it. It runs ahead of the published words between Reserve
// and Publish.
type writer struct {
	dir    *directory
	lo, hi uint32 // entries [lo, hi) of dir are pages of the tail, the last may be empty
	front  uint32 // end of the last message in the last page
	count  uint32 // messages in the last page
	last   uint64 // newest committed seq
	cum    uint64 // tokens of all messages through last
	tool   uint64 // newest seq with a tool part, 0: none
	held   uint64 // bytes of the pages [lo, hi)
	expect int    // bytes of messages announced by Expect and not yet given room
	sized  bool   // the newest page was made for what was announced
}

// Expect announces that messages of n bytes in all, commas, aux and slots (SlotSize each) included, are about to be
// reserved one by one. It only saves work: the first page of a tail then grows once, and not step by step.
func (l *Log[E]) Expect(n int) { l.w.expect = min(max(n, 0), maxPage-pageHeader) }

// Reserve returns an empty slice with room for one message of n bytes: its JSON, one byte for the comma that Commit
// writes, and its aux. The caller appends the JSON, any one byte, and the aux, or the JSON alone where there is no
// aux, and calls Commit. Nothing else may be called in between; a second Reserve takes the first one back.
// n should be close to the truth: room that is reserved and not used at the end of a page is lost.
// Panics if n exceeds MaxMessage.
func (l *Log[E]) Reserve(n int) []byte {
	if n < 0 || n > MaxMessage {
		panic(fmt.Sprintf("ring: message of %d bytes exceeds the limit of %d: lower FASTPACA_MAX_BODY_BYTES", n, MaxMessage))
	}
	w := &l.w
	need := n + 1 + slotSize
	w.dropEmpty()
	if p := w.page(); p == nil || int(w.front)+need+int(w.count)*slotSize > len(p) {
		w.extend(need)
	}
	p := w.page()
	end := len(p) - int(w.count+1)*slotSize
	return p[w.front:w.front:end]
}

// Commit takes the message that was written into the last Reserve: jsonLen bytes of JSON and, from byte jsonLen+1 on,
// auxLen bytes of aux. It returns the seq of the message. The message stays invisible until Publish.
// Panics on lengths beyond what was reserved, on malformed aux, and on a version that does not fit the one before.
func (l *Log[E]) Commit(jsonLen, auxLen int, m Meta) (seq uint64) {
	w := &l.w
	p := w.page()
	stored := jsonLen + 1 + auxLen
	if p == nil || jsonLen < 1 || auxLen < 0 || int(w.front)+stored+int(w.count+1)*slotSize > len(p) {
		panic(fmt.Sprintf("ring: commit of %d+%d bytes that were not reserved: this is a bug, please report it", jsonLen, auxLen))
	}
	flags := m.Flags & FlagSystem
	if auxLen > 0 {
		aux := p[int(w.front)+jsonLen+1:][:auxLen]
		n, tools, ok := ScanAux(aux)
		if !ok || n != auxLen {
			panic(fmt.Sprintf("ring: malformed aux %x: this is a bug, please report it", aux))
		}
		flags |= tools | FlagAux
	}
	l.checkVersion(m.Version)
	if w.count == 0 && !w.sized {
		p = w.fit(stored)
	}
	w.sized = false

	p[int(w.front)+jsonLen] = ','
	w.cum += uint64(m.Tokens)
	p.slot(int(w.count)).put(w.front, uint32(jsonLen), w.cum, m.Version, flags)
	w.front += uint32(stored)
	w.count++
	w.last++
	if flags&(FlagToolCall|FlagToolResult) != 0 {
		w.tool = w.last
	}
	return w.last
}

// Append is Reserve and Commit of a message that exists already: json and aux are copied.
func (l *Log[E]) Append(json, aux []byte, m Meta) (seq uint64) {
	n := len(json) + 1 + len(aux)
	b := l.Reserve(n)[:n]
	copy(b, json)
	copy(b[len(json)+1:], aux)
	return l.Commit(len(json), len(aux), m)
}

// SealVersion ends the version of the last committed message: liveFrom and used are the window's after it, cut says
// that the policy cut the window in it. To be called exactly once between the last Commit of a version and Publish.
func (l *Log[E]) SealVersion(liveFrom uint64, used uint64, cut bool) {
	w := &l.w
	w.expect = 0 // what was announced and did not come must not show in later page sizes
	if w.last == l.last.Load() {
		panic("ring: sealing a version that is published or has no message: this is a bug, please report it")
	}
	s := w.lastSlot()
	if s.flags()&FlagEnd != 0 {
		panic(fmt.Sprintf("ring: version %d is sealed already: this is a bug, please report it", s.version()))
	}
	if liveFrom < 1 || liveFrom > w.last+1 {
		panic(fmt.Sprintf("ring: window starts at %d, outside 1 to %d: this is a bug, please report it", liveFrom, w.last+1))
	}
	flags := uint16(FlagEnd)
	if cut {
		flags |= FlagCut
	}
	s.seal(w.last+1-liveFrom, used, flags)
}

// Publish makes all that was committed, sealed and evicted since the last Publish visible, together with h and ext, as
// one. ext nil leaves the extension as it is. h.Last and h.First are ignored. h.LiveFrom must lie in [First, Last+1]:
// a message of the window must be in memory.
func (l *Log[E]) Publish(h Header, ext *E) {
	w := &l.w
	w.dropEmpty()
	first, sealed := w.last+1, uint64(0)
	if w.hi > w.lo {
		s := w.lastSlot()
		if s.flags()&FlagEnd == 0 {
			panic(fmt.Sprintf("ring: publishing version %d, which is not sealed: this is a bug, please report it", s.version()))
		}
		first, sealed = w.dir.entries[w.lo].first, s.version()
	}
	if h.LiveFrom < first || h.LiveFrom > w.last+1 {
		panic(fmt.Sprintf("ring: window starts at %d, outside %d to %d, what is in memory: this is a bug, please report it", h.LiveFrom, first, w.last+1))
	}
	if h.Version < sealed || h.Version < l.version.Load() || h.Version > maxVersion {
		panic(fmt.Sprintf("ring: publishing version %d after %d: this is a bug, please report it", h.Version, max(sealed, l.version.Load())))
	}

	l.gen.Add(1) // odd: what a reader loads from here on is not believed
	set(&l.version, h.Version)
	set(&l.last, w.last)
	set(&l.liveFrom, h.LiveFrom)
	set(&l.used, h.Used)
	set(&l.archived, h.Archived)
	set(&l.updatedMs, uint64(h.UpdatedMs))
	set(&l.lastTool, w.tool)
	set(&l.bounds, uint64(w.lo)<<32|uint64(w.hi))
	if l.dir.Load() != w.dir {
		l.dir.Store(w.dir)
	}
	if ext != nil {
		l.ext.Store(ext)
	}
	l.gen.Add(1)
}

// set stores x unless it is there already: a load is a plain move, a store drains the store buffer.
func set(w *atomic.Uint64, x uint64) {
	if w.Load() != x {
		w.Store(x)
	}
}

// EvictBefore drops the pages all of whose messages are before seq; the newest page stays in any case. Readers see it
// with the next Publish, and those that hold an older View keep what they have: the garbage collector frees a page
// when nobody can reach it.
func (l *Log[E]) EvictBefore(seq uint64) {
	w := &l.w
	w.dropEmpty()
	keep := w.lo
	for keep+1 < w.hi && w.dir.entries[keep+1].first <= seq {
		w.held -= uint64(len(w.dir.entries[keep].page))
		keep++
	}
	w.lo = keep
	// The directory still holds on to the evicted pages. It is replaced once they are an eighth of it, so that an
	// eviction costs a constant number of copied entries per page and small tails free at once.
	if live := w.hi - w.lo; w.lo*8 >= live && w.lo > 0 {
		w.replace(int(live + live/4 + 1))
	}
}

// Pending is View for the writer: it also shows what was committed and is not yet published. Everything in the Header
// but Last and First is as of the last Publish, and so is Ext. For the writer's goroutine only: what is not published
// may still change (SealVersion).
func (l *Log[E]) Pending(v *View[E]) {
	w := &l.w
	v.Version = l.version.Load()
	v.LiveFrom = l.liveFrom.Load()
	v.Used = l.used.Load()
	v.Archived = l.archived.Load()
	v.UpdatedMs = int64(l.updatedMs.Load())
	v.Ext = l.ext.Load()
	w.dropEmpty()
	v.set(w.dir, w.lo, w.hi, w.last, w.tool)
}

// Last returns the newest committed seq, 0 for none. For the writer's goroutine only.
func (l *Log[E]) Last() uint64 { return l.w.last }

// First returns the oldest seq in memory, 0 if there are no messages. For the writer's goroutine only.
func (l *Log[E]) First() uint64 {
	if w := &l.w; w.lo < w.hi && w.last > 0 {
		return w.dir.entries[w.lo].first
	}
	return 0
}

// Cum returns the tokens of all messages committed so far. For the writer's goroutine only.
func (l *Log[E]) Cum() uint64 { return l.w.cum }

// Bytes returns the memory of the tail in bytes: pages and directory, without the Log itself. For the writer's
// goroutine only.
func (l *Log[E]) Bytes() int64 {
	n := int64(l.w.held)
	if l.w.dir != nil {
		n += directorySize + int64(cap(l.w.dir.entries))*entrySize
	}
	return n
}

const (
	directorySize = 24 // unsafe.Sizeof, pinned by a test
	entrySize     = 32
)

// checkVersion panics unless version continues the one of the last committed message.
func (l *Log[E]) checkVersion(version uint64) {
	if version < 1 || version > maxVersion {
		panic(fmt.Sprintf("ring: version %d is outside 1 to 2^48-1: this is a bug, please report it", version))
	}
	s := l.w.lastSlot()
	if s == nil {
		return
	}
	last, sealed := s.version(), s.flags()&FlagEnd != 0
	if sealed && version <= last || !sealed && version != last {
		panic(fmt.Sprintf("ring: version %d after %d (sealed: %t): this is a bug, please report it", version, last, sealed))
	}
}

// page returns the newest page, nil where there is none.
func (w *writer) page() page {
	if w.hi == w.lo {
		return nil
	}
	return w.dir.entries[w.hi-1].page
}

// lastSlot returns the slot of the last committed message, nil where there is none.
func (w *writer) lastSlot() slot {
	if w.count > 0 {
		return w.page().slot(int(w.count) - 1)
	}
	if w.hi-w.lo < 2 {
		return nil
	}
	e := w.dir.entries[w.hi-2] // the newest page is empty
	return e.page.slot(int(w.last - e.first))
}

// push opens a page of size bytes at the end.
func (w *writer) push(size int) {
	if w.dir == nil || int(w.hi) == cap(w.dir.entries) {
		n := int(w.hi - w.lo)
		w.replace(n + n/2 + 1)
	}
	// The entry lies behind every bound that was published: no reader looks at it before the next Publish.
	w.dir.entries[w.hi] = entry{first: w.last + 1, page: newPage(size, w.last+1, w.cum)}
	w.hi++
	w.held += uint64(size)
	w.front, w.count = pageHeader, 0
}

// extend makes room for need bytes, comma and slot included.
//
// While the tail is one page, that page is replaced by one a sixth larger. Its bytes are copied six times on their
// way to maxPage, at memory's speed, but a conversation of up to maxPage bytes is one object for the garbage collector,
// however many messages it has. After that, pages are added.
func (w *writer) extend(need int) {
	want := max(need, w.expect)
	if w.hi-w.lo == 1 && w.count > 0 {
		old := w.page()
		used := int(w.front) + int(w.count)*slotSize
		if used+want > maxPage {
			want = need
		}
		if used+want <= maxPage {
			w.expect = 0
			w.grow(min(classUp(max(used+want, len(old)+len(old)/6)), maxPage))
			return
		}
	}
	if w.hi > w.lo {
		want = need // the page is one of several: its size follows from theirs
	}
	w.push(pageSize(w.held, want))
	w.sized = want > need
	w.expect = 0
}

// grow replaces the only page by a larger one with the same content. Readers keep the old page through the old
// directory.
func (w *writer) grow(size int) {
	old := w.page()
	front := old[:w.front]
	p := make(page, size) // together with the copy: the compiler clears only the rest
	copy(p, front)
	slots := int(w.count) * slotSize
	copy(p[size-slots:], old[len(old)-slots:])
	w.replace(1)
	w.dir.entries[w.hi-1].page = p
	w.held += uint64(size - len(old))
}

// dropEmpty takes back the newest page if it holds no message, so that a Reserve that no Commit followed leaves no
// trace in the state.
func (w *writer) dropEmpty() {
	if w.count != 0 || w.hi == w.lo {
		return
	}
	w.hi--
	w.held -= uint64(len(w.dir.entries[w.hi].page))
	w.dir.entries[w.hi] = entry{}
	w.front, w.count = 0, 0
	if w.hi > w.lo {
		e := w.dir.entries[w.hi-1]
		w.count = uint32(w.last + 1 - e.first)
		w.front = e.page.end(e.page.slot(int(w.count) - 1))
	}
}

// fit replaces the newest page, whose first message of stored bytes has been written and not committed, by a smaller
// one where Reserve was asked for much more than came. The size of a page then follows from what is in it.
func (w *writer) fit(stored int) page {
	e := &w.dir.entries[w.hi-1]
	old := e.page
	size := pageSize(w.held-uint64(len(old)), stored+slotSize)
	if size >= len(old) {
		return old
	}
	p := newPage(size, e.first, w.cum)
	copy(p[w.front:], old[w.front:int(w.front)+stored])
	e.page = p
	w.held -= uint64(len(old) - size)
	return p
}

// replace moves the pages into a new directory with room for at least n.
func (w *writer) replace(n int) {
	live := int(w.hi - w.lo)
	d := &directory{entries: make([]entry, max(n, live, 1))}
	if w.dir != nil {
		copy(d.entries, w.dir.entries[w.lo:w.hi])
	}
	w.dir, w.lo, w.hi = d, 0, uint32(live)
}
