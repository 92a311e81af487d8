package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// readGap is how many foreign bytes between two entries are read along rather than skipped, readExtent how
// many bytes one read takes at most (a longer record is read alone).
const (
	readGap    = 16 << 10
	readExtent = 1 << 20
)

// place is where one entry stands.
type place struct {
	at    position
	size  int
	exact bool // size is the record's; else read the header first
}

// Read appends to dst the durable entries of group from lo up to but without hi, as many as fit maxBytes
// of data and at least one. It reads from disk, for a lagging follower; not for hot paths. Data slices are
// the caller's.
//
// Errors: ErrCompacted and ErrUnavailable if the first entry is gone or not there yet (a shorter answer is
// no error), *CorruptionError if bytes that must be there are not.
func (w *WAL) Read(group uint32, lo, hi uint64, maxBytes int, dst []Entry) ([]Entry, error) {
	if int(group) >= len(w.tab.groups) {
		return dst, fmt.Errorf("wal: read of group %d, the log has %d", group, len(w.tab.groups))
	}
	if lo >= hi {
		return dst, nil
	}
	// A segment may be recycled, or its entries carried forward, between the look at the table and the
	// read. The checksum, seeded with the segment's salt, notices; a second look tells that from rot.
	var places []place
	var last error
	for range 3 {
		before := places
		var lives map[uint64]life
		var err error
		places, lives, err = w.locate(group, lo, hi, maxBytes)
		if err != nil {
			return dst, err
		}
		if last != nil && slices.EqualFunc(before, places, func(a, b place) bool { return a.at == b.at }) {
			return dst, last // nothing moved
		}
		var out []Entry
		out, last = w.readPlaces(group, lo, places, lives, maxBytes, dst)
		if last == nil {
			return out, nil
		}
		var rot *CorruptionError
		if !errors.As(last, &rot) && !errors.Is(last, fs.ErrNotExist) {
			return dst, last
		}
	}
	return dst, ErrUnavailable // the group changes faster than it can be read; the caller asks again
}

// locate looks up where entries lo..hi-1 stand, as far as they are durable and fit maxBytes.
func (w *WAL) locate(group uint32, lo, hi uint64, maxBytes int) ([]place, map[uint64]life, error) {
	w.tab.mu.Lock()
	defer w.tab.mu.Unlock()
	g := &w.tab.groups[group]
	if lo <= g.snap.index {
		return nil, nil, ErrCompacted
	}
	durable := position(w.durable.Load())
	oldest := w.tab.oldestLocked()
	var places []place
	lives := map[uint64]life{}
	total := 0
	for i := lo; i < hi && i <= g.last(); i++ {
		l := g.locs.at(int(i - g.snap.index - 1))
		p := place{at: l.position(oldest)}
		if p.at >= durable {
			break
		}
		p.size, p.exact = l.size()
		if total += max(p.size-recordBound(kindEntry, 0), alignBytes); len(places) > 0 && total > maxBytes {
			break
		}
		seg, ok := w.tab.findLocked(p.at.segment())
		if !ok {
			panic(fmt.Sprintf("wal: entry %d of group %d is said to be at %v, which is no live segment: this is a bug, restart the node", i, group, p.at))
		}
		lives[seg.id] = seg.life
		places = append(places, p)
	}
	if len(places) == 0 {
		return nil, nil, ErrUnavailable
	}
	return places, lives, nil
}

// readPlaces reads runs of neighbouring records with one read each.
func (w *WAL) readPlaces(group uint32, lo uint64, places []place, lives map[uint64]life, maxBytes int, dst []Entry) ([]Entry, error) {
	var f File
	var open uint64 // id of f's segment
	defer func() {
		if f != nil {
			_ = f.Close() // read only
		}
	}()
	index, total := lo, 0
	for i := 0; i < len(places); {
		id := places[i].at.segment()
		path := segmentPath(w.o.Dir, id)
		if f == nil || open != id {
			if f != nil {
				_ = f.Close() // read only
			}
			var err error
			if f, err = w.o.FS.Open(path); err != nil {
				f = nil
				return dst, fmt.Errorf("wal: reading entry %d of group %d: %w", index, group, err)
			}
			open = id
		}
		if !places[i].exact {
			if err := measure(f, path, lives[id], &places[i]); err != nil {
				return dst, err
			}
		}
		j, start := i+1, places[i].at.offset()
		end := start + int64(places[i].size)
		for ; j < len(places) && places[j].exact && places[j].at.segment() == id; j++ {
			next := places[j].at.offset()
			if next-end > readGap || next+int64(places[j].size)-start > readExtent {
				break
			}
			end = next + int64(places[j].size)
		}
		buf := make([]byte, end-start)
		if n, err := f.ReadAt(buf, start); err == io.EOF {
			return dst, &CorruptionError{Path: path, Offset: start + int64(n), Reason: "the file ends inside an entry"}
		} else if err != nil {
			return dst, fmt.Errorf("wal: read of %d bytes at %d of %s: %w", len(buf), start, path, err)
		}
		for ; i < j; i++ {
			off := places[i].at.offset()
			var r record
			v, _ := decodeRecord(buf[off-start:], lives[id], off, maxSegmentBytes, &r)
			if v != valid || (r.kind != kindEntry && r.kind != kindCarry) || r.group != group || r.words[0] != index {
				return dst, &CorruptionError{Path: path, Offset: off, Reason: fmt.Sprintf("entry %d of group %d cannot be read back", index, group)}
			}
			_, e := r.entry()
			if total += len(e.Data); index > lo && total > maxBytes {
				return dst, nil
			}
			dst = append(dst, e)
			index++
		}
	}
	return dst, nil
}

// measure finds the size of a record that is too long for its location to say.
func measure(f File, path string, l life, p *place) error {
	var b [recordHeaderV1]byte
	off := p.at.offset()
	n, err := f.ReadAt(b[:], off)
	if err != nil && err != io.EOF {
		return fmt.Errorf("wal: read at %d of %s: %w", off, path, err)
	}
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("wal: size of %s: %w", path, err)
	}
	var r record
	v, need := decodeRecord(b[:n], l, off, size, &r)
	if v != short || need <= len(b) {
		return &CorruptionError{Path: path, Offset: off, Reason: "no long entry begins here, or it goes beyond the end of the file"}
	}
	p.size, p.exact = need, true
	return nil
}
