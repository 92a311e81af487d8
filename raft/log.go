package raft

import (
	"fmt"
	"math"
)

// raftLog is the group's view of its log: the newest part in memory, and marks.
//
//	           snapIndex        first                                          last
//	..snapshot....|...WAL only....|===================memory=====================|
//	                         applied   handed   commit        stable    saved
//
// Invariants:
//   - entries.at(i) has index first+i; terms never decrease.
//   - snapIndex <= handed, applied <= handed <= commit <= last; stable <= saved <= last.
//   - first-1 <= min(applied, stable): only what is applied and durable leaves memory, so that whatever
//     is missing here can be read from the WAL or is covered by a snapshot.
//   - entries up to commit never change. Those up to stable are on disk as they are here.
type raftLog struct {
	entries  queue[Entry]
	first    uint64 // index of the oldest entry in memory, or of the next one to come
	prevTerm uint64 // term of the entry at first-1

	snapIndex, snapTerm uint64 // newest durable snapshot

	commit  uint64
	handed  uint64 // last index given out in Ready.Committed
	applied uint64
	saved   uint64 // last index given out in Ready.Entries
	stable  uint64 // last durable index

	kept      int    // bytes of the entries in [first, keptUntil]
	keptUntil uint64 // last index that is counted in kept, at least first-1
}

func (l *raftLog) last() uint64 { return l.first + uint64(l.entries.len()) - 1 }

func (l *raftLog) lastTerm() uint64 {
	if n := l.entries.len(); n > 0 {
		return l.entries.at(n - 1).Term
	}
	return l.prevTerm
}

// entry returns the entry at index, which must be in memory.
func (l *raftLog) entry(index uint64) *Entry { return l.entries.at(int(index - l.first)) }

// term returns the term at index; ok is false where it is not known here (older than memory, or
// beyond the end).
func (l *raftLog) term(index uint64) (term uint64, ok bool) {
	switch {
	case index >= l.first && index <= l.last():
		return l.entry(index).Term, true
	case index == l.first-1:
		return l.prevTerm, true
	case index == l.snapIndex:
		return l.snapTerm, true
	case index == 0:
		return 0, true
	}
	return 0, false
}

func (l *raftLog) matches(index, term uint64) bool {
	t, ok := l.term(index)
	return ok && t == term
}

// upToDate is the voting rule of paper 5.4.1: is a log that ends at (index, term) at least as good?
func (l *raftLog) upToDate(index, term uint64) bool {
	return term > l.lastTerm() || term == l.lastTerm() && index >= l.last()
}

// backtrack returns the largest index at or below from whose term is at most term or is not known
// here, and that term (0 if not known). Neither side's log can agree with the other's at a place
// where its term is larger than all the other has up to there, so such places are skipped: one round
// trip per term at worst, not one per entry (paper 5.3, last part).
func (l *raftLog) backtrack(from, term uint64) (uint64, uint64) {
	for ; from > 0; from-- {
		t, ok := l.term(from)
		if !ok || t <= term {
			return from, t
		}
	}
	return 0, 0
}

func (l *raftLog) append(e Entry) {
	if e.Index != l.last()+1 {
		panic(fmt.Sprintf("raft: append of entry %d after entry %d: a bug in this package, report it", e.Index, l.last()))
	}
	l.entries.push(e)
}

// truncate drops all entries from index on. They must not be committed.
func (l *raftLog) truncate(index uint64) {
	if index <= l.commit {
		panic(fmt.Sprintf("raft: truncating committed entry %d (commit is %d): a bug in this package, report it and keep the data directory",
			index, l.commit))
	}
	l.entries.keep(int(index - l.first))
	l.saved = min(l.saved, index-1)
	l.stable = min(l.stable, index-1)
}

// reset replaces the log by a snapshot.
func (l *raftLog) reset(index, term uint64) {
	l.entries.keep(0)
	l.first, l.prevTerm = index+1, term
	l.snapIndex, l.snapTerm = index, term
	l.commit, l.handed = index, index
	l.saved, l.stable = index, min(l.stable, index)
	l.kept, l.keptUntil = 0, index
}

// trim drops the oldest entries that are applied and durable, except for the newest keep bytes.
func (l *raftLog) trim(keep int) {
	for end := min(l.applied, l.stable); l.keptUntil < end; {
		l.keptUntil++
		l.kept += l.entry(l.keptUntil).size()
	}
	drop := 0
	for l.kept > keep && l.first+uint64(drop) <= l.keptUntil {
		e := l.entries.at(drop)
		l.kept -= e.size()
		l.prevTerm = e.Term
		drop++
	}
	if drop > 0 {
		l.entries.pop(drop)
		l.first += uint64(drop)
	}
}

// release drops the entries up to index that trim would drop if it kept nothing.
func (l *raftLog) release(index uint64) {
	l.trim(math.MaxInt) // counts
	drop := 0
	for last := min(index, l.keptUntil); l.first+uint64(drop) <= last; drop++ {
		e := l.entries.at(drop)
		l.kept -= e.size()
		l.prevTerm = e.Term
	}
	l.entries.pop(drop)
	l.first += uint64(drop)
}

// slice appends to dst the entries [lo, hi] in memory until maxBytes is reached; the first one always
// goes. It returns dst and the bytes added.
func (l *raftLog) slice(dst []Entry, lo, hi uint64, maxBytes int) ([]Entry, int) {
	bytes := 0
	for i := lo; i <= hi; i++ {
		e := l.entry(i)
		if n := e.size(); i > lo && bytes+n > maxBytes {
			break
		} else {
			bytes += n
		}
		dst = append(dst, *e)
	}
	return dst, bytes
}
