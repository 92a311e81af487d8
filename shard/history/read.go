package history

// Append appends the messages from .. to of a context to dst, as JSON separated by commas, as far as they are here
// without a gap, up to about maxBytes (at least one message, if there is one). next is the seq of the first message
// that was not appended: from, if there is nothing here. Any goroutine.
func (s *Store) Append(dst []byte, shard uint32, id string, from, to uint64, maxBytes int) (_ []byte, next uint64, err error) {
	sf := &s.shards[shard]
	r := s.rooms.Get().(*rooms)
	defer s.rooms.Put(r)
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	if sf.closed {
		return dst, from, ErrClosed
	}
	began := len(dst)
	for next = from; next <= to; {
		e, h, err := s.find(sf, id, next, r)
		if err == nil && h == nil && len(dst) == began {
			err = sf.damage // nil where nothing is missing
		}
		if err != nil || h == nil {
			return dst, next, s.hurt(shard, err)
		}
		blk, err := s.block(h, &e, r)
		if err != nil {
			return dst, next, s.hurt(shard, err)
		}
		if len(dst) > began {
			dst = append(dst, ',')
		}
		end := min(to, blk.last())
		last := blk.fitting(next, end, maxBytes-(len(dst)-began))
		if last < next {
			if len(dst) > began {
				return dst[:len(dst)-1], next, nil
			}
			last = next
		}
		dst = append(dst, blk.run(next, last)...)
		next = last + 1
		if last < end {
			break
		}
	}
	return dst, next, nil
}

// Has reports whether message seq of a context is here. Any goroutine.
func (s *Store) Has(shard uint32, id string, seq uint64) (bool, error) {
	last, err := s.Covered(shard, id, seq)
	return last > 0, err
}

// find looks for message seq of id in the files of a shard, the newest first: what is asked for most left memory last. It reads
// an index page of those files alone that may have it.
func (s *Store) find(sf *shardFiles, id string, seq uint64, r *rooms) (e entry, h *file, err error) {
	hash := hashID(id)
	for i := len(sf.files) - 1; i >= 0; i-- {
		if !sf.files[i].may(hash, seq) {
			continue
		}
		s.stats.asked.Add(1)
		var found bool
		if e, found, r.page, err = sf.files[i].find(id, seq, r.page); err != nil {
			return e, nil, err
		} else if found {
			return e, sf.files[i], nil
		}
	}
	return e, nil, nil
}

// block reads and checks the block at e. It lies in r until the next call.
func (s *Store) block(h *file, e *entry, r *rooms) (block, error) {
	s.stats.reads.Add(1)
	stored, err := h.read(r.stored, e.offset, e.length)
	if err != nil {
		return block{}, err
	}
	r.stored = stored
	blk, raw, problem := parseBlock(stored, r.raw, s.dec)
	r.raw = raw
	if problem == "" && (string(blk.id) != e.id || blk.first != e.first || uint64(blk.count) != e.count) {
		problem = "a block is not the one that the index names"
	}
	if problem != "" {
		return block{}, h.damaged(e.offset, problem)
	}
	return blk, nil
}
