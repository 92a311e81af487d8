package shard

import (
	"encoding/binary"
	"errors"

	"fastpaca/ring"
)

// messageMax bounds a message, in bytes, so that its stored form fits a page's offsets.
const messageMax = ring.MaxMessage - 1<<10

// command is a decoded command. Its slices point into the encoding.
type command struct {
	kind      commandKind
	timeMs    int64
	id        []byte
	ifVersion uint64
	key       [16]byte
	bodyHash  [16]byte
	firstSeq  uint64
	has       uint16 // the flag bits

	messages messageReader // append, compact

	budget, ratio uint64
	policy        Policy // Config and SkipKinds are copies only in put
	metadata      []byte // put; the patch of patch metadata

	archived, keep uint64
}

var (
	errTruncated = errors.New("it is shorter than its own lengths say")
	errTrailing  = errors.New("bytes follow its end")
	errVersion   = errors.New("this build does not know its version")
	errKind      = errors.New("this build does not know its kind")
	errFlags     = errors.New("it carries flags that this build does not know")
	errValue     = errors.New("a value is outside its range")
)

// kindFlags are the flags that each kind may carry. An unknown one changes the layout, so it is refused.
var kindFlags = [...]uint16{
	kindAppend:        flagIfVersion | flagKey | flagFirstSeq,
	kindCompact:       flagIfVersion | flagKey,
	kindPut:           flagBudget | flagRatio | flagPolicy | flagMetadata,
	kindDelete:        0,
	kindPatchMetadata: 0,
	kindAckArchived:   0,
}

// decode parses b into c, which it overwrites. It checks everything that Apply relies on, so that a
// command is applied as a whole or not at all: structure, lengths up to the last byte, ranges.
func (c *command) decode(b []byte) error {
	*c = command{}
	if len(b) < 2 {
		return errTruncated
	}
	if b[0] != commandVersion {
		return errVersion
	}
	c.kind = commandKind(b[1])
	if c.kind == 0 || int(c.kind) >= len(kindFlags) {
		return errKind
	}
	if len(b) < headerSize {
		return errTruncated
	}
	c.has = binary.LittleEndian.Uint16(b[offFlags:])
	if c.has&^kindFlags[c.kind] != 0 {
		return errFlags
	}
	c.timeMs = int64(binary.LittleEndian.Uint64(b[offTime:]))
	idLen := int(binary.LittleEndian.Uint16(b[offIDLen:]))
	count := binary.LittleEndian.Uint32(b[offCount:])
	if idLen == 0 || b[14]|b[15] != 0 {
		return errValue
	}
	r := reader{b: b[headerSize:]}
	c.id = r.take(idLen)

	switch c.kind {
	case kindAppend, kindCompact:
		if c.has&flagIfVersion != 0 {
			c.ifVersion = r.u64()
		}
		if c.has&flagKey != 0 {
			copy(c.key[:], r.take(16))
			copy(c.bodyHash[:], r.take(16))
		}
		if c.has&flagFirstSeq != 0 {
			c.firstSeq = r.u64()
		}
		if r.bad {
			return errTruncated
		}
		if c.kind == kindAppend && count == 0 {
			return errValue
		}
		c.messages = messageReader{b: r.b, left: int(count)}
		return c.messages.check()
	case kindPut:
		if c.has&flagBudget != 0 {
			if c.budget = r.u64(); c.budget == 0 && !r.bad {
				return errValue
			}
		}
		if c.has&flagRatio != 0 {
			if c.ratio = r.u64(); (c.ratio == 0 || c.ratio > RatioOne) && !r.bad {
				return errValue
			}
		}
		if c.has&flagPolicy != 0 {
			if !c.policy.decode(&r) {
				return errValue
			}
		}
		if c.has&flagMetadata != 0 {
			c.metadata = r.bytes()
		}
	case kindPatchMetadata:
		c.metadata = r.bytes()
	case kindAckArchived:
		c.archived, c.keep = r.u64(), r.u64()
	}
	switch {
	case r.bad:
		return errTruncated
	case len(r.b) != 0:
		return errTrailing
	case count != 0:
		return errValue
	}
	return nil
}

// decode reads a policy. Its kinds are copied: they outlive the log entry.
func (p *Policy) decode(r *reader) bool {
	p.Strategy = Strategy(r.u8())
	p.Limit = r.u32()
	n := int(r.u16())
	if n*2 > len(r.b) {
		r.bad = true
		return true // reported as truncated
	}
	for range n {
		p.SkipKinds = append(p.SkipKinds, string(r.take(int(r.u16()))))
	}
	p.Config = r.bytes()
	if r.bad {
		return true
	}
	return p.Strategy <= Manual && (p.Limit > 0 || p.Strategy == Manual)
}

// messageReader walks the messages of an append or compaction.
type messageReader struct {
	b    []byte
	left int
}

// check walks a copy of the reader to the end.
func (m messageReader) check() error {
	for ; m.left > 0; m.left-- {
		if len(m.b) < messageHeaderSize {
			return errTruncated
		}
		flags := binary.LittleEndian.Uint16(m.b[12:])
		fields, aux := uint64(binary.LittleEndian.Uint32(m.b)), uint64(binary.LittleEndian.Uint32(m.b[4:]))
		n := messageHeaderLen(flags) + fields + aux
		if n > uint64(len(m.b)) {
			return errTruncated
		}
		if flags&^messageFlags != 0 {
			return errFlags
		}
		if fields == 0 || n > messageMax {
			return errValue
		} else if aux := m.b[n-aux : n]; len(aux) > 0 {
			if size, _, ok := ring.ScanAux(aux); !ok || size != len(aux) {
				return errValue
			}
		}
		m.b = m.b[n:]
	}
	if len(m.b) != 0 {
		return errTrailing
	}
	return nil
}

// messageHeaderLen is how many bytes stand before the fields of a message with these flags.
func messageHeaderLen(flags uint16) uint64 {
	if flags&FlagInserted != 0 {
		return messageHeaderSize + insertedSize
	}
	return messageHeaderSize
}

// next returns the next message; check has passed. The slices point into the command.
func (m *messageReader) next(out *Message) bool {
	if m.left == 0 {
		return false
	}
	m.left--
	fields := int(binary.LittleEndian.Uint32(m.b))
	aux := int(binary.LittleEndian.Uint32(m.b[4:]))
	out.Tokens = binary.LittleEndian.Uint32(m.b[8:])
	out.Flags = binary.LittleEndian.Uint16(m.b[12:])
	head := int(messageHeaderLen(out.Flags))
	out.InsertedMs = 0
	if out.Flags&FlagInserted != 0 {
		out.InsertedMs = int64(binary.LittleEndian.Uint64(m.b[messageHeaderSize:]))
	}
	out.Fields = m.b[head:][:fields:fields]
	out.Aux = m.b[head+fields:][:aux:aux]
	m.b = m.b[head+fields+aux:]
	return true
}

// reader takes fixed-size values from a slice. Reading past the end sets bad and gives zeros, so that a
// decoder checks once.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// bytes takes a slice with a u32 length in front.
func (r *reader) bytes() []byte { return r.take(int(r.u32())) }
