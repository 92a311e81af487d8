package wal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// DumpOptions choose what Dump prints.
type DumpOptions struct {
	Group   int64  // only this group's records; negative: all (mind that the zero value is group 0)
	From    uint64 // first segment id; 0: the oldest
	Records bool   // every record; else one line per segment and a summary per kind
	Data    int    // bytes of each entry's data to show, quoted; 0: none
}

// Dump prints the log in dir for a person: `fastpaca wal dump`. It only reads, so that it may look at the
// log of a running node (whose newest records it may miss) and at one that Open refuses. It goes on behind
// a record that is not valid, at the next segment, and says what Open would make of it.
//
// The error is one of reading or of w; findings about the log are in the output.
func Dump(w io.Writer, fsys FS, dir string, o DumpOptions) error {
	d := dumper{out: bufio.NewWriter(w), o: o, fs: fsys, dir: dir}
	if err := d.run(); err != nil {
		return err
	}
	return d.out.Flush()
}

type dumper struct {
	out *bufio.Writer
	o   DumpOptions
	fs  FS
	dir string
}

func (d *dumper) printf(format string, args ...any) {
	fmt.Fprintf(d.out, format, args...) // a failed write is kept by the bufio.Writer and told by Flush
}

func (d *dumper) run() error {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return fmt.Errorf("wal: list %s: %w", d.dir, err)
	}
	var ids []uint64
	spares := 0
	for _, name := range names {
		n, suffix, ok := parseName(name)
		switch {
		case !ok:
			d.printf("foreign file %s\n", name)
		case suffix == spareSuffix:
			spares++
		default:
			ids = append(ids, n)
		}
	}
	slices.Sort(ids)
	d.printf("%s: %d segments, %d spares\n", d.dir, len(ids), spares)
	for i, id := range ids {
		if id < d.o.From {
			continue
		}
		if i > 0 && ids[i-1]+1 != id {
			d.printf("! segments %016x to %016x are missing\n", ids[i-1]+1, id-1)
		}
		var next *header
		if i+1 < len(ids) && ids[i+1] == id+1 {
			next = d.header(ids[i+1])
		}
		if err := d.segment(id, next, i+1 == len(ids)); err != nil {
			return err
		}
	}
	return nil
}

// header reads a segment's header, or returns nil.
func (d *dumper) header(id uint64) *header {
	f, err := d.fs.Open(segmentPath(d.dir, id))
	if err != nil {
		return nil
	}
	defer f.Close()
	var b [headerBytes]byte
	var h header
	if _, err := f.ReadAt(b[:], 0); err != nil || h.decode(b[:]) != "" {
		return nil
	}
	return &h
}

func (d *dumper) segment(id uint64, next *header, newest bool) error {
	path := segmentPath(d.dir, id)
	f, err := d.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.printf("\n%s: gone; the running node has recycled it\n", path)
		return nil
	} else if err != nil {
		return fmt.Errorf("wal: open segment: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("wal: size of %s: %w", path, err)
	}
	var b [headerBytes]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("wal: read of %s: %w", path, err)
	}
	var h header
	if reason := h.decode(b[:n]); reason != "" {
		d.printf("\n%s: %d bytes\n! %s: %s\n", path, size, reason, d.meaning(foundHeaderBad))
		return nil
	}
	d.printf("\n%s: format %d, %d bytes, salt %016x after %016x, previous ends at %d, checkpoint at %d, body at %d\n",
		path, h.version, size, h.salt, h.prevSalt, h.prevEnd, h.checkpointOff, h.preambleEnd)
	limit := min(size, h.segmentBytes)
	if next != nil {
		limit = min(size, next.prevEnd)
	}
	sc := newScanner([]span{{file: f, path: path, from: headerBytes, to: limit}}, nil, true)
	defer sc.close()
	sc.enter(h.life(), limit)
	var counts, bytes [kindEnd]int
	var r record
	for {
		off, ok := sc.read(&r)
		if !ok {
			if err := d.end(&h, f, path, off, limit, sc, next != nil, newest); err != nil {
				return err
			}
			break
		}
		counts[r.kind]++
		bytes[r.kind] += r.size
		if d.o.Records && d.wanted(&r) {
			d.record(off, &r)
		}
	}
	for k := recordKind(1); k < kindEnd; k++ {
		if counts[k] > 0 {
			d.printf("  %-10v %8d records %12d bytes\n", k, counts[k], bytes[k])
		}
	}
	return sc.ioErr
}

// wanted says whether a record is one of those asked for.
func (d *dumper) wanted(r *record) bool {
	return d.o.Group < 0 || r.kind == kindMark || r.kind == kindPad || d.o.Group == int64(r.group)
}

// end says why the records of a segment end where they do.
func (d *dumper) end(h *header, f File, path string, off, limit int64, sc *scanner, sealed, newest bool) error {
	switch {
	case sc.ioErr != nil:
		return sc.ioErr
	case off < h.preambleEnd:
		d.printf("! %d: no valid record in the preamble: %s\n", off, d.meaning(foundPreambleBad))
	case sealed && off < limit:
		d.printf("! %d: no valid record, the next segment says that this one ends at %d: %s\n", off, limit, d.meaning(foundBadBeforeEnd))
	case sealed || off == limit:
		d.printf("  ends at %d\n", off)
	default:
		t, err := lookAhead(f, path, h, off, limit)
		if err != nil {
			return err
		}
		if newest || decide(t.found).then == refuse {
			d.printf("  ends at %d, %d valid records beyond: %s\n", off, t.later, d.meaning(t.found))
		}
	}
	return nil
}

func (d *dumper) meaning(f what) string {
	r := decide(f)
	if r.then == refuse {
		return "CORRUPT: " + r.why
	}
	return "torn tail: " + r.why
}

func (d *dumper) record(off int64, r *record) {
	d.printf("%10d %-10v group %-3d durable %-12v ", off, r.kind, r.group, r.durable)
	switch r.kind {
	case kindEntry, kindCarry:
		commit, e := r.entry()
		d.printf("index %d term %d kind %d commit %d, %d bytes", e.Index, e.Term, e.Kind, commit, len(e.Data))
		if n := min(d.o.Data, len(e.Data)); n > 0 {
			more := ""
			if n < len(e.Data) {
				more = "..."
			}
			d.printf(" %s%s", quote(e.Data[:n]), more)
		}
	case kindState:
		hs := r.state()
		d.printf("term %d vote %d commit %d", hs.Term, hs.Vote, hs.Commit)
	case kindSnapshot:
		c := r.snapshot()
		d.printf("truncated up to index %d term %d, floor %v, %d bytes of metadata", c.index, c.term, c.floor, len(c.meta))
	case kindCheckpoint:
		hs, c, last := r.checkpoint()
		d.printf("term %d vote %d commit %d, truncated up to index %d term %d, last %d, floor %v, %d bytes of metadata",
			hs.Term, hs.Vote, hs.Commit, c.index, c.term, last, c.floor, len(c.meta))
	case kindPad:
		d.printf("%d bytes", len(r.data))
	}
	d.printf("\n")
}

// quote shows bytes on one line of a terminal, whatever they are.
func quote(b []byte) string { return strings.ToValidUTF8(fmt.Sprintf("%+q", b), "?") }
