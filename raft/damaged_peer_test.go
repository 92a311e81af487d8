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

// TestLeaderKnowsWhoIsDamaged: a new member is taken for damaged until it has answered, as one that is whole, a heartbeat that
// was sent after it became one; and so is a member from each word that it is damaged on.
func TestLeaderKnowsWhoIsDamaged(t *testing.T) {
	leader := soleVoter(t, Config{})
	_, _, err := leader.ProposeConf(ConfChange{Changes: []Change{{AddLearner, 2}}})
	require.NoError(t, err)
	settle(t, leader)
	damaged := func() bool { return leader.Peers(nil)[1].Damaged }
	says := func(typ MessageType, round uint64, damaged bool) {
		t.Helper()
		index := uint64(0)
		if typ == MsgAppendResp {
			index = 1
		}
		require.NoError(t, leader.Step(&Message{Type: typ, From: 2, To: 1, Term: 1, Index: index, Round: round, Damaged: damaged}))
	}
	heartbeat := func() (round uint64) {
		t.Helper()
		for range 10 {
			leader.Tick()
			sent, _ := settle(t, leader)
			for i := range sent {
				if sent[i].Type == MsgHeartbeat {
					return sent[i].Round
				}
			}
		}
		t.Fatal("no heartbeat")
		return 0
	}
	require.True(t, damaged(), "nothing is known of it yet")
	says(MsgAppendResp, 0, false)
	says(MsgHeartbeatResp, 0, false)
	require.True(t, damaged(), "from the time when it was a member before")

	first := heartbeat()
	says(MsgAppendResp, 0, true)
	says(MsgAppendResp, 0, false)
	says(MsgHeartbeatResp, first, false)
	require.True(t, damaged(), "answered before it said that it is damaged, perhaps")

	second := heartbeat()
	require.Greater(t, second, first)
	says(MsgHeartbeatResp, second, true)
	require.True(t, damaged())
	says(MsgHeartbeatResp, second, false)
	require.True(t, damaged())

	third := heartbeat()
	says(MsgHeartbeatResp, third, false)
	require.False(t, damaged())
	says(MsgHeartbeatResp, first, false)
	require.False(t, damaged())
	says(MsgHeartbeatResp, first, true)
	require.True(t, damaged(), "rather once too often")
}

// TestSuspectDoesNotConfirmReads: the rounds that nobody waits for answer no read before its time.
func TestSuspectDoesNotConfirmReads(t *testing.T) {
	leader := soleVoter(t, Config{})
	_, _, err := leader.ProposeConf(ConfChange{Changes: []Change{{AddVoter, 2}}})
	require.NoError(t, err)
	settle(t, leader)
	require.NoError(t, leader.Step(&Message{Type: MsgAppendResp, From: 2, To: 1, Term: 1, Index: 2}))
	settle(t, leader)
	old := leader.reads.sent
	require.NotZero(t, old)
	round, ready, err := leader.ReadIndex()
	require.NoError(t, err)
	require.False(t, ready)
	require.Greater(t, round, old)
	require.NoError(t, leader.Step(&Message{Type: MsgHeartbeatResp, From: 2, To: 1, Term: 1, Damaged: true})) // while the round is open
	settle(t, leader)
	require.Equal(t, round, leader.reads.sent)
	require.NoError(t, leader.Step(&Message{Type: MsgHeartbeatResp, From: 2, To: 1, Term: 1, Round: old}))
	require.Equal(t, 1, leader.reads.pending.len())
	require.NoError(t, leader.Step(&Message{Type: MsgHeartbeatResp, From: 2, To: 1, Term: 1, Round: round}))
	require.Zero(t, leader.reads.pending.len())
	require.Equal(t, ReadState{Round: round, Index: leader.Commit()}, *leader.reads.out.at(0))
	require.False(t, leader.Peers(nil)[1].Damaged)
}
