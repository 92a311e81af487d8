package wal

import "fmt"

// group is what the log holds of one raft group: always exactly what replaying the log up to the last
// encoded record would give.
//
// Invariant: the live entries are snap.index+1 .. last(), locs[i] is where snap.index+1+i stands, and
// positions rise with the index. They do, because an entry is only ever added behind all others (append),
// after dropping everything from its index on (overwrite), or together with all live entries (carry).
// So the first entry's position is the group's floor: nothing before it is needed.
type group struct {
	hs    HardState // commit includes what entries said of it
	snap  cut       // truncation point; snap.floor unused, see table.floor; snap.meta owned
	locs  locations
	bytes int64 // encoded size of live entries
	terms []termRun

	// epoch changes whenever a live entry is replaced or dropped other than by truncation of the front:
	// bytes read earlier for a copy are then of no use.
	epoch uint64
}

// termRun says that live entries from index first on have this term, up to the next run.
type termRun struct{ first, term uint64 }

func (g *group) last() uint64 { return g.snap.index + uint64(g.locs.len()) }

// term returns the term of index, which is the truncation point or a live entry.
func (g *group) term(index uint64) uint64 {
	for i := len(g.terms) - 1; i >= 0; i-- {
		if g.terms[i].first <= index {
			return g.terms[i].term
		}
	}
	return g.snap.term
}

// checkEntry says why an entry cannot follow, or "".
func (g *group) checkEntry(index, term uint64) string {
	switch {
	case index <= g.snap.index:
		return fmt.Sprintf("entry %d is at or below the truncation point %d", index, g.snap.index)
	case index > g.last()+1:
		return fmt.Sprintf("entry %d leaves a gap after %d", index, g.last())
	case term < g.term(index-1):
		return fmt.Sprintf("entry %d has term %d, but the one before it has term %d", index, term, g.term(index-1))
	}
	return ""
}

// add records an entry that checkEntry accepts, overwriting the log from its index on.
func (g *group) add(index, term, commit uint64, l location) {
	if keep := int(index - g.snap.index - 1); keep < g.locs.len() {
		g.cutBack(keep)
	}
	if g.term(index-1) != term || len(g.terms) == 0 {
		g.terms = append(g.terms, termRun{index, term})
	}
	g.locs.push(l)
	size, _ := l.size()
	g.bytes += int64(size)
	g.hs.Commit = max(g.hs.Commit, commit)
}

// cutBack keeps the first keep live entries.
func (g *group) cutBack(keep int) {
	for i := keep; i < g.locs.len(); i++ {
		size, _ := g.locs.at(i).size()
		g.bytes -= int64(size)
	}
	g.locs.truncate(keep)
	last := g.last()
	n := len(g.terms)
	for n > 0 && g.terms[n-1].first > last {
		n--
	}
	g.terms = g.terms[:n]
	g.epoch++
}

// truncate moves the truncation point, and says whether that changed anything. Entries above it stay if
// the log holds its entry with the same term; or else they belong to a history that lost, and go.
func (g *group) truncate(index, term uint64, meta []byte) bool {
	if index < g.snap.index {
		return false // an older snapshot that finished late
	}
	if index >= g.last() || g.term(index) != term {
		g.cutBack(0)
	} else {
		k := int(index - g.snap.index)
		for i := range k {
			size, _ := g.locs.at(i).size()
			g.bytes -= int64(size)
		}
		g.locs.popFront(k)
		g.cutTerms(index)
	}
	g.snap.index, g.snap.term = index, term
	g.snap.meta = append(g.snap.meta[:0], meta...)
	return true
}

// cutTerms forgets terms up to and with index, which has a live entry above it.
func (g *group) cutTerms(index uint64) {
	i := 0
	for i+1 < len(g.terms) && g.terms[i+1].first <= index+1 {
		i++
	}
	g.terms = g.terms[:copy(g.terms, g.terms[i:])]
	if len(g.terms) > 0 {
		g.terms[0].first = max(g.terms[0].first, index+1)
	}
}

// forget makes the group's log empty and new. Term and vote stay.
func (g *group) forget() {
	g.cutBack(0)
	g.snap.index, g.snap.term, g.snap.meta = 0, 0, g.snap.meta[:0]
	g.hs.Commit = 0
}

// setState takes a hard state. The commit index never goes back.
func (g *group) setState(hs HardState) {
	hs.Commit = max(hs.Commit, g.hs.Commit)
	g.hs = hs
}

// durableState is the hard state as a checkpoint may promise it: a commit beyond the last entry counts on
// records that come later and may be lost.
func (g *group) durableState() HardState {
	hs := g.hs
	hs.Commit = min(hs.Commit, g.last())
	return hs
}
