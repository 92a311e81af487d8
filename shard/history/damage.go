package history

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Damage. A file that does not hold what was written is worth nothing to this node, whose peers have all that was in it. So
// with Options.Heal the store does without such a file: its generations are a gap, and while there is a gap, whatever is
// not found is an error and never "nothing here". Heal writes what was fetched elsewhere in the gap's place.
//
// Where a damaged file goes and what a crash leaves:
//
//  1. The file is taken off the list (Condemn, or Open where its index is damaged), so that no reader meets it again. It
//     stays in the directory: a crash leaves it, and it is found damaged once more.
//  2. What was fetched becomes a file of the same generations under a temporary name, synced. A crash removes it.
//  3. The damaged file goes, and the new one gets its name. A crash in between leaves a gap without a file, which Open
//     takes for a lost one: the same as damaged.

// generations is a range of them, both ends included.
type generations struct{ from, to uint64 }

// hurt tells the node of damage that was met, where it wants to know. Any goroutine.
func (s *Store) hurt(shard uint32, err error) error {
	var e *DamagedError
	if s.opt.OnDamage != nil && errors.As(err, &e) {
		s.opt.OnDamage(shard, e)
	}
	return err
}

// Damage says why the store does without a part of a shard's history; nil: it has all of it, as far as it knows.
func (s *Store) Damage(shard uint32) error {
	sf := &s.shards[shard]
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	return sf.damage
}

// Lost notes that something is missing from a shard's history which no file tells of. Until Heal, what is not found is err.
func (s *Store) Lost(shard uint32, err error) {
	sf := &s.shards[shard]
	sf.mu.Lock()
	defer sf.mu.Unlock()
	if sf.damage == nil {
		sf.damage = err
	}
}

// Condemn takes the file that e names out of use, if it is in use. It waits for writers and merges of the shard.
func (s *Store) Condemn(shard uint32, e *DamagedError) {
	sf := &s.shards[shard]
	sf.writing.Lock()
	defer sf.writing.Unlock()
	sf.mu.Lock()
	i := slices.IndexFunc(sf.files, func(h *file) bool { return h.path == e.Path })
	if i < 0 {
		sf.mu.Unlock()
		return
	}
	h := sf.files[i]
	sf.files = slices.Concat(sf.files[:i], sf.files[i+1:])
	sf.gaps = append(sf.gaps, generations{h.from, h.to})
	if sf.damage == nil {
		sf.damage = e
	}
	sf.mu.Unlock()
	s.count(h, -1)
	h.release()
}

// Covered returns the last message of those from seq on that are here without a gap, as far as one block says; 0 if seq is not
// here. Any goroutine.
func (s *Store) Covered(shard uint32, id string, seq uint64) (last uint64, err error) {
	sf := &s.shards[shard]
	r := s.rooms.Get().(*rooms)
	defer s.rooms.Put(r)
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	if sf.closed {
		return 0, ErrClosed
	}
	e, h, err := sf.find(id, seq, r)
	if err != nil || h == nil {
		return 0, s.hurt(shard, err)
	}
	return e.last(), nil
}

// Heal begins the file that takes the place of what is missing from a shard. Its Commit says that nothing is missing any
// more.
func (s *Store) Heal(shard uint32) (*Writer, error) {
	sf := &s.shards[shard]
	sf.writing.Lock()
	files, err := sf.list()
	if err != nil {
		sf.writing.Unlock()
		return nil, err
	}
	at := generations{1, 1}
	if n := len(files); n > 0 {
		at = generations{files[n-1].to + 1, files[n-1].to + 1}
	}
	if len(sf.gaps) > 0 {
		at = sf.gaps[0]
	}
	w, err := s.begin(shard, at)
	if w != nil {
		w.heals = true
	}
	return w, err
}

