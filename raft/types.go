package raft

import (
	"errors"
	"fmt"
)

// EntryKind says what an entry carries. The numbers are on disk and on the wire: never reuse one.
type EntryKind uint8

const (
	KindNormal EntryKind = 0 // a command of the state machine
	KindNoop   EntryKind = 1 // a new leader's first entry; Data is empty
	KindConf   EntryKind = 2 // a membership: Data is a whole Conf as AppendConf writes it
	kindLimit  EntryKind = 3
)

func (k EntryKind) String() string {
	switch k {
	case KindNormal:
		return "normal"
	case KindNoop:
		return "noop"
	case KindConf:
		return "conf"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Entry is one position of the log. Data is referenced by whoever holds the entry and changed by
// nobody, for as long as anybody may hold it.
type Entry struct {
	Index, Term uint64
	Kind        EntryKind
	Data        []byte
}

// entryOverhead is what an entry costs besides its data, in bytes, wherever bytes are limited: so
// that a million empty entries are not free.
const entryOverhead = 32

func (e *Entry) size() int { return len(e.Data) + entryOverhead }

// HardState is what a node must not forget. Term and Vote must be on disk before anything that
// follows from them is said aloud; Commit is only a hint that saves work after a restart.
type HardState struct{ Term, Vote, Commit uint64 }

// SnapshotMeta names a snapshot: the state after applying all entries up to Index, the term of the
// entry at Index, and the membership in force there.
type SnapshotMeta struct {
	Index, Term uint64
	Conf        Conf
}

// maxValue bounds terms, indexes and rounds that come from outside, so that adding one to any of
// them never wraps.
const maxValue = 1 << 62

// Errors of the interface. All of them leave the group as it was.
var (
	// ErrTooLarge: the data of a proposal is longer than Config.MaxEntryBytes.
	ErrTooLarge = errors.New("raft: entry too large")
	// ErrUncommittedFull: too many bytes wait for their commit (Config.MaxUncommittedBytes).
	ErrUncommittedFull = errors.New("raft: too many uncommitted bytes")
	// ErrTransferring: leadership is being handed over; no proposals until that ended or timed out.
	ErrTransferring = errors.New("raft: leadership transfer in progress")
	// ErrConfPending: another membership change is in flight, or the leader has not yet committed an
	// entry of its term.
	ErrConfPending = errors.New("raft: membership change not possible yet")
	// ErrInvalidConf: the membership change makes no sense (no voters left, unknown node, ...).
	ErrInvalidConf = errors.New("raft: invalid membership")
	// ErrInvalidMessage: the message breaks the protocol. Drop it and count it; a peer is broken or lies.
	ErrInvalidMessage = errors.New("raft: invalid message")
	// ErrDiverged: a peer claims a history that contradicts what is committed or acknowledged here.
	// This node or the peer lost acknowledged data (a wiped or rolled-back disk under an old
	// identity): the shell must stop the group and tell the operator.
	ErrDiverged = errors.New("raft: histories diverged")
)

// NotLeaderError is the answer to what only a leader can do.
type NotLeaderError struct {
	Leader uint64 // who leads, as far as known; 0 unknown
}

func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return "raft: not the leader, leader unknown"
	}
	return fmt.Sprintf("raft: not the leader, leader is %d", e.Leader)
}
