package sim

import (
	"encoding/binary"
	"fmt"

	"fastpaca/shard"
)

type opKind uint8

const (
	opPut opKind = iota
	opAppend
	opCompact
)

// op is one write of a client. Several attempts of it may be under way at once only where it has a key.
type op struct {
	id        uint64
	kind      opKind
	ctx       *modelContext
	texts     []string // of the messages
	guarded   bool
	ifVersion uint64
	key, body uint64 // 0: no key
	cmd       []byte

	told     *told
	entries  []uint64 // log indexes at which it was committed
	answers  []*answer
	open     int  // attempts whose outcome is not known yet
	unknown  bool // one attempt ended without an outcome
	answered bool // one attempt got an answer of the state machine
	refused  bool // one attempt was told that nothing was written
}

// encode makes the command.
func (o *op) encode() {
	h := shard.AppendHeader{ID: o.ctx.id, Count: len(o.texts)}
	if o.guarded {
		h.HasIfVersion, h.IfVersion = true, o.ifVersion
	}
	if o.key != 0 {
		h.HasKey = true
		binary.LittleEndian.PutUint64(h.Key[:], o.key)
		binary.LittleEndian.PutUint64(h.BodyHash[:], o.body)
	}
	switch o.kind {
	case opPut:
		// A policy that cuts nothing, or where messages shall leave memory all but the newest, and metadata that makes the
		// command this op's own.
		policy := shard.Policy{Strategy: shard.Manual, Config: []byte("{}")}
		if n := o.ctx.window; n > 0 {
			policy = shard.Policy{Strategy: shard.LastN, Limit: uint32(n), Config: fmt.Appendf(nil, `{"limit":%d}`, n)}
		}
		o.cmd = shard.EncodePut(nil, &shard.Put{
			ID: o.ctx.id, HasPolicy: true, Policy: policy, HasMetadata: true, Metadata: fmt.Appendf(nil, `{"op":%d}`, o.id),
		})
		return
	case opAppend:
		o.cmd = shard.BeginAppend(nil, h)
	case opCompact:
		o.cmd = shard.BeginCompact(nil, h)
	}
	for _, text := range o.texts {
		o.cmd = shard.AppendMessage(o.cmd, &shard.Message{Fields: []byte(fields(text)), Tokens: 1, Flags: shard.FlagNoMetadata})
	}
}

// offTime is where a command carries the time that its leader stamped on it, 8 bytes (shard/command.go).
const offTime = 4

// identity is the hash of a command without its time: whose it is.
func identity(cmd []byte) uint64 {
	return uint64(digest(0).add(cmd[:offTime]).add(cmd[offTime+8:]))
}

// timeOf is the time that an entry carries.
func timeOf(cmd []byte) int64 { return int64(binary.LittleEndian.Uint64(cmd[offTime:])) }
