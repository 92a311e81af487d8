package ring

import (
	"runtime"
	"sort"
)

// Why a View is consistent. Publish makes gen odd, stores the words, and makes gen even again. A reader loads gen,
// loads the words, and loads gen once more; it believes what it has only if both loads gave the same even number.
// Go's atomics are sequentially consistent: there is one order of all atomic operations that agrees with the program
// order of every goroutine. gen only grows, so two equal loads mean that no store to gen lies between them in that
// order. A store to a word that lay between them would, in the writer's program, have an odd store to gen before it
// and an even one after it; neither is between the two loads, so the first load would have seen the odd one. Hence no
// word changed between the two loads, and the words are those of one Publish. That includes dir and ext.
//
// Why it is no data race. All words that change under a reader are atomic. Everything else a reader touches is plain
// memory inside the published bounds: entries [lo, hi) of the directory, and of each page the header, the messages
// and the slots through seq last. The writer wrote them before it stored the even gen that the reader saw, so that
// they happen before the reader's loads, and it never writes them again: a directory grows behind hi or is replaced,
// a page grows behind the last message and in front of its slot, SealVersion and fit change what is not published,
// and a slot is never changed once a Publish has covered it. Different bytes are different memory locations in Go's
// model, so the writer that fills the free part of a page does not race with readers of its other parts. (A seqlock
// over the bytes themselves would: there the reader reads what may be written and throws it away afterwards.)
//
// Why eviction cannot hurt. EvictBefore takes pages out of the next directory, never out of one that readers have;
// nothing is recycled. A View holds its directory, and through it all of its pages, for the garbage collector, and
// stays valid and unchanged for as long as somebody holds it. The price: a View kept for long keeps its pages.
//
// A reader repeats its loads only if a Publish ran meanwhile, a dozen stores. The writer never waits for a reader.

// View is a consistent picture of a Log at one Publish: Header, extension and messages belong together. It is a value;
// copies are independent and cost no allocation. What its methods return is shared and must not be modified.
// Assign View[E]{} to let go of its pages.
type View[E any] struct {
	Header
	Ext *E // nil before the first Publish that gave one
	Tail
}

// View fills v with the newest published state. For any goroutine; no lock, no allocation.
func (l *Log[E]) View(v *View[E]) {
	for try := 0; ; try++ {
		if gen := l.gen.Load(); gen&1 == 0 {
			v.Version = l.version.Load()
			v.LiveFrom = l.liveFrom.Load()
			v.Used = l.used.Load()
			v.Archived = l.archived.Load()
			v.UpdatedMs = int64(l.updatedMs.Load())
			v.Ext = l.ext.Load()
			last, tool, bounds, dir := l.last.Load(), l.lastTool.Load(), l.bounds.Load(), l.dir.Load()
			if l.gen.Load() == gen {
				v.set(dir, uint32(bounds>>32), uint32(bounds), last, tool)
				return
			}
		}
		if try > 3 {
			runtime.Gosched() // the writer may have lost its thread inside Publish
		}
	}
}

func (v *View[E]) set(dir *directory, lo, hi uint32, last, tool uint64) {
	v.Tail = Tail{last: last, tool: tool}
	if dir != nil {
		v.Tail.pages = dir.entries[lo:hi:hi]
	}
	v.Last = last
	v.First = v.Tail.first()
}

// Tail is the messages of a View: what does not depend on the extension. Seqs run from First to Last; ranges are
// inclusive on both ends, and what of a range is not in memory is left out.
type Tail struct {
	pages []entry
	last  uint64
	tool  uint64 // newest seq with a tool part
}

// SlotInfo is what a slot says of its message.
type SlotInfo struct {
	Seq     uint64
	Version uint64
	Tokens  uint32
	Flags   uint16
	Cum     uint64 // tokens of all messages through this one
	// The window after the version of this message; only with FlagEnd, otherwise 0.
	LiveFrom uint64
	Used     uint64 // math.MaxUint32: that or more
}

// first returns the oldest seq in memory, last+1 where there is none.
func (t *Tail) first() uint64 {
	if len(t.pages) == 0 {
		return t.last + 1
	}
	return t.pages[0].first
}

