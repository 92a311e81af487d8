package wal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// replayed is what Open did, for Stats.
type replayed struct {
	bytes    int64
	records  uint64
	entries  uint64
	segments int
	took     time.Duration
	tail     tail
}

// recovery is Open's work on what it finds in the directory. In order:
//
//  1. newest segment: header, checkpoint, and the body up to its end (see recovery_rule.go). The last
//     truncation of every group, from the checkpoint or a later SNAPSHOT record, is then known, and with it
//     the position from which the group's entries count.
//  2. the chain of headers back to the oldest segment that holds a counting entry.
//  3. the segments again, oldest first, streamed to the handler.
//  4. the newest segment is sealed where it ends, and a new one is begun.
//
// Reading the newest segment twice costs at most one segment, and means that nothing is handed out before
// the tail is judged, nothing that a later truncation covers is handed out at all, and older segments that
// are not needed any more may be gone.
type recovery struct {
	w       *WAL
	h       Handler
	ids     []uint64        // segments found, ascending
	segs    []*foundSegment // needed ones, oldest first
	cuts    []cut           // per group: the final truncation point and floor
	last    []uint64        // per group: last index by the newest checkpoint
	states  []HardState     // per group: hard state by the newest checkpoint
	started []bool          // per group: has a live entry before the newest body
}

// foundSegment is a segment file. Only the newest stays open for the time of recovery.
type foundSegment struct {
	file File
	path string
	size int64
	h    header
	end  int64 // of the body
}

func (w *WAL) recover(h Handler) error {
	began := w.o.Now()
	rec := &recovery{w: w, h: h}
	defer rec.close()
	if err := w.o.FS.MkdirAll(w.o.Dir); err != nil {
		return fmt.Errorf("wal: create directory: %w", err)
	}
	if err := rec.list(); err != nil {
		return err
	}
	if len(rec.ids) == 0 {
		// The directory itself must be durable before anything in it is acknowledged.
		if err := w.o.FS.SyncDir(filepath.Dir(w.o.Dir)); err != nil {
			return fmt.Errorf("wal: sync of %s: %w", filepath.Dir(w.o.Dir), err)
		}
		return w.firstSegment(nil)
	}
	if err := rec.readNewest(); err != nil {
		return err
	}
	if err := rec.openChain(); err != nil {
		return err
	}
	rec.announce()
	if err := rec.replay(); err != nil {
		return err
	}
	w.replay.took = w.o.Now().Sub(began)
	w.replay.segments = len(rec.segs)
	return rec.seal()
}

func (r *recovery) close() {
	for _, s := range r.segs {
		if s.file != nil {
			_ = s.file.Close() // read only, or synced by seal
		}
	}
}

