package peer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fastpaca/raft"
)

// The encoding of raft messages. Sender and receiver belong to the connection and are not part of it; v is an
// unsigned varint (encoding/binary), shortest form not enforced; [x] is there if its bit in present is set.
//
//	| tag u8 | present u8 | group v | term v | [index v] [logterm v] [commit v] [hint v] [round v] |
//	| [number of entries v, entries ...] | [length v, snapshot] |
//
//	tag       bits 0-3 type, 4 reject, 5 force, 6 damaged, 7 zero
//	present   bit 0 index, 1 logterm, 2 commit, 3 hint, 4 round, 5 entries, 6 snapshot, 7 zero
//
//	entry     | kind and flags u8 | [term v] | [index v] | length v | data |
//	          bits 0-5 kind; 6: term is there, else it is the message's; 7: index is there, else it is the one
//	          after the entry before it (the first: after the message's index)
//	snapshot  | index v | term v | conf as raft.AppendConf writes it |
//
// A heartbeat takes about 10 bytes, an append about 20 besides its data. Message types and entry kinds are raft's
// numbers, which it never uses twice; whatever else changes is a new protocolVersion.
const (
	tagReject  = 1 << 4
	tagForce   = 1 << 5
	tagDamaged = 1 << 6

	hasIndex    = 1 << 0
	hasLogTerm  = 1 << 1
	hasCommit   = 1 << 2
	hasHint     = 1 << 3
	hasRound    = 1 << 4
	hasEntries  = 1 << 5
	hasSnapshot = 1 << 6

	entryKind     = 0x3f
	entryHasTerm  = 1 << 6
	entryHasIndex = 1 << 7

	// entryMin is the length of the shortest entry, which bounds how many a frame can hold.
	entryMin = 2
)

var errCodec = errors.New("peer: not an encoded raft message")

// AppendMessages appends the encoding of msgs to dst; their From and To are not part of it.
func AppendMessages(dst []byte, msgs []raft.Message) []byte {
	for i := range msgs {
		dst = appendMessage(dst, &msgs[i])
	}
	return dst
}

func appendMessage(dst []byte, m *raft.Message) []byte {
	if m.Type > 0xf {
		panic(fmt.Sprintf("peer: raft message type %d does not fit the tag: raise protocolVersion and widen it", m.Type))
	}
	tag, at := byte(m.Type), len(dst)+1
	if m.Reject {
		tag |= tagReject
	}
	if m.Force {
		tag |= tagForce
	}
	if m.Damaged {
		tag |= tagDamaged
	}
	dst = append(dst, tag, 0)
	dst = binary.AppendUvarint(dst, uint64(m.Group))
	dst = binary.AppendUvarint(dst, m.Term)
	present := byte(0)
	for i, v := range [...]uint64{m.Index, m.LogTerm, m.Commit, m.Hint, m.Round} {
		if v != 0 {
			present |= 1 << i
			dst = binary.AppendUvarint(dst, v)
		}
	}
	if len(m.Entries) > 0 {
		present |= hasEntries
		dst = appendEntries(dst, m)
	}
	if m.Snapshot != nil {
		present |= hasSnapshot
		dst = appendSnapshotMeta(dst, m.Snapshot)
	}
	dst[at] = present
	return dst
}

func appendEntries(dst []byte, m *raft.Message) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m.Entries)))
	index := m.Index
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Kind > entryKind {
			panic(fmt.Sprintf("peer: raft entry kind %d does not fit its byte: raise protocolVersion and widen it", e.Kind))
		}
		at := len(dst)
		dst = append(dst, byte(e.Kind))
		if e.Term != m.Term {
			dst[at] |= entryHasTerm
			dst = binary.AppendUvarint(dst, e.Term)
		}
		if index++; e.Index != index {
			dst[at] |= entryHasIndex
			dst = binary.AppendUvarint(dst, e.Index)
			index = e.Index
		}
		dst = binary.AppendUvarint(dst, uint64(len(e.Data)))
		dst = append(dst, e.Data...)
	}
	return dst
}

