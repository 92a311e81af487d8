package history

import (
	"fmt"
	"path/filepath"
	"sort"
	"sync/atomic"

	"fastpaca/wal/walfs"
)

// file is an open history file. It is immutable; any goroutine may read it until close.
type file struct {
	name     string
	path     string
	shard    uint32
	from, to uint64 // generations
	size     int64
	f        walfs.File
	foot     footer
	top      []pageRef
	spans    atomic.Pointer[spans] // nil: not read yet
	refs     atomic.Int32          // the store's list is one, each transfer under way another
}

// fileName is the name of the file that covers the generations from .. to of a shard.
func fileName(shard uint32, from, to uint64) string {
	return fmt.Sprintf("%03d-%016x-%016x%s", shard, from, to, suffix)
}

const (
	suffix    = ".hist"
	tmpSuffix = ".tmp"
)

func parseName(name string) (shard uint32, from, to uint64, ok bool) {
	var tail string
	n, err := fmt.Sscanf(name, "%03d-%016x-%016x%s", &shard, &from, &to, &tail)
	if n != 4 || err != nil || tail != suffix || from == 0 || to < from {
		return 0, 0, 0, false
	}
	return shard, from, to, name == fileName(shard, from, to)
}

// openFile opens a file and reads its top. Memory: about 60 bytes per index page, one page per 64 KiB x 150.
func openFile(fsys walfs.FS, dir, name string) (*file, error) {
	h := &file{name: name, path: filepath.Join(dir, name)}
	var ok bool
	if h.shard, h.from, h.to, ok = parseName(name); !ok {
		return nil, fmt.Errorf("%s is not a history file of this version: move it out of the data directory", h.path)
	}
	f, err := fsys.Open(h.path)
	if err != nil {
		return nil, err
	}
	h.f = f
	h.refs.Store(1)
	if err := h.load(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return h, nil
}

func (h *file) damaged(offset uint64, reason string) error {
	return &DamagedError{Path: h.path, Offset: int64(offset), Reason: reason, of: h}
}

// read returns the bytes of the file from offset, in room if they fit.
func (h *file) read(room []byte, offset, length uint64) ([]byte, error) {
	if offset > uint64(h.size) || length > uint64(h.size)-offset {
		return nil, h.damaged(offset, "the file is shorter than its index says")
	}
	if uint64(cap(room)) < length {
		room = make([]byte, length)
	}
	room = room[:length]
	if _, err := h.f.ReadAt(room, int64(offset)); err != nil {
		return nil, fmt.Errorf("reading history file %s at offset %d: %w", h.path, offset, err)
	}
	return room, nil
}

func (h *file) load() error {
	size, err := h.f.Size()
	if err != nil {
		return fmt.Errorf("history file %s: %w", h.path, err)
	}
	h.size = size
	if size < headerBytes+footerBytes {
		return h.damaged(uint64(size), "the file is too short")
	}
	b, err := h.read(nil, 0, headerBytes)
	if err != nil {
		return err
	}
	if problem := checkHeader(b, h.shard, h.from, h.to); problem != "" {
		return h.damaged(0, problem)
	}
	at := uint64(size) - footerBytes
	if b, err = h.read(b, at, footerBytes); err != nil {
		return err
	}
	if problem := h.foot.parse(b); problem != "" {
		return h.damaged(at, problem)
	}
	t := &h.foot
	if t.topLength < 8 || t.topLength > maxIndex || t.topOffset > at || t.topOffset+t.topLength != at {
		return h.damaged(at, "the footer's bounds")
	}
	if b, err = h.read(b, t.topOffset, t.topLength); err != nil {
		return err
	}
	return h.parseTop(b)
}

func (h *file) parseTop(b []byte) error {
	if le.Uint32(b) != checksum(b[4:]) {
		return h.damaged(h.foot.topOffset, "checksum of the index")
	}
	c := cursor{b: b[8:]}
	n := le.Uint32(b[4:])
	h.top = make([]pageRef, 0, min(int(n), len(b)/4))
	for range n {
		var p pageRef
		p.offset, p.length = c.uvarint(), c.uvarint()
		p.id = string(c.bytes())
		p.first = c.uvarint()
		if c.bad || p.length < 8 || len(h.top) > 0 && !h.top[len(h.top)-1].less(p.key) {
			return h.damaged(h.foot.topOffset, "the index is not in order")
		}
		h.top = append(h.top, p)
	}
	if len(c.b) != 0 || (n == 0) != (h.foot.blocks == 0) {
		return h.damaged(h.foot.topOffset, "the index does not add up")
	}
	return nil
}

// find looks for the block with message seq of context id. room is scratch, returned for reuse.
func (h *file) find(id string, seq uint64, room []byte) (e entry, found bool, _ []byte, err error) {
	want := key{id, seq}
	i := sort.Search(len(h.top), func(i int) bool { return want.less(h.top[i].key) }) - 1
	if i < 0 {
		return e, false, room, nil
	}
	page, err := h.read(room, h.top[i].offset, h.top[i].length)
	if err != nil {
		return e, false, room, err
	}
	it := pageEntries{h: h, at: h.top[i].offset}
	if err := it.begin(page); err != nil {
		return e, false, page, err
	}
	for it.next() {
		if want.less(it.e.key) {
			break
		}
		e, found = it.e, true
	}
	if it.err != nil {
		return e, false, page, it.err
	}
	return e, found && e.id == id && seq <= e.last(), page, nil
}

// pageEntries walks over an index page.
type pageEntries struct {
	h    *file
	at   uint64
	left uint32
	c    cursor
	e    entry
	err  error
}

func (p *pageEntries) begin(page []byte) error {
	if le.Uint32(page) != checksum(page[4:]) {
		return p.h.damaged(p.at, "checksum of an index page")
	}
	p.left, p.c = le.Uint32(page[4:]), cursor{b: page[8:]}
	return nil
}

func (p *pageEntries) next() bool {
	if p.left == 0 || p.err != nil {
		return false
	}
	p.left--
	id := p.c.bytes()
	if string(id) != p.e.id { // most entries of a page are of one context: one string for all of them
		p.e.id = string(id)
	}
	p.e.first, p.e.count, p.e.offset, p.e.length = p.c.uvarint(), p.c.uvarint(), p.c.uvarint(), p.c.uvarint()
	if p.c.bad || p.e.count == 0 || p.e.length < blockHeader {
		p.err = p.h.damaged(p.at, "an entry of an index page")
		return false
	}
	return true
}

func (h *file) retain() { h.refs.Add(1) }

// release closes the file when nobody is left. Its name may be gone by then.
func (h *file) release() {
	if h.refs.Add(-1) == 0 {
		_ = h.f.Close()
	}
}
