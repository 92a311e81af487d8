package wal

import "sync"

// table is the log's index in memory. The writer changes it while it encodes, under mu; maintenance and
// readers look at it under mu. The writer alone may read groups without it.
type table struct {
	mu     sync.Mutex
	groups []group
	segs   []segment // live ones, oldest first, ids without a gap; the last is the active one
	bytes  int64     // sum of their sizes
}

// segment is what must be known of a live segment to read it.
type segment struct {
	id   uint64
	life life
	size int64 // of the file, and what it counts against the limits
}

// oldestLocked returns the id of the oldest live segment. REQUIRES: mu, or being the writer with at least
// one segment live. The id only grows, so a location resolved with an older answer is still right as long
// as it is live.
func (t *table) oldestLocked() uint64 {
	if len(t.segs) == 0 {
		return 0
	}
	return t.segs[0].id
}

// findLocked returns the live segment with this id. REQUIRES: mu.
func (t *table) findLocked(id uint64) (segment, bool) {
	if len(t.segs) == 0 || id < t.segs[0].id || id-t.segs[0].id >= uint64(len(t.segs)) {
		return segment{}, false
	}
	return t.segs[id-t.segs[0].id], true
}

func (t *table) addSegmentLocked(s segment) {
	t.segs = append(t.segs, s)
	t.bytes += s.size
}

// dropOldestLocked forgets the oldest segment, whose file is gone or has another name. REQUIRES: mu.
func (t *table) dropOldestLocked() {
	t.bytes -= t.segs[0].size
	t.segs = t.segs[:copy(t.segs, t.segs[1:])]
}

// floorLocked returns the position from which group g's entries count; otherwise if it has none.
// REQUIRES: mu.
func (t *table) floorLocked(g *group, otherwise position) position {
	if g.locs.len() == 0 {
		return otherwise
	}
	return g.locs.at(0).position(t.oldestLocked())
}

// neededLocked returns the id of the oldest segment that holds a live entry, or the newest segment's.
// Everything below it may be reclaimed as soon as what the table knows is durable. REQUIRES: mu.
func (t *table) neededLocked() uint64 {
	if len(t.segs) == 0 {
		return 0
	}
	need := t.segs[len(t.segs)-1].id
	for i := range t.groups {
		if g := &t.groups[i]; g.locs.len() > 0 {
			need = min(need, t.floorLocked(g, 0).segment())
		}
	}
	return need
}