func appendSnapshotMeta(dst []byte, s *raft.SnapshotMeta) []byte {
	// The length takes two bytes whatever it is, so that it can be filled in afterwards: a conf has at most
	// 6 + 4*255*8 bytes, index and term 20, which is below 1<<14.
	at := len(dst)
	dst = append(dst, 0, 0)
	dst = binary.AppendUvarint(dst, s.Index)
	dst = binary.AppendUvarint(dst, s.Term)
	dst = raft.AppendConf(dst, &s.Conf)
	n := len(dst) - at - 2
	dst[at], dst[at+1] = byte(n)|0x80, byte(n>>7)
	return dst
}

// DecodeMessages appends the messages of b to msgs, reusing the Entries slices that lie between the length and the
// capacity of msgs. The entries' data refers to b, which therefore must never change again. After an error the messages
// before the bad one are there. It allocates no more than a small multiple of len(b).
func DecodeMessages(b []byte, from, to uint64, msgs []raft.Message) ([]raft.Message, error) {
	d := decoder{b: b}
	for len(d.b) > 0 {
		msgs = extend(msgs)
		m := &msgs[len(msgs)-1]
		d.message(m)
		if d.bad {
			return msgs[:len(msgs)-1], errCodec
		}
		m.From, m.To = from, to
	}
	return msgs, nil
}

// extend makes msgs one longer. What the new element holds from an earlier use is its Entries slice's memory.
func extend(msgs []raft.Message) []raft.Message {
	if len(msgs) < cap(msgs) {
		return msgs[:len(msgs)+1]
	}
	return append(msgs, raft.Message{})
}

// decoder reads from b and turns bad for good at the first thing that is not there.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes takes the next n bytes, without room behind them for a careless append.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) message(m *raft.Message) {
	tag, present := d.byte(), d.byte()
	if tag>>7 != 0 || present>>7 != 0 {
		d.bad = true
		return
	}
	*m = raft.Message{
		Type: raft.MessageType(tag & 0xf), Reject: tag&tagReject != 0, Force: tag&tagForce != 0, Damaged: tag&tagDamaged != 0,
		Entries: m.Entries[:0],
	}
	group := d.uvarint()
	if group > 1<<32-1 {
		d.bad = true
	}
	m.Group, m.Term = uint32(group), d.uvarint()
	for i, v := range [...]*uint64{&m.Index, &m.LogTerm, &m.Commit, &m.Hint, &m.Round} {
		if present&(1<<i) != 0 {
			*v = d.uvarint()
		}
	}
	if present&hasEntries != 0 {
		d.entries(m)
	}
	if present&hasSnapshot != 0 {
		d.snapshotMeta(m)
	}
}

func (d *decoder) entries(m *raft.Message) {
	n := d.uvarint()
	if n > uint64(len(d.b)/entryMin) {
		d.bad = true
		return
	}
	index := m.Index
	for range n {
		flags := d.byte()
		e := raft.Entry{Kind: raft.EntryKind(flags & entryKind), Term: m.Term, Index: index + 1}
		if flags&entryHasTerm != 0 {
			e.Term = d.uvarint()
		}
		if flags&entryHasIndex != 0 {
			e.Index = d.uvarint()
		}
		index = e.Index
		e.Data = d.bytes(d.uvarint())
		if d.bad {
			return
		}
		m.Entries = append(m.Entries, e)
	}
}

func (d *decoder) snapshotMeta(m *raft.Message) {
	s := decoder{b: d.bytes(d.uvarint())}
	meta := &raft.SnapshotMeta{Index: s.uvarint(), Term: s.uvarint()}
	conf, err := raft.DecodeConf(s.b)
	if err != nil || s.bad {
		d.bad = true
		return
	}
	meta.Conf, m.Snapshot = conf, meta
}
