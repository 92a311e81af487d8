package archive

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// ConflictError says that the store has another message under a context and seq. Storing goes on for other contexts once
// its rows are left out. It wraps ErrConflict.
type ConflictError struct {
	Context string
	Seq     uint64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: context %q, seq %d: do two clusters share this archive, or was the cluster set up anew over "+
		"an old one? Give each its own database or bucket prefix", ErrConflict, e.Context, e.Seq)
}

// Unwrap makes errors.Is find ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// RowError says that a row cannot be stored. Storing goes on for other contexts once it is left out.
type RowError struct {
	Context string
	Seq     uint64
	Err     error
}

func (e *RowError) Error() string {
	return fmt.Sprintf("context %q, seq %d: %v", e.Context, e.Seq, e.Err)
}

// Unwrap makes errors.Is find what is wrong with the row.
func (e *RowError) Unwrap() error { return e.Err }

// Normalize sorts rows by context and seq, in place, and drops what is there twice. Two different messages under one
// context and seq are a ConflictError.
func Normalize(rows []Row) ([]Row, error) {
	order := func(a, b Row) int {
		if c := cmp.Compare(a.Context, b.Context); c != 0 {
			return c
		}
		return cmp.Compare(a.Seq, b.Seq)
	}
	if !slices.IsSortedFunc(rows, order) {
		slices.SortStableFunc(rows, order)
	}
	n := 0
	for i := range rows {
		r := &rows[i]
		if n > 0 && rows[n-1].Seq == r.Seq && rows[n-1].Context == r.Context {
			if !bytes.Equal(rows[n-1].Message, r.Message) {
				return nil, &ConflictError{Context: r.Context, Seq: r.Seq}
			}
			continue
		}
		if n != i {
			rows[n] = *r
		}
		n++
	}
	return rows[:n], nil
}