// healed makes the other gaps of the shard empty files: what was in them is in the first. The file of the first is on
// the list. Nothing is missing then.
func (w *Writer) healed() error {
	sf := w.sf
	if len(sf.gaps) > 0 {
		sf.gaps = sf.gaps[1:] // w's own
	}
	for len(sf.gaps) > 0 {
		at := sf.gaps[len(sf.gaps)-1]
		f, err := newFileWriter(w.s.opt.FS, w.s.opt.Dir, fileName(w.shard, at.from, at.to), w.shard, at.from, at.to, w.s.enc)
		if err != nil {
			return err
		}
		if err := f.finish(); err != nil {
			return err
		}
		if err := w.show(f.name); err != nil {
			return err
		}
		sf.gaps = sf.gaps[:len(sf.gaps)-1]
	}
	sf.mu.Lock()
	sf.gaps, sf.damage = nil, nil
	sf.mu.Unlock()
	return nil
}

// damagedAtOpen handles a file that Open cannot use. An error if that is the end of it.
func (s *Store) damagedAtOpen(name string, err error) error {
	var e *DamagedError
	shard, from, to, ok := parseName(name)
	if !s.opt.Heal || !errors.As(err, &e) || !ok || int(shard) >= len(s.shards) {
		return err
	}
	sf := &s.shards[shard]
	sf.condemned = append(sf.condemned, generations{from, to})
	if sf.damage == nil {
		sf.damage = e
	}
	return nil
}

// settleCondemned makes gaps of the files that Open could not use and no other covers. Lost ones were noted before: what
// both say becomes one.
func (s *Store) settleCondemned(shard int) error {
	sf := &s.shards[shard]
	defer func() { sf.condemned = nil }()
	slices.SortFunc(sf.condemned, func(a, b generations) int { return compare(a.from, b.from) })
	for _, at := range sf.condemned {
		covered := slices.ContainsFunc(sf.files, func(h *file) bool { return h.from <= at.from && at.to <= h.to })
		known := slices.ContainsFunc(sf.gaps, func(g generations) bool { return g.from <= at.from && at.to <= g.to })
		if covered || known && !slices.Contains(sf.gaps, at) {
			name := filepath.Join(s.opt.Dir, fileName(uint32(shard), at.from, at.to))
			if err := s.opt.FS.Remove(name); err != nil {
				return err
			}
		}
		if !covered && !known {
			sf.gaps = append(sf.gaps, at)
		}
	}
	if len(sf.gaps) == 0 {
		sf.damage = nil // only what others cover was damaged
	}
	return nil
}

// missing handles generations that no file covers: an error, or a gap.
func (s *Store) missing(shard int, at generations, before string) error {
	sf := &s.shards[shard]
	if !s.opt.Heal {
		return fmt.Errorf("history of shard %d: generations %d to %d are missing before %s: restore the files from a backup or a replica",
			shard, at.from, at.to, before)
	}
	sf.gaps = append(sf.gaps, at)
	if sf.damage == nil {
		sf.damage = fmt.Errorf("history of shard %d: generations %d to %d are missing", shard, at.from, at.to)
	}
	return nil
}

// Forget removes the history of a shard that this node holds no replica of any more. A crash in the middle leaves the
// oldest files, which are whole and true, and may be removed by the next call. Readers go on with what they have begun.
func (s *Store) Forget(shard uint32) error {
	sf := &s.shards[shard]
	sf.writing.Lock()
	defer sf.writing.Unlock()
	sf.mu.Lock()
	if sf.closed {
		sf.mu.Unlock()
		return ErrClosed
	}
	files, gaps := sf.files, sf.gaps
	sf.files, sf.gaps, sf.damage = nil, nil, nil
	sf.mu.Unlock()
	for _, at := range gaps { // the damaged files, as far as they are there
		_ = s.opt.FS.Remove(filepath.Join(s.opt.Dir, fileName(shard, at.from, at.to)))
	}
	var failed error
	for _, h := range slices.Backward(files) {
		s.count(h, -1)
		h.release()
		if failed == nil { // the newest first: there must be no gap
			failed = s.opt.FS.Remove(h.path)
		}
	}
	if len(files)+len(gaps) == 0 {
		return nil
	}
	return errors.Join(failed, s.opt.FS.SyncDir(s.opt.Dir))
}
