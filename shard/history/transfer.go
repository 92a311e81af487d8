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

// Send writes the history of shard to w. What is spilled after the call began may be missing; the snapshot that goes with it
// must therefore be older than the call.
func (s *Store) Send(shard uint32, w io.Writer) error {
	sf := &s.shards[shard]
	sf.mu.RLock()
	files := slices.Clone(sf.files)
	for _, h := range files {
		h.retain()
	}
	sf.mu.RUnlock()
	defer func() {
		for _, h := range files {
			h.release()
		}
	}()
	var head [4]byte
	err := s.blocks(files, func(_ *block, stored []byte) error {
		le.PutUint32(head[:], uint32(len(stored)))
		if _, err := w.Write(head[:]); err != nil {
			return err
		}
		_, err := w.Write(stored)
		return err
	})
	if err == nil {
		le.PutUint32(head[:], 0)
		_, err = w.Write(head[:])
	}
	return err
}

// Receive adds a stream that Send wrote to the history of shard. When it returns nil all of it is durable; otherwise nothing of
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

// has reports whether the shard holds all messages of b. The writer's lock keeps its files as they are.
func (w *Writer) has(b *block) (bool, error) {
	r := w.s.rooms.Get().(*rooms)
	defer w.s.rooms.Put(r)
	for seq := b.first; seq <= b.last(); {
		e, h, err := w.sf.find(string(b.id), seq, r)
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
