package shard

import (
	"encoding/binary"
	"fmt"

	"fastpaca/ring"
)

// Commands are what the shard's log replicates: every change of state is one of them, complete with its
// time, its token counts and everything else that replicas could otherwise disagree on. Layout of
// version 1, all integers little-endian:
//
//	 0  version u8 = 1
//	 1  kind    u8
//	 2  flags   u16
//	 4  time    i64   Unix ms, stamped by the leader's loop (StampTime)
//	12  id len  u16
//	14  zero    u16
//	16  count   u32   messages that follow (append, compact), otherwise 0
//	20  id
//	    body, by kind:
//
//	append, compact:
//	    if_version u64                 with flagIfVersion
//	    key [16] | body hash [16]      with flagKey
//	    first seq u64                  with flagFirstSeq (append only)
//	    count times:
//	        fields len u32 | aux len u32 | tokens u32 | message flags u16
//	        inserted i64 (Unix ms)     with FlagInserted in message flags
//	        fields | aux
//	put:
//	    budget u64                     with flagBudget
//	    ratio u64 (parts per billion)  with flagRatio
//	    strategy u8 | limit u32 | kinds u16 | kinds times (len u16 | kind) | config len u32 | config
//	                                   with flagPolicy
//	    metadata len u32 | metadata    with flagMetadata
//	delete: nothing
//	patch metadata:
//	    patch len u32 | patch
//	ack archived:
//	    seq u64 | keep u64
//
// A version or kind that this build does not know stops the node: an entry must never be skipped, or
// replicas would drift apart. New kinds therefore need a version gate in the cluster before use.
const commandVersion = 1

type commandKind uint8

const (
	kindAppend        commandKind = 1
	kindCompact       commandKind = 2
	kindPut           commandKind = 3
	kindDelete        commandKind = 4
	kindPatchMetadata commandKind = 5
	kindAckArchived   commandKind = 6
)

const (
	flagIfVersion uint16 = 1 << iota
	flagKey
	flagBudget
	flagRatio
	flagPolicy
	flagMetadata
	flagFirstSeq
)

const (
	offFlags   = 2
	offTime    = 4
	offIDLen   = 12
	offCount   = 16
	headerSize = 20

	messageHeaderSize = 14
	insertedSize      = 8
)

// FlagNoMetadata in Message.Flags says that the client sent no "metadata" member: the stored message gets
// an empty one. The low bits of Message.Flags are ring's FlagSystem, FlagToolCall and FlagToolResult.
const FlagNoMetadata = 1 << 15

// FlagInserted in Message.Flags says that the message brings its own inserted_at, Message.InsertedMs: it was exported
// somewhere and is imported here. The others get the time of their command.
const FlagInserted = 1 << 14

// messageFlags are those that a command carries.
const messageFlags = ring.FlagSystem | ring.FlagToolCall | ring.FlagToolResult | FlagNoMetadata | FlagInserted

// Message is one message of an append or a compaction, as the encoder takes it.
type Message struct {
	// Fields are the client's members in the order sent, comma-joined, without the outer braces and
	// without seq, token_count and inserted_at. Not empty, valid JSON when put in braces.
	Fields []byte
	// Tokens is the client's token_count or the estimator's count.
	Tokens uint32
	// Flags: ring.FlagSystem, ring.FlagToolCall, ring.FlagToolResult, FlagNoMetadata, FlagInserted. Others are dropped.
	Flags uint16
	// InsertedMs is the message's inserted_at, in Unix ms, with FlagInserted. Apply moves it into what RFC 3339 can
	// write from 1970 on; it need not rise from message to message.
	InsertedMs int64
	// Aux is the per-part digest (ring's aux codec); empty unless the message has two or more parts or a
	// tool part.
	Aux []byte
}

// AppendHeader opens an append or a compaction.
type AppendHeader struct {
	ID           []byte // 1 to 255 bytes, validated by the caller
	HasIfVersion bool
	IfVersion    uint64
	HasKey       bool
	Key          [16]byte // hash of the Idempotency-Key
	BodyHash     [16]byte // hash of the request body
	// HasFirstSeq: the append is refused (CodeSeqConflict) unless its first message gets FirstSeq. What an import sends
	// again, not knowing whether it arrived, can so be neither doubled nor skipped. BeginCompact takes none.
	HasFirstSeq bool
	FirstSeq    uint64
	Count       int // messages that follow; may be set afterwards with SetCount
}

// BeginAppend appends the head of an append command to dst. Exactly h.Count messages must follow
// (AppendMessage); where the count is not known yet, SetCount sets it afterwards.
func BeginAppend(dst []byte, h AppendHeader) []byte { return beginMessages(dst, kindAppend, h) }

// BeginCompact appends the head of a compaction; its messages are the replacement, possibly none.
func BeginCompact(dst []byte, h AppendHeader) []byte {
	h.HasFirstSeq = false
	return beginMessages(dst, kindCompact, h)
}

