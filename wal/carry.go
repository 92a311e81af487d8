package wal

// unit is a group's complete live log, read for copying forward. See doc.go, "Copying forward".
type unit struct {
	group   uint32
	epoch   uint64
	entries []Entry
	bytes   int64 // the most that they take
}

// carryTailMax bounds what the writer itself reads at a rotation because it was appended to a group after
// maintenance had read the rest.
const carryTailMax = 64 << 10

// readUnit reads the complete live log of a group, as far as it is durable. Called by maintenance, so
// that the writer need not wait for these reads, which may come from a cold disk.
func (w *WAL) readUnit(id uint32) (*unit, error) {
	w.tab.mu.Lock()
	g := &w.tab.groups[id]
	first, last, epoch := g.snap.index+1, g.last(), g.epoch
	w.tab.mu.Unlock()
	u := &unit{group: id, epoch: epoch}
	if last < first {
		return u, nil
	}
	entries, err := w.Read(id, first, last+1, int(w.o.SegmentBytes), nil)
	if err != nil {
		return nil, err
	}
	u.entries = entries
	return u, nil
}

// setUnits leaves what maintenance has read to the next rotation, replacing what is left there.
func (w *WAL) setUnits(units []*unit) {
	w.units.Lock()
	w.units.ready = units
	w.units.Unlock()
}

func (w *WAL) takeUnits() []*unit {
	w.units.Lock()
	defer w.units.Unlock()
	u := w.units.ready
	w.units.ready = nil
	return u
}

// finishUnits makes the units complete as of now, and drops those that are out of date or do not fit into
// limit bytes together with the checkpoint. Called by the writer, which alone changes groups: what it
// checks here still holds when it encodes.
func (w *WAL) finishUnits(units []*unit, limit int64) []*unit {
	if len(units) == 0 {
		return nil
	}
	total := int64(headerBytes + blockBytes)
	for i := range w.tab.groups {
		total += int64(recordBound(kindCheckpoint, len(w.tab.groups[i].snap.meta)))
	}
	kept := units[:0]
	for _, u := range units {
		g := &w.tab.groups[u.group]
		if u.epoch != g.epoch || !w.finishUnit(u, g) || total+u.bytes > limit {
			continue
		}
		total += u.bytes
		kept = append(kept, u)
	}
	return kept
}

// finishUnit drops entries truncated since the unit was read and adds those appended since. The epoch has
// not changed, so the entries in between are the same.
func (w *WAL) finishUnit(u *unit, g *group) bool {
	for len(u.entries) > 0 && u.entries[0].Index <= g.snap.index {
		u.entries = u.entries[1:]
	}
	if g.locs.len() == 0 {
		return false // nothing to carry
	}
	have := g.snap.index
	if n := len(u.entries); n > 0 {
		if u.entries[0].Index != g.snap.index+1 {
			return false // all of what was read is gone, and what there is now is not next to it
		}
		have = u.entries[n-1].Index
	}
	if last := g.last(); have < last {
		missing := int64(0)
		for i := have + 1; i <= last; i++ {
			n, exact := g.locs.at(int(i - g.snap.index - 1)).size()
			if missing += int64(n); missing > carryTailMax || !exact {
				return false // a busy group: its old entries will soon be truncated, or carried next time
			}
		}
		entries, err := w.Read(u.group, have+1, last+1, carryTailMax, u.entries)
		if err != nil || entries[len(entries)-1].Index != last {
			return false
		}
		u.entries = entries
	}
	u.bytes = 0
	for i := range u.entries {
		u.bytes += int64(recordBound(kindCarry, len(u.entries[i].Data)))
	}
	return true
}