// list sorts out the directory: segments, spares worth keeping, and leftovers, which are removed.
func (r *recovery) list() error {
	w := r.w
	names, err := w.o.FS.List(w.o.Dir)
	if err != nil {
		return fmt.Errorf("wal: list %s: %w", w.o.Dir, err)
	}
	var spares []string
	for _, name := range names {
		n, suffix, ok := parseName(name)
		switch {
		case !ok:
			w.o.Logf("wal_foreign_file", "path", filepath.Join(w.o.Dir, name))
		case suffix == segmentSuffix:
			r.ids = append(r.ids, n)
		default:
			spares = append(spares, filepath.Join(w.o.Dir, name))
			w.spareSeq = max(w.spareSeq, n)
		}
	}
	slices.Sort(r.ids)
	if len(names) > 0 {
		// The names may be news to the disk, if a process died between changing one and the sync. Were a
		// spare written over whose old name, a segment's, could come back, so would a segment with foreign
		// contents.
		if err := w.o.FS.SyncDir(w.o.Dir); err != nil {
			return fmt.Errorf("wal: sync of %s: %w", w.o.Dir, err)
		}
	}
	for _, path := range spares {
		if err := r.adopt(path); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes a spare of an earlier run into the pool, or removes it: pre-writing was interrupted, or it
// has another size, or there are enough.
func (r *recovery) adopt(path string) error {
	w := r.w
	f, err := w.o.FS.Open(path)
	if err != nil {
		return fmt.Errorf("wal: open spare: %w", err)
	}
	size, err := f.Size()
	if err == nil && size == w.o.SegmentBytes && len(w.pool.free) < max(w.o.FreeSegments, 1) {
		w.pool.put(spare{file: f, path: path, size: size})
		return nil
	}
	_ = f.Close() // nothing was written
	if err := w.o.FS.Remove(path); err != nil {
		return fmt.Errorf("wal: remove spare: %w", err)
	}
	return nil
}

// corrupt applies the rule for f, which must be to refuse.
func (s *foundSegment) corrupt(f what, off int64, format string, args ...any) error {
	return &CorruptionError{Path: s.path, Offset: off, Reason: fmt.Sprintf(format, args...) + " (" + decide(f).why + ")"}
}

// open opens a segment and reads its header.
func (r *recovery) open(id uint64) (*foundSegment, error) {
	s := &foundSegment{path: segmentPath(r.w.o.Dir, id)}
	var err error
	if s.file, err = r.w.o.FS.Open(s.path); err != nil {
		return nil, fmt.Errorf("wal: open segment: %w", err)
	}
	r.segs = append(r.segs, s) // from here on, close closes it
	if s.size, err = s.file.Size(); err != nil {
		return nil, fmt.Errorf("wal: size of %s: %w", s.path, err)
	}
	var b [headerBytes]byte
	n, err := s.file.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("wal: read of %s: %w", s.path, err)
	}
	if reason := s.h.decode(b[:n]); reason != "" {
		return nil, s.corrupt(foundHeaderBad, 0, "%s", reason)
	}
	if s.h.id != id {
		return nil, s.corrupt(foundHeaderBad, 16, "the header says segment %016x", s.h.id)
	}
	if s.size < s.h.preambleEnd {
		return nil, s.corrupt(foundPreambleBad, s.size, "the file has %d bytes, the preamble alone %d", s.size, s.h.preambleEnd)
	}
	return s, nil
}

// readNewest judges the newest segment's tail and collects the truncation points.
func (r *recovery) readNewest() error {
	w := r.w
	s, err := r.open(r.ids[len(r.ids)-1])
	if err != nil {
		return err
	}
	if int(s.h.groups) > w.o.Groups {
		return fmt.Errorf("wal: %s was written for %d groups, this node is configured for %d: the number may not shrink", s.path, s.h.groups, w.o.Groups)
	}
	n := w.o.Groups
	r.cuts, r.last, r.states, r.started = make([]cut, n), make([]uint64, n), make([]HardState, n), make([]bool, n)
	for i := range r.cuts {
		r.cuts[i].floor = makePosition(s.h.id, 0) // of groups that the log does not know yet
	}
	limit := min(s.size, s.h.segmentBytes)
	sc := newScanner([]span{
		{file: s.file, path: s.path, from: headerBytes, to: s.h.preambleEnd},
		{file: s.file, path: s.path, from: s.h.preambleEnd, to: limit},
	}, nil, !w.o.Manual)
	defer sc.close()
	if err := s.preamble(sc, func(off int64, rec *record) error {
		if rec.kind == kindCheckpoint {
			g := rec.group
			r.states[g], r.cuts[g], r.last[g] = rec.checkpoint()
			r.cuts[g].meta = slices.Clone(r.cuts[g].meta)
		}
		return nil
	}); err != nil {
		return err
	}
	sc.enter(s.h.life(), limit)
	var rec record
	for {
		off, ok := sc.read(&rec)
		if !ok || !inBody(rec.kind) {
			s.end = off
			break
		}
		if int(rec.group) >= n {
			return s.corrupt(foundBadSequence, off, "a record of group %d in a log of %d groups", rec.group, n)
		}
		c := &r.cuts[rec.group]
		switch rec.kind {
		case kindSnapshot:
			*c = rec.snapshot()
			c.meta = slices.Clone(c.meta)
		case kindForget:
			*c = cut{floor: makePosition(s.h.id, off)}
		case kindEntry:
			if rec.words[0] == c.index+1 {
				// The first live entry, appended to an empty log or written over all of it. In the second
				// case the segments of what it replaces may be gone already.
				c.floor = makePosition(s.h.id, off)
			}
		}
	}
	if sc.ioErr != nil {
		return sc.ioErr
	}
	return r.judgeTail(s, limit)
}

func inBody(k recordKind) bool     { return kinds[k].body }
func inPreamble(k recordKind) bool { return kinds[k].preamble }

func (r *recovery) judgeTail(s *foundSegment, limit int64) error {
	t := &r.w.replay.tail
	*t = tail{end: s.end}
	if s.end == limit {
		return nil
	}
	var err error
	if *t, err = lookAhead(s.file, s.path, &s.h, s.end, limit); err != nil {
		return err
	}
	if decide(t.found).then == refuse {
		return s.corrupt(t.found, s.end, "no valid record here, in the middle of the log")
	}
	if s.size < s.h.segmentBytes {
		// A segment has its full size from the first; recovery trims the newest one only at its very end.
		zero, err := allZero(s.file, s.path, s.end, s.size)
		if err != nil {
			return err
		}
		if !zero {
			return s.corrupt(foundCutShort, s.end, "the file has %d bytes, it was made with %d, and it ends inside a record", s.size, s.h.segmentBytes)
		}
	}
	if t.found == foundBadLaterValid {
		r.w.o.Logf("wal_torn_tail", "path", s.path, "offset", s.end, "later_records", t.later)
	}
	return nil
}

// preamble reads a segment's preamble, checks that it is whole, and visits its records. It enters sc's
// next span, which must be the preamble.
func (s *foundSegment) preamble(sc *scanner, visit func(off int64, rec *record) error) error {
	sc.enter(s.h.life(), s.h.preambleEnd)
	var rec record
	checkpoints := uint32(0)
	for {
		off, ok := sc.read(&rec)
		if !ok && sc.end() {
			break
		}
		switch {
		case sc.ioErr != nil:
			return sc.ioErr
		case !ok:
			return s.corrupt(foundPreambleBad, off, "a record of the preamble is not valid")
		case !inPreamble(rec.kind):
			return s.corrupt(foundPreambleBad, off, "a record of kind %v in the preamble", rec.kind)
		case rec.kind == kindCheckpoint && rec.group != checkpoints:
			return s.corrupt(foundPreambleBad, off, "the checkpoint of group %d stands where group %d's belongs", rec.group, checkpoints)
		case rec.kind == kindCarry && rec.group >= s.h.groups:
			return s.corrupt(foundPreambleBad, off, "a record of group %d in a log of %d groups", rec.group, s.h.groups)
		case rec.kind == kindCheckpoint:
			checkpoints++
		}
		if err := visit(off, &rec); err != nil {
			return err
		}
	}
	if checkpoints != s.h.groups {
		return s.corrupt(foundPreambleBad, s.h.checkpointOff, "the checkpoint covers %d of %d groups", checkpoints, s.h.groups)
	}
	return nil
}

// openChain opens the segments below the newest that hold counting entries, checks that each is the one
// that the next was made after, and leaves r.segs sorted oldest first.
func (r *recovery) openChain() error {
	newest := r.segs[0]
	need := newest.h.id
	for i := range r.cuts {
		need = min(need, r.cuts[i].floor.segment())
	}
	if need == 0 {
		return newest.corrupt(foundPreambleBad, newest.h.checkpointOff, "a group's floor lies before the first segment")
	}
	for next := newest; next.h.id > need; {
		id := next.h.id - 1
		if _, found := slices.BinarySearch(r.ids, id); !found {
			missing := &foundSegment{path: segmentPath(r.w.o.Dir, id)}
			return missing.corrupt(foundFileMissing, 0, "the file is missing, the log needs segments %x to %x", need, newest.h.id)
		}
		s, err := r.open(id)
		if err != nil {
			return err
		}
		s.end = next.h.prevEnd
		switch {
		case s.h.salt != next.h.prevSalt:
			return s.corrupt(foundChainBroken, 24, "segment %x was made after another segment %x", next.h.id, id)
		case s.end < s.h.preambleEnd:
			return next.corrupt(foundHeaderBad, 40, "it says that segment %x ends at %d, inside its preamble", id, s.end)
		case s.size < s.end:
			return s.corrupt(foundFileShort, s.size, "the file has %d bytes, the log in it %d", s.size, s.end)
		}
		_ = s.file.Close() // read only
		s.file = nil       // opened again when its turn comes
		next = s
	}
	slices.Reverse(r.segs)
	return nil
}

// announce tells the handler and the table the final truncation points.
func (r *recovery) announce() {
	for i := range r.cuts {
		c := &r.cuts[i]
		g := &r.w.tab.groups[i]
		g.snap = cut{index: c.index, term: c.term, meta: slices.Clone(c.meta)}
		if r.h != nil && c.index > 0 {
			r.h.Snapshot(uint32(i), c.index, c.term, c.meta)
		}
	}
}

// replay streams the segments, oldest first.
func (r *recovery) replay() error {
	w := r.w
	var spans []span
	for _, s := range r.segs {
		w.tab.segs = append(w.tab.segs, segment{id: s.h.id, life: s.h.life(), size: s.size})
		spans = append(spans,
			span{file: s.file, fs: w.o.FS, path: s.path, from: headerBytes, to: s.h.preambleEnd},
			span{file: s.file, fs: w.o.FS, path: s.path, from: s.h.preambleEnd, to: s.end})
	}
	held, _ := r.h.(Releaser)
	sc := newScanner(spans, held, !w.o.Manual)
	defer sc.close()
	for i, s := range r.segs {
		if err := r.replaySegment(sc, s, i == 0, i == len(r.segs)-1); err != nil {
			return err
		}
	}
	w.replay.bytes = sc.bytes
	return nil
}

func (r *recovery) replaySegment(sc *scanner, s *foundSegment, first, newest bool) error {
	err := s.preamble(sc, func(off int64, rec *record) error {
		switch rec.kind {
		case kindCarry:
			return r.entry(sc, s, off, rec)
		case kindCheckpoint:
			return r.checkpoint(s, off, rec, first, newest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sc.enter(s.h.life(), s.end)
	var rec record
	for {
		off, ok := sc.read(&rec)
		if !ok {
			switch {
			case sc.ioErr != nil:
				return sc.ioErr
			case off == s.end:
				return nil
			case sc.eof:
				return s.corrupt(foundFileShort, off, "the file ends here, the log goes on to %d", s.end)
			}
			return s.corrupt(foundBadBeforeEnd, off, "no valid record here, the log goes on to %d", s.end)
		}
		r.w.replay.records++
		if int(rec.group) >= r.w.o.Groups || !inBody(rec.kind) {
			return s.corrupt(foundBadSequence, off, "a %v record of group %d in the body of a log of %d groups", rec.kind, rec.group, r.w.o.Groups)
		}
		switch rec.kind {
		case kindEntry:
			if err := r.entry(sc, s, off, &rec); err != nil {
				return err
			}
		case kindState:
			hs := r.countingState(s, off, rec.group, rec.state())
			r.w.tab.groups[rec.group].setState(hs)
			if r.h != nil {
				r.h.State(rec.group, hs)
			}
		case kindForget:
			if f, ok := r.h.(Forgetter); ok {
				f.Forgotten(rec.group)
			}
		}
	}
}

// countingState is a hard state as read at off of s. Before the group's floor, its commit index counts only up to
// the truncation point: what it says beyond is said of entries that are gone, and after a FORGET other entries may
// stand at those indexes. Nothing is lost by it. An entry that lives was first written at or behind the floor, so that
// what was committed before is at or below the truncation point; or it was carried there, and its CARRY says again
// what is committed.
func (r *recovery) countingState(s *foundSegment, off int64, group uint32, hs HardState) HardState {
	if c := &r.cuts[group]; makePosition(s.h.id, off) < c.floor {
		hs.Commit = min(hs.Commit, c.index)
	}
	return hs
}

// entry takes an ENTRY or CARRY. Those below the group's floor are dead: truncated, overwritten together
// with the whole log of the group, or copied forward. From the floor on, they follow one another.
func (r *recovery) entry(sc *scanner, s *foundSegment, off int64, rec *record) error {
	at := makePosition(s.h.id, off)
	g := &r.w.tab.groups[rec.group]
	commit, e := rec.entry()
	if at < r.cuts[rec.group].floor {
		return nil
	}
	if why := g.checkEntry(e.Index, e.Term); why != "" {
		return s.corrupt(foundBadSequence, off, "group %d: %s", rec.group, why)
	}
	g.add(e.Index, e.Term, commit, makeLocation(at, rec.size))
	r.w.replay.entries++
	if r.h != nil {
		sc.keep()
		r.h.Entry(rec.group, commit, e)
	}
	return nil
}

// checkpoint takes the oldest segment's checkpoint as the state to begin with, and compares the newest
// one's with what replay has come to: the pair of what was written and what is read.
func (r *recovery) checkpoint(s *foundSegment, off int64, rec *record, first, newest bool) error {
	g := &r.w.tab.groups[rec.group]
	hs, _, last := rec.checkpoint()
	hs = r.countingState(s, off, rec.group, hs)
	if newest && !first {
		if hs.Term != g.hs.Term || hs.Vote != g.hs.Vote {
			return s.corrupt(foundBadSequence, off, "group %d: the checkpoint has term %d and vote %d, the log before it %d and %d",
				rec.group, hs.Term, hs.Vote, g.hs.Term, g.hs.Vote)
		}
	}
	if newest && r.cuts[rec.group].floor < makePosition(s.h.id, s.h.preambleEnd) && max(last, g.snap.index) != g.last() {
		return s.corrupt(foundBadSequence, off, "group %d: the checkpoint says that the log ends at %d, it ends at %d", rec.group, last, g.last())
	}
	if first {
		g.setState(hs)
		if r.h != nil && hs != (HardState{}) {
			r.h.State(rec.group, hs)
		}
	}
	g.hs.Commit = max(g.hs.Commit, hs.Commit)
	return nil
}

// seal ends the newest segment for good and begins the next. It is never appended to: what stands beyond
// its end might look valid behind records written there by this life, and would come back to life.
//
// What was read may only be in the page cache, if the process died and the machine did not. It is synced
// first, because the next header promises it.
func (r *recovery) seal() error {
	w := r.w
	newest := r.segs[len(r.segs)-1]
	if err := newest.file.Sync(); err != nil {
		return fmt.Errorf("wal: sync of %s: %w", newest.path, err)
	}
	w.tab.mu.Lock()
	for i := range w.tab.segs {
		w.tab.bytes += w.tab.segs[i].size
	}
	w.tab.mu.Unlock()
	// Older files than needed are given up by maintenance, which takes them from the table.
	if err := r.listUnneeded(); err != nil {
		return err
	}
	w.count.live.Store(w.tab.bytes)
	for i := range w.tab.groups {
		g := &w.tab.groups[i]
		g.hs.Commit = min(g.hs.Commit, g.last())
	}
	if w.pool.len() == 0 {
		// On a full disk, its bytes may be those that the next segment needs. As long as it is the newest,
		// it must end with a record: see foundCutShort.
		r.trim(newest, newest.end)
	}
	if err := w.firstSegment(newest); err != nil {
		return err
	}
	if w.act.file != nil {
		r.trim(newest, alignUp(newest.end, blockBytes))
	}
	return nil
}

// trim gives the rest of the sealed file back: a node that restarts again and again would otherwise leave
// a whole segment each time. The tail has been judged and what is before it is durable, so that nothing
// beyond it will ever be looked at again.
func (r *recovery) trim(s *foundSegment, size int64) {
	w := r.w
	if size >= s.size {
		return
	}
	if err := s.file.Truncate(size); err != nil {
		w.o.Logf("wal_truncate_failed", "path", s.path, "error", err.Error())
		return
	}
	w.tab.mu.Lock()
	for i := range w.tab.segs {
		if w.tab.segs[i].id == s.h.id {
			w.tab.segs[i].size = size
			w.tab.bytes -= s.size - size
		}
	}
	w.count.live.Store(w.tab.bytes)
	w.tab.mu.Unlock()
	s.size = size
}

// listUnneeded puts the segments below the needed ones at the front of the table. A gap ends the search:
// what lies below it is removed at once, for the table has no gaps.
func (r *recovery) listUnneeded() error {
	w := r.w
	oldest := w.tab.segs[0].id
	for i := len(r.ids) - 1; i >= 0; i-- {
		id := r.ids[i]
		if id >= oldest {
			continue
		}
		path := segmentPath(w.o.Dir, id)
		if id+1 != oldest {
			if err := w.o.FS.Remove(path); err != nil {
				return fmt.Errorf("wal: remove of a segment that is not needed: %w", err)
			}
			continue
		}
		f, err := w.o.FS.Open(path)
		if err != nil {
			return fmt.Errorf("wal: open segment: %w", err)
		}
		size, err := f.Size()
		_ = f.Close() // nothing was written
		if err != nil {
			return fmt.Errorf("wal: size of %s: %w", path, err)
		}
		w.tab.segs = slices.Insert(w.tab.segs, 0, segment{id: id, size: size})
		w.tab.bytes += size
		oldest = id
	}
	return nil
}

// firstSegment begins the first segment of this life, after the one that recovery ended with, if any. On a
// full disk it tries smaller ones, so that the node can at least vote and serve reads; if not even the
// smallest fits, the log opens without one and waits for space: Full is true and nothing gets done.
func (w *WAL) firstSegment(after *foundSegment) error {
	if after != nil {
		// A segment without room: the writer will rotate before its first record.
		w.act = active{path: after.path, id: after.h.id, salt: after.h.salt, size: after.end}
		w.act.enc.start = after.end
		w.act.enc.durable = makePosition(after.h.id, after.end)
		w.durable.Store(uint64(w.act.enc.durable))
		w.tab.mu.Lock()
		w.needed.Store(w.tab.neededLocked())
		w.tab.mu.Unlock()
		w.activeID.Store(after.h.id)
	}
	if w.pool.len() == 0 {
		var err error
		for size := w.o.SegmentBytes; size >= MinSegmentBytes(w.o.Groups); size = alignUp(size/2, blockBytes) {
			var sp spare
			if sp, err = w.makeSpare(size, false); err == nil {
				w.pool.put(sp)
				break
			}
			if !isNoSpace(err) {
				return err
			}
			if size <= blockBytes {
				break
			}
		}
		if err != nil && after == nil {
			return err
		}
		if err != nil {
			w.pool.setNoSpace(true)
			w.updateFull()
			w.o.Logf("wal_no_space", "error", err.Error())
			return nil
		}
	}
	if err := w.rotate(); err != nil {
		return errors.Join(errors.New("wal: beginning a segment"), err)
	}
	return nil
}
