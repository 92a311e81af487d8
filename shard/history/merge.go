package history

import (
	"fmt"
	"slices"
)

const (
	// mergeGrowth is by how much the file that a message lies in grows, on average, each time that the message is written
	// again. A spill makes some 300 KB of messages, so that it happens once up to 10 MB and twice up to MergeMax; with a
	// growth of 2, it would be ten times. What it costs is more files: about mergeGrowth of each size. Which of them has a
	// message is mostly known without asking them (spans).
	mergeGrowth = 32
	// filesShare times mergeGrowth is how many files below MergeMax/mergeGrowth a shard may have before the cheapest mergeGrowth
	// neighbours are merged, whatever their sizes: each is open, and in a shard of many contexts a lookup may have to ask them.
	filesShare = 3
	// MergeMax bounds what a merge makes: it must end within seconds, and its space must be found.
	MergeMax = 1 << 30
)

// growthOf is mergeGrowth for one shard, a quarter more or less: shards that are written evenly would otherwise all merge at the same
// time.
func (s *Store) growthOf(shard uint32) int64 {
	return s.growth + s.growth*(int64(shard)*7%17-8)/32
}

// pick chooses the neighbours files[i:j] to merge next; i == j means none. They are the most that end with the newest file, or
// with the newest possible, whose bytes lie, on average over the bytes, in files of at most a growth-th of them all: big ones are
// merged together with the small ones for which they would have been rewritten a little later.
//
// What that costs: a merge of s bytes from files of s1, s2 ... raises the mean of log(size of the file that a byte lies
// in) by at least log(growth): it was at most log(sum(si*si)/s), since the logarithm is concave. So a byte that begins in
// a file of b bytes is rewritten log(MergeMax/b) / log(growth) times at most, on average, whatever the sizes.
func pick(files []*file, growth int64) (i, j int) {
	small := int64(0)
	for end := len(files); end > 0; end-- {
		if files[end-1].size <= MergeMax/growth {
			small++
		}
		var sum, squares int64 // at most MergeMax, and its square
		for start := end - 1; start >= 0 && sum+files[start].size <= MergeMax; start-- {
			size := files[start].size
			sum, squares = sum+size, squares+size*size
			if squares <= sum*sum/growth {
				i, j = start, end
			}
		}
		if i < j {
			return i, j
		}
	}
	if small > filesShare*growth {
		return cheapest(files, int(growth))
	}
	return 0, 0
}

// cheapest is the run of so many neighbours with the fewest bytes, if it makes a file that is allowed.
func cheapest(files []*file, many int) (i, j int) {
	best := int64(MergeMax)
	for start := 0; start+many <= len(files); start++ {
		var sum int64
		for _, h := range files[start : start+many] {
			sum += h.size
		}
		if sum < best {
			best, i, j = sum, start, start+many
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
	i, j := pick(files, s.growthOf(shard))
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
