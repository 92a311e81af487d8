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

// Condemn takes the file that e is about out of use, if it is in use: another file may have its name by now. It waits for
// writers and merges of the shard.
func (s *Store) Condemn(shard uint32, e *DamagedError) (condemned bool) {
	sf := &s.shards[shard]
	sf.writing.Lock()
	defer sf.writing.Unlock()
	sf.mu.Lock()
	i := slices.Index(sf.files, e.of)
	if i < 0 {
		sf.mu.Unlock()
		return false
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
	return true
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
	e, h, err := s.find(sf, id, seq, r)
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

// settleCondemned makes gaps of the generations that only files had which Open could not use. Files and gaps are all of 1 .. next-1
// at any time: a merged file beside its parts, say, is not missing. A gap must never take in a good file, which the file
// that heals it would then cover. A damaged file goes when nothing of it is missing any more, and not before: a node without
// others stops here, and what can be read of it may be all that there is.
func (s *Store) settleCondemned(shard int) error {
	sf := &s.shards[shard]
	condemned := sf.condemned
	sf.condemned = nil
	next := uint64(1)
	if n := len(sf.files); n > 0 {
		next = sf.files[n-1].to + 1
	}
	slices.SortFunc(condemned, func(a, b generations) int { return compare(a.from, b.from) })
	for _, at := range condemned {
		if at.to >= next {
			sf.gaps = append(sf.gaps, generations{next, at.to})
			next = at.to + 1
		}
	}
	for _, at := range condemned {
		if slices.ContainsFunc(sf.gaps, func(g generations) bool { return g.from <= at.to && at.from <= g.to }) {
			continue
		}
		if err := s.opt.FS.Remove(filepath.Join(s.opt.Dir, fileName(uint32(shard), at.from, at.to))); err != nil {
			return err
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

// Forget removes the history of a shard that this node holds no replica of any more. What an error or a crash in the middle
// leaves are the oldest files, which are whole and true, and are removed by the next call. Readers go on with what they have
// begun.
func (s *Store) Forget(shard uint32) error {
	sf := &s.shards[shard]
	sf.writing.Lock()
	defer sf.writing.Unlock()
	files, err := sf.list()
	if err != nil || len(files)+len(sf.gaps) == 0 {
		return err
	}
	failed := s.removeDamaged(shard, files)
	left := len(files)
	for ; left > 0 && failed == nil; left-- { // the newest first: there must be no gap
		if failed = s.opt.FS.Remove(files[left-1].path); failed != nil {
			break // it stays on the list: a file of its generations that is written later must not be covered by it
		}
	}
	sf.mu.Lock()
	closed := sf.closed
	if !closed {
		sf.files = files[:left:left]
	}
	if failed == nil {
		sf.gaps, sf.damage = nil, nil
	}
	sf.mu.Unlock()
	if closed {
		return ErrClosed // which has let go of the files
	}
	for _, h := range files[left:] {
		s.count(h, -1)
		h.release()
	}
	return errors.Join(failed, s.opt.FS.SyncDir(s.opt.Dir))
}

// removeDamaged removes what is called like a file of the shard and is none of files.
func (s *Store) removeDamaged(shard uint32, files []*file) error {
	names, err := s.opt.FS.List(s.opt.Dir)
	for _, name := range names {
		of, _, _, ok := parseName(name)
		if ok && of == shard && !slices.ContainsFunc(files, func(h *file) bool { return h.name == name }) {
			err = errors.Join(err, s.opt.FS.Remove(filepath.Join(s.opt.Dir, name)))
		}
	}
	return err
}
