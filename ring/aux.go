package ring

import (
	"encoding/binary"
	"math"
)

// Aux is what the window rules need to know of a message's parts without parsing its JSON. It is present for a message
// with at least two parts or with any tool part, and lies behind the JSON and its comma.
//
//	aux:  uvarint(number of parts) | part ...
//	part: uvarint(tokens) | kind u8 | idHash u64 LE, only where kind != 0
//
// It delimits itself: where it ends follows from its bytes alone. Pinned by testdata/aux.golden.

// Kinds of a part. A tool part whose type contains "result", "output" or "response" is a result, any other part whose
// type starts with "tool" is a call.
const (
	PartOther  = 0
	PartCall   = 1
	PartResult = 2
)

// Part is one part of a message as aux knows it.
type Part struct {
	Tokens uint32
	Kind   uint8
	ID     uint64 // hash of the id that ties a result to its call; 0: no id, and always 0 for PartOther
}

// BeginAux appends the head of an aux of n parts; exactly n calls of AppendPart must follow.
func BeginAux(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }

// AppendPart appends one part.
func AppendPart(dst []byte, p Part) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.Tokens))
	dst = append(dst, p.Kind)
	if p.Kind != PartOther {
		dst = le.AppendUint64(dst, p.ID)
	}
	return dst
}

// AppendAux appends the aux of parts.
func AppendAux(dst []byte, parts []Part) []byte {
	dst = BeginAux(dst, len(parts))
	for _, p := range parts {
		dst = AppendPart(dst, p)
	}
	return dst
}

// ScanAux measures the aux at the start of b: its length in bytes, and FlagToolCall and FlagToolResult as its parts
// have it. ok is false where b does not start with a well-formed aux.
func ScanAux(b []byte) (n int, flags uint16, ok bool) {
	parts, n := binary.Uvarint(b)
	if n <= 0 || parts > uint64(len(b)) {
		return 0, 0, false
	}
	for ; parts > 0; parts-- {
		p, size, ok := decodePart(b[n:])
		if !ok {
			return 0, 0, false
		}
		switch p.Kind {
		case PartCall:
			flags |= FlagToolCall
		case PartResult:
			flags |= FlagToolResult
		}
		n += size
	}
	return n, flags, true
}

// AuxReader walks the parts of an aux.
type AuxReader struct {
	rest  []byte
	parts uint64
}

// ReadAux starts a walk over aux; an empty or malformed aux has no parts (those in a log were checked by Commit).
func ReadAux(aux []byte) AuxReader {
	parts, n := binary.Uvarint(aux)
	if n <= 0 {
		return AuxReader{}
	}
	return AuxReader{rest: aux[n:], parts: parts}
}

// Next returns the next part; ok is false at the end.
func (r *AuxReader) Next() (p Part, ok bool) {
	if r.parts == 0 {
		return Part{}, false
	}
	p, n, ok := decodePart(r.rest)
	if !ok {
		r.parts = 0
		return Part{}, false
	}
	r.rest, r.parts = r.rest[n:], r.parts-1
	return p, true
}

// decodePart decodes the part at the start of b and returns its length in bytes.
func decodePart(b []byte) (p Part, n int, ok bool) {
	tokens, n := binary.Uvarint(b)
	if n <= 0 || tokens > math.MaxUint32 || n >= len(b) {
		return Part{}, 0, false
	}
	p.Tokens, p.Kind = uint32(tokens), b[n]
	n++
	switch p.Kind {
	case PartOther:
	case PartCall, PartResult:
		if len(b)-n < 8 {
			return Part{}, 0, false
		}
		p.ID = le.Uint64(b[n:])
		n += 8
	default:
		return Part{}, 0, false
	}
	return p, n, true
}
