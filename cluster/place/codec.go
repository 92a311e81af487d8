package place

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Strings are a length byte and the bytes; ids and versions are u64 LE; a set is a count byte and ids. Decoding is
// strict: every byte is accounted for, every limit checked, so that one value has exactly one encoding.

var (
	errShort    = errors.New("it ends too early")
	errTrailing = errors.New("bytes are left over")
	errSet      = errors.New("a set is not ascending, or too long")
)

func appendString(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}

func appendSet(dst []byte, set []uint64) []byte {
	dst = append(dst, byte(len(set)))
	for _, id := range set {
		dst = binary.LittleEndian.AppendUint64(dst, id)
	}
	return dst
}

// reader takes values off the front of b; the first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(errShort)
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) string() string { return string(r.take(int(r.u8()))) }

// set reads an ascending list of at most MaxReplicas ids.
func (r *reader) set() []uint64 {
	n := int(r.u8())
	if n > MaxReplicas {
		r.fail(errSet)
		return nil
	}
	set := make([]uint64, n)
	for i := range set {
		set[i] = r.u64()
	}
	if !ascending(set) {
		r.fail(errSet)
	}
	return set
}

// end returns the first error, or that something is left.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.b) > 0 {
		r.err = errTrailing
	}
	if r.err != nil {
		return fmt.Errorf("place: %s: %w", what, r.err)
	}
	return nil
}

// ascending: ids ascend strictly and are not 0.
func ascending(set []uint64) bool {
	last := uint64(0)
	for _, id := range set {
		if id <= last {
			return false
		}
		last = id
	}
	return true
}
