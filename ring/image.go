package ring

import (
	"errors"
	"fmt"
	"math"
)

// PageImage is a page as a snapshot stores it: without the free space in its middle. Front and Slots are shared with
// the log and immutable.
type PageImage struct {
	Size  uint32 // of the page, in bytes
	Front []byte // header and messages
	Slots []byte // 32 bytes each, newest first, as they lie in the page
}

// The encoded form of a PageImage; pinned by testdata/page.golden.
//
//	size u32 | frontLen u32 | count u32 | front | slots
const imageHeader = 12

// ErrPage is wrapped by every error of ParsePage, RestorePage and FinishRestore.
var ErrPage = errors.New("ring: invalid page image")

// Pages returns the number of pages.
func (t *Tail) Pages() int { return len(t.pages) }

// Page returns page i, 0 being the oldest, as far as it is covered by the View. O(1), nothing is copied: a snapshot
// can hold the View and write its pages from another goroutine while the log goes on.
func (t *Tail) Page(i int) PageImage {
	e := &t.pages[i]
	n := int(t.end(i) - e.first)
	last := e.page.slot(n - 1)
	end := e.page.end(last)
	slots := len(e.page) - n*slotSize
	return PageImage{Size: uint32(len(e.page)), Front: e.page[:end:end], Slots: e.page[slots:len(e.page):len(e.page)]}
}

// FirstSeq returns the seq of the first message of the page.
func (p PageImage) FirstSeq() uint64 { return page(p.Front).first() }

// Count returns the number of messages of the page.
func (p PageImage) Count() int { return len(p.Slots) / slotSize }

// Len returns how many bytes Append appends.
func (p PageImage) Len() int { return imageHeader + len(p.Front) + len(p.Slots) }

// Append appends the encoded page.
func (p PageImage) Append(dst []byte) []byte {
	dst = le.AppendUint32(dst, p.Size)
	dst = le.AppendUint32(dst, uint32(len(p.Front)))
	dst = le.AppendUint32(dst, uint32(p.Count()))
	dst = append(dst, p.Front...)
	return append(dst, p.Slots...)
}

// ParsePage decodes the page at the start of b and returns what follows it. The result refers to b. Only the lengths
// are checked: RestorePage checks the rest.
func ParsePage(b []byte) (p PageImage, rest []byte, err error) {
	if len(b) < imageHeader {
		return p, nil, fmt.Errorf("%w: %d bytes are too short for a header", ErrPage, len(b))
	}
	front, slots := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))*slotSize
	if front < pageHeader || front+slots > uint64(len(b)-imageHeader) {
		return p, nil, fmt.Errorf("%w: %d+%d bytes promised, %d there", ErrPage, front, slots, len(b)-imageHeader)
	}
	p.Size = le.Uint32(b)
	b = b[imageHeader:]
	p.Front, p.Slots = b[:front:front], b[front:front+slots:front+slots]
	return p, b[front+slots:], nil
}

// RestorePage appends a page to a log that is being restored: a zero Log, all of its pages oldest first, then
// FinishRestore. The bytes are copied, and everything that later code relies on is checked first, so that no input
// makes the ring panic, neither now nor later. A page takes at most 64 KiB more memory than its image has.
// After an error, which wraps ErrPage, the log is unusable.
func (l *Log[E]) RestorePage(img PageImage) error {
	w := &l.w
	n := img.Count()
	switch {
	case n == 0 || len(img.Slots)%slotSize != 0:
		return fmt.Errorf("%w: %d bytes of slots", ErrPage, len(img.Slots))
	case len(img.Front) < pageHeader:
		return fmt.Errorf("%w: %d bytes in front", ErrPage, len(img.Front))
	case img.Size < minPage || img.Size%8 != 0 || len(img.Front)+len(img.Slots) > int(img.Size):
		return fmt.Errorf("%w: page of %d bytes for %d+%d", ErrPage, img.Size, len(img.Front), len(img.Slots))
	}
	front := page(img.Front)
	first, cum := front.first(), front.base()
	switch {
	case w.hi > 0 && (first != w.last+1 || cum != w.cum):
		return fmt.Errorf("%w: starts at seq %d with %d tokens before it, %d with %d expected", ErrPage, first, cum, w.last+1, w.cum)
	case first < 1 || first > maxSeq || first == 1 && cum != 0:
		return fmt.Errorf("%w: starts at seq %d with %d tokens before it", ErrPage, first, cum)
	}

	check := checker{front: front, end: pageHeader, cum: cum, tool: w.tool}
	if s := w.lastSlot(); s != nil {
		check.version, check.open = s.version(), s.flags()&FlagEnd == 0
	}
	for i := range n {
		seq := first + uint64(i)
		if err := check.slot(seq, page(img.Slots).slot(i)); err != nil {
			return fmt.Errorf("%w: seq %d: %w", ErrPage, seq, err)
		}
		if i == 0 && img.Size > maxPage && int(img.Size) != pageSize(0, check.end-pageHeader+slotSize) {
			return fmt.Errorf("%w: page of %d bytes for a first message of %d", ErrPage, img.Size, check.end-pageHeader)
		}
	}
	if check.end != len(front) {
		return fmt.Errorf("%w: messages end at %d of %d bytes", ErrPage, check.end, len(front))
	}

	w.last = first - 1
	w.push(int(img.Size))
	p := w.page()
	copy(p, img.Front)
	copy(p[len(p)-len(img.Slots):], img.Slots)
	w.front, w.count = uint32(check.end), uint32(n)
	w.last, w.cum, w.tool = first+uint64(n)-1, check.cum, check.tool
	return nil
}

