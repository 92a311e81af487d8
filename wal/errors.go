package wal

import (
	"errors"
	"fmt"
)

// CorruptionError says that bytes which were durable cannot be read back as written: rot, a lost file or
// the wrong file. It is never a torn tail; those are repaired. The log refuses to open rather than guess.
type CorruptionError struct {
	Path   string
	Offset int64 // in bytes; of the first record that is not valid
	Reason string
}

// Error names file and offset and says what can be done.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("wal: %s is corrupt at offset %d: %s; acknowledged data is affected: restore the data directory "+
		"from a replica or a backup, or look at it with `fastpaca wal dump`", e.Path, e.Offset, e.Reason)
}

// Errors of Read and Close.
var (
	// ErrCompacted: the first entry asked for has been truncated; a snapshot covers it.
	ErrCompacted = errors.New("wal: entry is truncated, a snapshot covers it")
	// ErrUnavailable: the first entry asked for is not durable (yet), or was never written.
	ErrUnavailable = errors.New("wal: entry is not durable")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("wal: closed")
	// ErrNoSpace: the log was closed while submitted batches waited for disk space; they are not durable.
	ErrNoSpace = errors.New("wal: no space for the next segment, batches were left unwritten")
)
