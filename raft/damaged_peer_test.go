package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A member that neither votes nor campaigns says so with every answer until it has its log again, so that nobody makes a
// voter of it before. (Found by jepsen/sim: the other one of two then never led again.)

func TestDamagedSaysSo(t *testing.T) {
	learner, err := New(fill(Config{ID: 2}), Restored{HardState: HardState{Term: 1}, Damaged: true, DamagedTo: 3})
	require.NoError(t, err)
	answer := func(prev uint64, n int) Message {
		m := Message{Type: MsgAppend, From: 1, To: 2, Term: 1, Index: prev, LogTerm: min(prev, 1)}
		for i := range n {
			m.Entries = append(m.Entries, Entry{Index: prev + 1 + uint64(i), Term: 1})
		}
		require.NoError(t, learner.Step(&m))
		sent, _ := settle(t, learner)
		require.Len(t, sent, 1)
		return sent[0]
	}
	require.Equal(t, Message{Type: MsgAppendResp, From: 2, To: 1, Term: 1, Index: 2, Damaged: true}, answer(0, 2))
	require.Equal(t, Message{Type: MsgAppendResp, From: 2, To: 1, Term: 1, Index: 3}, answer(2, 1), "it has just healed")
}

func TestLeaderKnowsWhoIsDamaged(t *testing.T) {
	leader := soleVoter(t, Config{})
	_, _, err := leader.ProposeConf(ConfChange{Changes: []Change{{AddLearner, 2}}})
	require.NoError(t, err)
	settle(t, leader)
	for _, damaged := range []bool{false, true, false, true} {
		require.NoError(t, leader.Step(&Message{Type: MsgAppendResp, From: 2, To: 1, Term: 1, Index: 1, Damaged: damaged}))
		require.Equal(t, damaged, leader.Peers(nil)[1].Damaged)
		require.NoError(t, leader.Step(&Message{Type: MsgHeartbeatResp, From: 2, To: 1, Term: 1, Damaged: !damaged}))
		require.Equal(t, !damaged, leader.Peers(nil)[1].Damaged)
	}
}
