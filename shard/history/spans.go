package history

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// spansMax is for how many contexts a file's spans are kept: 6 KiB of memory a file. What a shard spills at once are some
// contexts, and a file of more is one of many such: there are few of those.
const spansMax = 256

// span says that a file has messages of a context, none below first and none above last. Contexts whose hashes are equal share
// one: it may promise too much, and never too little.
type span struct{ id, first, last uint64 }

// spans are what a file has, by hash. Without them a lookup would read an index page of every file of the shard.
type spans struct {
	of  []span
	all bool // they are of too many contexts, or could not be read: every lookup has to look
}

// may reports whether the file could have message seq of a context with this hash. The first call reads the whole index: a page
// of 8 KiB for 10 MB of messages.
func (h *file) may(id, seq uint64) bool {
	s := h.spans.Load()
	if s == nil {
		s = h.readSpans()
		h.spans.Store(s) // others may have done the same meanwhile, with the same result
	}
	if s.all {
		return true
	}
	i, found := slices.BinarySearchFunc(s.of, id, func(sp span, id uint64) int { return cmp.Compare(sp.id, id) })
	return found && s.of[i].first <= seq && seq <= s.of[i].last
}

// readSpans reads the index through. Damage is not for here: who needs the page that is damaged will meet it.
func (h *file) readSpans() *spans {
	var of []span
	last := ""
	for sc := (scan{h: h}); ; {
		if err := sc.advance(); err != nil {
			return &spans{all: true}
		}
		if sc.done {
			break
		}
		e := &sc.it.e
		if len(of) == 0 || e.id != last {
			if len(of) == spansMax {
				return &spans{all: true}
			}
			last = e.id
			of = append(of, span{hashID(e.id), e.first, e.last()})
		}
		of[len(of)-1].last = max(of[len(of)-1].last, e.last())
	}
	slices.SortFunc(of, func(a, b span) int { return cmp.Compare(a.id, b.id) })
	n := 0
	for _, s := range of {
		if n > 0 && of[n-1].id == s.id {
			of[n-1].first, of[n-1].last = min(of[n-1].first, s.first), max(of[n-1].last, s.last)
			continue
		}
		of[n] = s
		n++
	}
	return &spans{of: slices.Clip(slices.Clone(of[:n]))}
}

// hashID is for memory only: nothing on disk depends on it.
func hashID(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64()
}