// FinishRestore ends a restore and publishes h and ext, as Publish does, but with errors in place of its panics.
func (l *Log[E]) FinishRestore(h Header, ext *E) error {
	w := &l.w
	first := w.last + 1
	if s := w.lastSlot(); s != nil {
		first = w.dir.entries[w.lo].first
		switch {
		case s.flags()&FlagEnd == 0:
			return fmt.Errorf("%w: last version %d has no end", ErrPage, s.version())
		case h.Version < s.version():
			return fmt.Errorf("%w: version %d of the context is before %d of its last message", ErrPage, h.Version, s.version())
		}
	}
	if h.LiveFrom < first || h.LiveFrom > w.last+1 || h.Version > maxVersion {
		return fmt.Errorf("%w: window from %d at version %d, with messages %d to %d", ErrPage, h.LiveFrom, h.Version, first, w.last)
	}
	l.Publish(h, ext)
	return nil
}

// maxSeq bounds the first seq of a restored page, so that no arithmetic on seqs overflows.
const maxSeq = 1 << 62

// checker checks the slots of one page in order.
type checker struct {
	front   page
	end     int    // of the message before
	cum     uint64 // through it
	version uint64 // of it
	open    bool   // its version goes on
	tool    uint64
}

func (c *checker) slot(seq uint64, s slot) error {
	start, end := int(s.start()), int(s.start())+int(s.len())
	flags, version := s.flags(), s.version()
	switch {
	case start != c.end || s.len() == 0 || end >= len(c.front):
		return fmt.Errorf("message at %d to %d, expected at %d of %d bytes", start, end, c.end, len(c.front))
	case c.front[end] != ',':
		return fmt.Errorf("no comma at %d", end)
	case s.cum() < c.cum || s.cum()-c.cum > math.MaxUint32:
		return fmt.Errorf("%d tokens after %d", s.cum(), c.cum)
	case flags&^flagsAll != 0 || flags&FlagCut != 0 && flags&FlagEnd == 0:
		return fmt.Errorf("flags %#x", flags)
	case version == 0, c.open && version != c.version, !c.open && version <= c.version:
		return fmt.Errorf("version %d after %d", version, c.version)
	case flags&FlagEnd == 0 && (s.live() != 0 || s.used() != 0), uint64(s.live()) > seq:
		return fmt.Errorf("window of %d messages and %d tokens", s.live(), s.used())
	}
	end++
	var tools uint16
	if flags&FlagAux != 0 {
		n, kinds, ok := ScanAux(c.front[end:])
		if !ok {
			return fmt.Errorf("malformed aux at %d", end)
		}
		tools = kinds
		end += n
	}
	if flags&(FlagToolCall|FlagToolResult) != tools {
		return fmt.Errorf("flags %#x, where aux says %#x", flags, tools)
	}
	if tools != 0 {
		c.tool = seq
	}
	c.end, c.cum, c.version, c.open = end, s.cum(), version, flags&FlagEnd == 0
	return nil
}