func beginMessages(dst []byte, kind commandKind, h AppendHeader) []byte {
	var flags uint16
	if h.HasIfVersion {
		flags |= flagIfVersion
	}
	if h.HasKey {
		flags |= flagKey
	}
	if h.HasFirstSeq {
		flags |= flagFirstSeq
	}
	dst = appendHeader(dst, kind, flags, h.ID, h.Count)
	if h.HasIfVersion {
		dst = binary.LittleEndian.AppendUint64(dst, h.IfVersion)
	}
	if h.HasKey {
		dst = append(dst, h.Key[:]...)
		dst = append(dst, h.BodyHash[:]...)
	}
	if h.HasFirstSeq {
		dst = binary.LittleEndian.AppendUint64(dst, h.FirstSeq)
	}
	return dst
}

// SetCount sets the number of messages of an append or compaction whose encoding starts at cmd[0].
func SetCount(cmd []byte, n int) { binary.LittleEndian.PutUint32(cmd[offCount:], uint32(n)) }

// AppendMessage appends one message to an append or compaction that was begun.
func AppendMessage(dst []byte, m *Message) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.Fields)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.Aux)))
	dst = binary.LittleEndian.AppendUint32(dst, m.Tokens)
	dst = binary.LittleEndian.AppendUint16(dst, m.Flags&messageFlags)
	if m.Flags&FlagInserted != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(m.InsertedMs))
	}
	dst = append(dst, m.Fields...)
	return append(dst, m.Aux...)
}

// Put creates or updates a context. What is not set keeps its value, or gets the default.
type Put struct {
	ID          []byte
	HasBudget   bool
	TokenBudget uint64 // > 0
	HasRatio    bool
	RatioPPB    uint64 // trigger ratio in parts per billion, 1 to 1e9
	HasPolicy   bool
	Policy      Policy
	HasMetadata bool
	Metadata    []byte // a JSON object, as sent
}

// EncodePut appends the command to dst.
func EncodePut(dst []byte, p *Put) []byte {
	var flags uint16
	for _, f := range [...]struct {
		has bool
		bit uint16
	}{{p.HasBudget, flagBudget}, {p.HasRatio, flagRatio}, {p.HasPolicy, flagPolicy}, {p.HasMetadata, flagMetadata}} {
		if f.has {
			flags |= f.bit
		}
	}
	dst = appendHeader(dst, kindPut, flags, p.ID, 0)
	if p.HasBudget {
		dst = binary.LittleEndian.AppendUint64(dst, p.TokenBudget)
	}
	if p.HasRatio {
		dst = binary.LittleEndian.AppendUint64(dst, p.RatioPPB)
	}
	if p.HasPolicy {
		dst = appendPolicy(dst, &p.Policy)
	}
	if p.HasMetadata {
		dst = appendBytes(dst, p.Metadata)
	}
	return dst
}

func appendPolicy(dst []byte, p *Policy) []byte {
	dst = append(dst, byte(p.Strategy))
	dst = binary.LittleEndian.AppendUint32(dst, p.Limit)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(p.SkipKinds)))
	for _, kind := range p.SkipKinds {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(kind)))
		dst = append(dst, kind...)
	}
	return appendBytes(dst, p.Config)
}

// EncodeDelete appends a command that tombstones the context.
func EncodeDelete(dst, id []byte) []byte { return appendHeader(dst, kindDelete, 0, id, 0) }

// EncodePatchMetadata appends a command that merges patch, a JSON object, into the metadata (RFC 7396 at
// the top level).
func EncodePatchMetadata(dst, id, patch []byte) []byte {
	return appendBytes(appendHeader(dst, kindPatchMetadata, 0, id, 0), patch)
}

// EncodeAckArchived appends a command that says that the archive holds everything up to seq. Messages
// older than the newest keep of those may then leave memory, as far as the window does not need them.
// keep = math.MaxUint64 evicts nothing.
func EncodeAckArchived(dst, id []byte, seq, keep uint64) []byte {
	dst = appendHeader(dst, kindAckArchived, 0, id, 0)
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	return binary.LittleEndian.AppendUint64(dst, keep)
}

// frees says whether the encoded command makes room where there is none.
func frees(cmd []byte) bool { return len(cmd) > 1 && commandKind(cmd[1]) == kindAckArchived }

// commandID is the context id of an encoded command, nil if it is too short to have one.
func commandID(cmd []byte) []byte {
	if len(cmd) < headerSize {
		return nil
	}
	n := int(binary.LittleEndian.Uint16(cmd[offIDLen:]))
	if n == 0 || len(cmd)-headerSize < n {
		return nil
	}
	return cmd[headerSize : headerSize+n]
}

// StampTime writes the command's time, in Unix ms. The leader's loop calls it right before proposing;
// nothing else of a command changes after encoding.
func StampTime(cmd []byte, ms int64) { binary.LittleEndian.PutUint64(cmd[offTime:], uint64(ms)) }

func appendHeader(dst []byte, kind commandKind, flags uint16, id []byte, count int) []byte {
	dst = append(dst, commandVersion, byte(kind))
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(id)))
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(count))
	return append(dst, id...)
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b)))
	return append(dst, b...)
}

// CommandError says why a log entry cannot be applied. It stops the node: skipping the entry would make
// this replica differ from the others.
type CommandError struct {
	Shard   uint32
	Index   uint64 // of the log entry
	Version uint8
	Kind    uint8
	Reason  string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("shard %d: log entry %d (command version %d, kind %d) cannot be applied: %s; "+
		"run the version of fastpaca that wrote it, or a later one", e.Shard, e.Index, e.Version, e.Kind, e.Reason)
}
