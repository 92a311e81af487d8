package history

import (
	"fmt"
	"slices"
)

const (
	// mergeFan is how many neighbours become one file. A file joins those after it when it is not bigger than all of
	// them together, so that a message is rewritten about log2(bytes / bytes of a spill) / log2(mergeFan) times.
	mergeFan = 8
	// filesMax is how many files below MergeMax a shard may have before the cheapest mergeFan neighbours are merged, whatever their
	// sizes: a lookup may have to ask every file.
	filesMax = 3 * mergeFan
	// MergeMax bounds what a merge makes: it must end within seconds, and its space must be found.
	MergeMax = 1 << 30
)

// pick chooses the neighbours files[i:j] to merge next; i == j means none.
func pick(files []*file) (i, j int) {
	small := 0
	for end := len(files); end > 0; end-- {
		if files[end-1].size < MergeMax/2 {
			small++
		}
		start, sum := end-1, files[end-1].size
		for start > 0 && files[start-1].size <= sum && sum+files[start-1].size <= MergeMax {
			start--
			sum += files[start].size
		}
		if end-start >= mergeFan {
			return start, end
		}
	}
	if small > filesMax {
		return cheapest(files)
	}
	return 0, 0
}

// cheapest is the run of mergeFan neighbours with the fewest bytes, if it makes a file that is allowed.
func cheapest(files []*file) (i, j int) {
	best := int64(MergeMax)
	for start := 0; start+mergeFan <= len(files); start++ {
		var sum int64
		for _, h := range files[start : start+mergeFan] {
			sum += h.size
		}
		if sum < best {
			best, i, j = sum, start, start+mergeFan
		}
	}
	return i, j
}

// Merge does one merge in shard, if one is due. It holds the shard against writers meanwhile; readers go on. It
// belongs on a background goroutine.
func (s *Store) Merge(shard uint32) (worked bool, err error) {
	sf := &s.shards[shard]
	sf.writing.Lock()
	defer sf.writing.Unlock()
	files, err := sf.list()
	if err != nil || len(sf.gaps) > 0 {
		return false, err // neighbours only, and that they are not beside a gap
	}
	i, j := pick(files)
	if i == j {
		return false, nil
	}
	parts := files[i:j]
	merged, err := s.merge(shard, parts)
	if err != nil {
		_ = s.hurt(shard, err)
		return false, fmt.Errorf("merging the history of shard %d: %w", shard, err)
	}
	s.stats.merged.Add(uint64(merged.size))
	sf.mu.Lock()
	if sf.closed {
		sf.mu.Unlock()
		merged.release()
		return false, ErrClosed // the next start finds it, and removes the parts
	}
	sf.files = slices.Concat(files[:i], []*file{merged}, files[j:])
	sf.mu.Unlock()
	s.count(merged, 1)
	// The merged file's name is durable, so that the parts may go. A crash in between leaves parts, which the next
	// start removes. Readers that had the old list are done: the swap waited for them.
	for _, h := range parts {
		s.count(h, -1)
		h.release()
		if rerr := s.opt.FS.Remove(h.path); rerr != nil {
			s.opt.Logf("history_remove_failed", "file", h.path, "error", rerr.Error())
		}
	}
	return true, nil
}

// merge writes one file with everything in parts.
func (s *Store) merge(shard uint32, parts []*file) (*file, error) {
	from, to := parts[0].from, parts[len(parts)-1].to
	w, err := newFileWriter(s.opt.FS, s.opt.Dir, fileName(shard, from, to), shard, from, to, s.enc)
	if err != nil {
		return nil, err
	}
	if err := s.mergeInto(w, parts); err != nil {
		w.abort()
		return nil, err
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	return openFile(s.opt.FS, s.opt.Dir, w.name)
}

// mergeInto copies the blocks of parts to w in the order of their keys. A block as long as blocks should be is taken
// over as it lies; short ones, and those that overlap what was written, go through the builder again.
func (s *Store) mergeInto(w *fileWriter, parts []*file) error {
	in := inserter{w: w}
	it := s.iterate(parts)
	for {
		b, stored, err := it.next()
		if err != nil {
			return err
		}
		if b == nil {
			return w.flushBlock()
		}
		if err := in.block(b, stored); err != nil {
			return err
		}
	}
}

// inserter writes blocks that come in the order of their keys, each message once.
type inserter struct {
	w    *fileWriter
	id   []byte
	done uint64 // of id, everything from its first block to here is written
}

func (in *inserter) block(b *block, stored []byte) error {
	if string(b.id) != string(in.id) {
		in.id, in.done = append(in.id[:0], b.id...), 0
	}
	if b.last() <= in.done {
		return nil
	}
	from := max(b.first, in.done+1)
	in.done = b.last()
	if from == b.first && b.raw >= blockTarget/2 {
		return in.w.copyBlock(b, stored)
	}
	for seq := from; seq <= b.last(); seq++ {
		if err := in.w.message(b.id, seq, b.run(seq, seq)); err != nil {
			return err
		}
	}
	return nil
}
