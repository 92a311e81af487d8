package shard

import "strconv"

// Code is the outcome of a write or a read. The state machine produces OK, NotFound, Tombstoned,
// Conflict, KeyReused, MetadataFull and SeqConflict; the rest are the runtime's.
type Code uint8

const (
	CodeOK         Code = iota
	CodeNotFound        // no such context
	CodeTombstoned      // the context is deleted: reads only
	CodeConflict        // if_version does not match; Result.CurrentVersion and IfVersion say how
	CodeKeyReused       // the idempotency key was used before with a different body

	CodeTimeout      // outcome unknown: the write may still commit
	CodeUnavailable  // no leader or no quorum; nothing was written
	CodeStorageFull  // the log has no room; nothing was written
	CodeOverloaded   // a queue is full; nothing was written
	CodeShuttingDown // the node stops; nothing was written
	CodeTooLarge     // the command is larger than a log entry may be; nothing was written
	CodeMetadataFull // the context's metadata would pass MetadataMax; nothing was written
	CodeNotLeader    // this node does not lead the group; nothing was written. For the router, never shown to clients
	CodeSeqConflict  // the append's first seq does not match; Result.LastSeq says how; nothing was written
)

var codeNames = [...]string{
	CodeOK: "ok", CodeNotFound: "not_found", CodeTombstoned: "tombstoned", CodeConflict: "conflict",
	CodeKeyReused: "key_reused", CodeTimeout: "timeout", CodeUnavailable: "unavailable",
	CodeStorageFull: "storage_full", CodeOverloaded: "overloaded", CodeShuttingDown: "shutting_down",
	CodeTooLarge: "too_large", CodeMetadataFull: "metadata_full",
	CodeNotLeader: "not_leader", CodeSeqConflict: "seq_conflict",
}

// String is for logs and tests.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code(" + strconv.Itoa(int(c)) + ")"
}

// Result is the answer to one command. Apply overwrites all of it.
type Result struct {
	Code Code
	// Created: a PUT made the context (201), as opposed to updating it (200).
	Created bool
	// Deduplicated: the idempotency key had been used with the same body. Version, FirstSeq and Count are
	// those of the first answer, nothing was written, and View is captured (its slots have the
	// first answer's token counts while the messages are in memory).
	Deduplicated bool
	// Version is the version that the command made; for commands that make none, the current one.
	Version uint64
	// CurrentVersion and IfVersion are set with CodeConflict.
	CurrentVersion uint64
	IfVersion      uint64
	// LastSeq is set with CodeSeqConflict: the context's newest message.
	LastSeq uint64
	// FirstSeq and Count: an append's messages got the seqs FirstSeq .. FirstSeq+Count-1.
	FirstSeq uint64
	Count    int
	// View is captured right after a PUT or PATCH was applied, and for deduplicated appends. Otherwise it
	// is empty.
	View View
}

// reset makes r the answer of a command that did nothing yet. The View is emptied: a pooled result must
// not keep pages in memory.
func (r *Result) reset() { *r = Result{} }
