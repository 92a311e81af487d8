package history

// iterator gives the blocks of several files in the order of their keys; two of them may overlap.
type iterator struct {
	s     *Store
	scans []*scan
	at    *scan // gave the block before
	r     rooms
}

func (s *Store) iterate(files []*file) *iterator {
	it := &iterator{s: s}
	for _, h := range files {
		it.scans = append(it.scans, &scan{h: h})
	}
	return it
}

// next returns the next block and its stored form, which are valid until the next call; nil at the end.
func (it *iterator) next() (*block, []byte, error) {
	for _, sc := range it.scans {
		if sc == it.at || !sc.begun {
			if err := sc.advance(); err != nil {
				return nil, nil, err
			}
		}
	}
	if it.at = least(it.scans); it.at == nil {
		return nil, nil, nil
	}
	b, err := it.s.block(it.at.h, &it.at.it.e, &it.r)
	if err != nil {
		return nil, nil, err
	}
	return &b, it.r.stored, nil
}

// scan walks over the index of a file.
type scan struct {
	h     *file
	page  int
	room  []byte
	it    pageEntries
	begun bool
	done  bool
}

func (sc *scan) advance() error {
	sc.begun = true
	for !sc.it.next() {
		if sc.it.err != nil {
			return sc.it.err
		}
		if sc.page == len(sc.h.top) {
			sc.done = true
			return nil
		}
		p := &sc.h.top[sc.page]
		sc.page++
		var err error
		if sc.room, err = sc.h.read(sc.room, p.offset, p.length); err != nil {
			return err
		}
		sc.it = pageEntries{h: sc.h, at: p.offset}
		if err := sc.it.begin(sc.room); err != nil {
			return err
		}
	}
	return nil
}

// least is the scan with the smallest key, nil when all are at their end.
func least(scans []*scan) (min *scan) {
	for _, sc := range scans {
		if !sc.done && (min == nil || sc.it.e.less(min.it.e.key)) {
			min = sc
		}
	}
	return min
}
