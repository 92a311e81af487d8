package shard

import (
	"bytes"
	"testing"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// TestFirstMessageAfterLostCut: power fails after a snapshot from the leader has its name and before the log knows of it,
// and the leader's next entry is there before the node's first pass. The log must hear of the snapshot first: it would
// otherwise be given an entry behind a gap. Found by jepsen/sim, seed 34.
func TestFirstMessageAfterLostCut(t *testing.T) {
	l := newLagging(t, 5, nil)
	require.NoError(t, l.nodes[3].ReceiveSnapshot(l.m, bytes.NewReader(l.file)))
	l.keep = 0
	l.crash(3) // the log's writer has not had its turn

	l.start(3)
	s := l.m.Snapshot
	l.nodes[3].Deliver(l.m.From, []raft.Message{{
		Type: raft.MsgAppend, Group: l.group, From: l.m.From, To: 3, Term: l.m.Term, Index: s.Index, LogTerm: s.Term,
		Entries: []raft.Entry{{Index: s.Index + 1, Term: l.m.Term, Kind: raft.KindNoop}},
	}})
	for l.nodes[3].StepLoops() || l.nodes[3].StepWAL() {
		continue
	}
	l.crash(3)
	l.start(3)
	require.Equal(t, s.Index+1, l.nodes[3].groups[l.group].raft.Status().Last)
}
