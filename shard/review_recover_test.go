package shard

import (
	"testing"

	"fastpaca/raft"
	"fastpaca/wal"

	"github.com/stretchr/testify/require"
)

// TestLogOfAnotherHistoryBehindASnapshot: power loss between the name of a received snapshot and the log's word of it
// (receive.go, step 3). The snapshot ends with entry 10 of term 2. The log has another entry there, and behind it what
// leaders of term 1 and 3 appended to that: some of it older in term than the snapshot, some newer, none of it ever committed.
// The start must leave out all of it, as the log does when it is told of the snapshot (wal.Batch.Snapshot).
func TestLogOfAnotherHistoryBehindASnapshot(t *testing.T) {
	e := func(index, term uint64) wal.Entry {
		return wal.Entry{Index: index, Term: term, Kind: uint8(raft.KindNoop)}
	}
	for name, c := range map[string]struct {
		log  []wal.Entry
		last uint64
	}{
		"older, then newer": {[]wal.Entry{e(9, 1), e(10, 1), e(11, 1), e(12, 3)}, 10},
		"newer":             {[]wal.Entry{e(9, 1), e(10, 1), e(11, 3), e(12, 3)}, 10},
		"the same":          {[]wal.Entry{e(9, 1), e(10, 2), e(11, 2), e(12, 3)}, 12},
		"overwritten":       {[]wal.Entry{e(9, 1), e(10, 2), e(11, 2), e(12, 2), e(10, 3), e(11, 3)}, 10},
		"cut short":         {[]wal.Entry{e(9, 1), e(10, 2), e(11, 2), e(12, 2), e(8, 3), e(9, 3)}, 10},
		"overwritten back":  {[]wal.Entry{e(10, 1), e(11, 1), e(9, 1), e(10, 2), e(11, 2)}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recovered{self: 1, machine: NewMachine(0), snapIndex: 10, snapTerm: 2, applied: 10, appliedTerm: 2}
			for _, x := range c.log {
				r.entry(0, x)
			}
			require.NoError(t, r.err)
			require.Equal(t, c.last, r.last())
		})
	}
}
