package wal

import (
	"encoding/binary"
	"fmt"
	"io"
)

// tail is how the newest segment ends.
type tail struct {
	end   int64 // offset behind the last record that counts
	found what  // why it ends there; 0 if the file ends exactly there
	later int   // valid records beyond it
}

// lookAhead searches what follows a bad record at offset x of the newest segment for records of this
// segment, at every 8-byte boundary, and says what they promise. What does not belong to this segment's life
// nearly always fails a check that costs next to nothing (maybeRecord, the record's check), and then the checksum.
func lookAhead(f File, path string, h *header, x, size int64) (t tail, err error) {
	t = tail{end: x, found: foundBadNothing}
	here := makePosition(h.id, x)
	var r record
	v1 := h.version == 1
	buf := make([]byte, min(1<<20, max(size-x, 0)))
	for off := x; off+recordHead <= size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && err != io.EOF {
			return t, fmt.Errorf("wal: read at %d of %s: %w", off, path, err)
		}
		b := buf[:n]
		if len(b) < recordHead {
			break // shorter than its size said: nothing more can be found
		}
		i := int64(0)
		for ; i+recordHead <= int64(len(b)); i += alignBytes {
			if !v1 && b[i+10]&15 == 0 { // zeros, nearly always: no kind
				continue
			}
			if off == x && i == 0 || !maybeRecord(b[i:], h, off+i, size) {
				continue
			}
			ok, err := validAt(f, path, h, b[i:], off+i, size, &r)
			if err != nil {
				return t, err
			}
			if !ok {
				continue
			}
			t.later++
			if r.durable > here {
				t.found = foundBadPromised
				return t, nil
			}
			t.found = foundBadLaterValid
		}
		off += i
	}
	return t, nil
}

// maybeRecord rules out nearly every place where no record begins, for the price of a load.
func maybeRecord(b []byte, h *header, off, limit int64) bool {
	if h.version == 1 {
		return maybeRecordV1(b, h, off)
	}
	length := int64(binary.LittleEndian.Uint32(b[4:]))
	return length >= recordHead && length <= limit-off
}

// validAt says whether a valid record starts at off, of which b holds the front, and decodes it.
func validAt(f File, path string, h *header, b []byte, off, size int64, r *record) (bool, error) {
	v, n := decodeRecord(b, h.life(), off, size, r)
	if v == short {
		b = make([]byte, n)
		if m, err := f.ReadAt(b, off); err == io.EOF {
			b = b[:m]
		} else if err != nil {
			return false, fmt.Errorf("wal: read at %d of %s: %w", off, path, err)
		}
		v, _ = decodeRecord(b, h.life(), off, size, r)
	}
	return v == valid, nil
}

// allZero says whether the bytes of a file from one offset to another are zeros.
func allZero(f File, path string, from, to int64) (bool, error) {
	buf := make([]byte, min(1<<20, max(to-from, 0)))
	for off := from; off < to; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-off)], off)
		if err != nil && err != io.EOF {
			return false, fmt.Errorf("wal: read at %d of %s: %w", off, path, err)
		}
		for _, c := range buf[:n] {
			if c != 0 {
				return false, nil
			}
		}
		if n == 0 {
			break
		}
		off += int64(n)
	}
	return true, nil
}
