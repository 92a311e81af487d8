package history

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// A shard's history on its way to another replica, version 1: every stored block with its length (u32) before it, in
// the order of their keys, and a length of 0 at the end. Blocks have their own checksums.
//
// The receiver adds the stream to what it has as one generation, so that taking it is one rename, whatever it held
// before. Messages that it has already are left out.

// storedMax bounds a block in a stream.
const storedMax = maxRaw + blockHeader + 255

// Transfer is the history of a shard as a stream. It holds the files until Close.
type Transfer struct {
	files []*file
	it    *iterator
	shard uint32
	size  int64
	room  []byte // one block with its length
	buf   []byte // what of room is not read yet
	ended bool
}

// Transfer begins to read the history of shard. What is written to it from now on may be missing from the stream. After
// Close it is ErrClosed, and not a stream without anything in it: a replica would believe that.
func (s *Store) Transfer(shard uint32) (*Transfer, error) {
	sf := &s.shards[shard]
	sf.mu.RLock()
	defer sf.mu.RUnlock()
	if sf.closed {
		return nil, ErrClosed
	}
	if sf.damage != nil {
		return nil, sf.damage // what is missing would be missing there
	}
	t := &Transfer{files: slices.Clone(sf.files), size: 4, shard: shard}
	for _, h := range t.files {
		h.retain()
		if h.foot.blocks > 0 {
			t.size += int64(h.top[0].offset) - headerBytes + 4*int64(h.foot.blocks)
		}
	}
	t.it = s.iterate(t.files)
	return t, nil
}

// Size is the length of the whole stream in bytes.
func (t *Transfer) Size() int64 { return t.size }

// Read implements io.Reader.
func (t *Transfer) Read(p []byte) (n int, err error) {
	if len(t.buf) == 0 {
		if t.ended {
			return 0, io.EOF
		}
		b, stored, err := t.it.next()
		if err != nil {
			return 0, t.it.s.hurt(t.shard, err)
		}
		if b == nil {
			t.ended, stored = true, nil
		}
		t.room = append(le.AppendUint32(t.room[:0], uint32(len(stored))), stored...)
		t.buf = t.room
	}
	n = copy(p, t.buf)
	t.buf = t.buf[n:]
	return n, nil
}

// Close lets go of the files.
func (t *Transfer) Close() error {
	for _, h := range t.files {
		h.release()
	}
	t.files = nil
	return nil
}

// Receive adds a stream that a Transfer gave to the history of shard. When it returns nil all of it is durable; otherwise nothing of
// it is there. It reads exactly the stream.
func (s *Store) Receive(shard uint32, r io.Reader) error {
	w, err := s.Writer(shard)
	if err != nil {
		return err
	}
	err = s.receive(w, r)
	if err != nil || w.w.foot.blocks == 0 && w.w.build.empty() {
		w.Abort()
		return err
	}
	return w.Commit()
}

func (s *Store) receive(w *Writer, r io.Reader) error {
	in := inserter{w: w.w}
	var stored, raw []byte
	var head [4]byte
	var newest key
	for first := true; ; first = false {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return fmt.Errorf("history stream: %w", unexpected(err))
		}
		n := le.Uint32(head[:])
		if n == 0 {
			return nil
		}
		if n < blockHeader || n > storedMax {
			return fmt.Errorf("history stream: a block of %d bytes", n)
		}
		var err error
		if stored, err = readBounded(r, stored[:0], int(n)); err != nil {
			return fmt.Errorf("history stream: %w", unexpected(err))
		}
		blk, room, problem := parseBlock(stored, raw, s.dec)
		raw = room
		if problem != "" {
			return fmt.Errorf("history stream: %s", problem)
		}
		k := key{string(blk.id), blk.first}
		if !first && k.less(newest) {
			return fmt.Errorf("history stream: %q seq %d comes after seq %d of %q", k.id, k.first, newest.first, newest.id)
		}
		newest = k
		have, err := w.has(&blk)
		if err != nil {
			return err
		}
		if !have {
			if err := in.block(&blk, stored); err != nil {
				return err
			}
		}
	}
}

// has reports whether the shard holds all messages of b. The writer's lock keeps its files as they are, but for Close.
func (w *Writer) has(b *block) (bool, error) {
	r := w.s.rooms.Get().(*rooms)
	defer w.s.rooms.Put(r)
	w.sf.mu.RLock()
	defer w.sf.mu.RUnlock()
	if w.sf.closed {
		return false, ErrClosed
	}
	for seq := b.first; seq <= b.last(); {
		e, h, err := w.s.find(w.sf, string(b.id), seq, r)
		if h == nil || err != nil {
			return false, err
		}
		seq = e.last() + 1
	}
	return true, nil
}

// readBounded reads n bytes, growing dst as they come: a length that lies does not cost its memory.
func readBounded(r io.Reader, dst []byte, n int) ([]byte, error) {
	for len(dst) < n {
		step := min(n-len(dst), 1<<20)
		dst = slices.Grow(dst, step)
		at := len(dst)
		dst = dst[:at+step]
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
