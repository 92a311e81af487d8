package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLate: what a follower may apply late stays in the log until there is more of it, or it is asked for; a leader's never does.
func TestLate(t *testing.T) {
	g, err := New(fill(Config{}), voters(1, 2))
	require.NoError(t, err)
	g.Late(2)
	index := uint64(0)
	takes := func(commit uint64) (committed []Entry) {
		index++
		require.NoError(t, g.Step(&Message{
			Type: MsgAppend, From: 2, To: 1, Term: 1, Index: index - 1, LogTerm: min(index-1, 1), Commit: commit,
			Entries: []Entry{{Index: index, Term: 1}},
		}))
		_, committed = settle(t, g)
		return committed
	}
	require.Empty(t, takes(0))
	require.False(t, g.Behind())
	require.Empty(t, takes(1))
	require.Empty(t, takes(2))
	require.True(t, g.Behind())
	require.False(t, g.HasReady(), "nothing to do until there is more")
	require.Len(t, takes(3), 3)
	require.False(t, g.Behind())
	require.Empty(t, takes(5))
	g.Late(0)
	require.True(t, g.HasReady())
	_, committed := settle(t, g)
	require.Len(t, committed, 2)

	lead := soleVoter(t, Config{})
	lead.Late(100)
	_, _, err = lead.Propose(KindNormal, nil)
	require.NoError(t, err)
	_, committed = settle(t, lead)
	require.Len(t, committed, 1)
}