// has reports whether seq is in memory.
func (t *Tail) has(seq uint64) bool { return seq <= t.last && seq >= t.first() }

// find returns the index of the page of seq, which must be in memory. Most reads are near the end: the newest page is
// tried first, then a binary search, O(log pages).
func (t *Tail) find(seq uint64) int {
	lo, hi := 0, len(t.pages)-1
	if seq >= t.pages[hi].first {
		return hi
	}
	for lo < hi { // pages[lo].first <= seq < pages[hi].first
		mid := int(uint(lo+hi+1) / 2)
		if t.pages[mid].first <= seq {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// end returns the seq behind the last message of page i.
func (t *Tail) end(i int) uint64 {
	if i+1 < len(t.pages) {
		return t.pages[i+1].first
	}
	return t.last + 1
}

// slot returns the slot of seq, which must be in memory.
func (t *Tail) slot(seq uint64) slot {
	e := &t.pages[t.find(seq)]
	return e.page.slot(int(seq - e.first))
}

// clamp cuts [from, to] to what is in memory; ok is false where nothing is left.
func (t *Tail) clamp(from, to uint64) (uint64, uint64, bool) {
	from, to = max(from, t.first()), min(to, t.last)
	return from, to, from <= to
}

// AppendMessages appends the JSON of the messages from to to, both inclusive, separated by commas and without
// brackets. No allocation where dst has room for MessagesLen more bytes.
func (t *Tail) AppendMessages(dst []byte, from, to uint64) []byte {
	from, to, ok := t.clamp(from, to)
	if !ok {
		return dst
	}
	for i := t.find(from); from <= to; i++ {
		e := &t.pages[i]
		end := min(to+1, t.end(i))
		dst = e.page.appendMessages(dst, int(from-e.first), int(end-e.first))
		from = end
	}
	return dst[:len(dst)-1]
}

// appendMessages appends messages [from, to) of the page, each followed by a comma. Only aux interrupts a run.
func (p page) appendMessages(dst []byte, from, to int) []byte {
	run := p.slot(from).start()
	for i := from; i < to; i++ {
		s := p.slot(i)
		if i+1 < to && s.flags()&FlagAux == 0 {
			continue
		}
		dst = append(dst, p[run:s.start()+s.len()+1]...)
		if i+1 < to {
			run = p.slot(i + 1).start()
		}
	}
	return dst
}

// MessagesLen returns how many bytes AppendMessages appends for the same range.
func (t *Tail) MessagesLen(from, to uint64) int {
	from, to, ok := t.clamp(from, to)
	if !ok {
		return 0
	}
	n := 0
	for i := t.find(from); from <= to; i++ {
		e := &t.pages[i]
		end := min(to+1, t.end(i))
		for ; from < end; from++ {
			n += int(e.page.slot(int(from-e.first)).len()) + 1
		}
	}
	return n - 1
}

// Message returns the JSON and the aux of seq, without copying, and what the log knows about it. All are empty where
// seq is not in memory.
func (t *Tail) Message(seq uint64) (json, aux []byte, m Meta) {
	if !t.has(seq) {
		return nil, nil, Meta{}
	}
	e := &t.pages[t.find(seq)]
	i := int(seq - e.first)
	s := e.page.slot(i)
	start, end := s.start(), s.start()+s.len()
	m = Meta{Tokens: e.page.tokens(i), Flags: s.flags(), Version: s.version()}
	return e.page[start:end:end], e.page.aux(s), m
}

// Slot returns the facts about seq; the zero SlotInfo where seq is not in memory.
func (t *Tail) Slot(seq uint64) SlotInfo {
	if !t.has(seq) {
		return SlotInfo{}
	}
	e := &t.pages[t.find(seq)]
	i := int(seq - e.first)
	s := e.page.slot(i)
	info := SlotInfo{Seq: seq, Version: s.version(), Tokens: e.page.tokens(i), Flags: s.flags(), Cum: s.cum()}
	if info.Flags&FlagEnd != 0 {
		info.LiveFrom = seq + 1 - min(uint64(s.live()), seq)
		info.Used = uint64(s.used())
	}
	return info
}

// Cum returns the tokens of all messages of the context through seq, evicted ones included. seq First-1 is answered
// too; what is before that gets the answer for First-1, what is after Last that for Last.
func (t *Tail) Cum(seq uint64) uint64 {
	if len(t.pages) == 0 {
		return 0
	}
	if seq = min(seq, t.last); seq < t.first() {
		return t.pages[0].page.base()
	}
	return t.slot(seq).cum()
}

// AfterVersion returns the first seq in memory whose version is greater than version, Last+1 where there is none.
// Whether older ones were evicted is for the caller to tell: the version of First is then greater than version+1.
func (t *Tail) AfterVersion(version uint64) (seq uint64) {
	i := sort.Search(len(t.pages), func(i int) bool {
		e := &t.pages[i]
		return e.page.slot(int(t.end(i)-1-e.first)).version() > version
	})
	if i == len(t.pages) {
		return t.last + 1
	}
	e := &t.pages[i]
	n := int(t.end(i) - e.first)
	return e.first + uint64(sort.Search(n, func(k int) bool { return e.page.slot(k).version() > version }))
}

// suffix returns the smallest seq in [from, last+1] such that the messages from there on have at most room tokens.
// from must be in memory or last+1. O(log pages + log messages of a page).
func (t *Tail) suffix(from, last, room uint64) uint64 {
	if from > last {
		return from
	}
	total := t.Cum(last)
	if total-t.Cum(from-1) <= room {
		return from
	}
	// The answer is behind the first message q with cum(q) >= limit; q >= from, since cum(from-1) < limit.
	limit := total - room
	i, j := t.find(from), t.find(last)
	i += sort.Search(j-i, func(k int) bool { return t.pages[i+k+1].page.base() >= limit })
	e := &t.pages[i]
	n := int(min(t.end(i), last+1) - e.first)
	return e.first + uint64(sort.Search(n, func(k int) bool { return e.page.slot(k).cum() >= limit })) + 1
}

// tokens returns the tokens of message i of the page.
func (p page) tokens(i int) uint32 {
	before := p.base()
	if i > 0 {
		before = p.slot(i - 1).cum()
	}
	return uint32(p.slot(i).cum() - before)
}

// aux returns the aux of the message of s, nil where it has none.
func (p page) aux(s slot) []byte {
	if s.flags()&FlagAux == 0 {
		return nil
	}
	start, end := s.start()+s.len()+1, p.end(s)
	return p[start:end:end]
}

// end returns the offset behind the message of s: its JSON, comma and aux. Aux delimits itself, so that the end of the
// newest message is known without looking at what the writer may be writing behind it.
func (p page) end(s slot) uint32 {
	end := s.start() + s.len() + 1
	if s.flags()&FlagAux != 0 {
		n, _, _ := ScanAux(p[end:])
		end += uint32(n)
	}
	return end
}

// nextFlagged returns the first seq in [from, to] that has one of the flags. Both must be in memory if from <= to.
func (t *Tail) nextFlagged(from, to uint64, flags uint16) (seq uint64, ok bool) {
	if from > to {
		return 0, false
	}
	for i := t.find(from); from <= to; i++ {
		e := &t.pages[i]
		for end := min(to+1, t.end(i)); from < end; from++ {
			if e.page.slot(int(from-e.first)).flags()&flags != 0 {
				return from, true
			}
		}
	}
	return 0, false
}

// prevFlagged returns the last seq in [from, to] that has one of the flags. Both must be in memory if from <= to.
func (t *Tail) prevFlagged(from, to uint64, flags uint16) (seq uint64, ok bool) {
	if from > to {
		return 0, false
	}
	for i := t.find(to); ; i-- {
		e := &t.pages[i]
		for start := max(from, e.first); to >= start; to-- {
			if e.page.slot(int(to-e.first)).flags()&flags != 0 {
				return to, true
			}
		}
		if to < from {
			return 0, false
		}
	}
}
