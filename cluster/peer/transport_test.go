package peer

import (
	"bytes"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

func TestMessagesArriveOnTheirLanes(t *testing.T) {
	a, b := pair(t, nil)
	sent := sampleMessages(1, 2)
	a.tr.Send(sent)
	eventually(t, "all messages", func() bool { return len(b.messages()) == len(sent) })
	require.ElementsMatch(t, sent, b.messages())
	var s Stats
	a.tr.Stats(&s)
	require.EqualValues(t, 2, s.Data.MessagesOut)
	require.EqualValues(t, len(sent)-2, s.Control.MessagesOut)
	require.Zero(t, s.Data.Dropped+s.Control.Dropped+s.Nowhere)

	a.tr.Send([]raft.Message{{Type: raft.MsgHeartbeat, To: 9, Term: 1}})
	a.tr.Stats(&s)
	require.EqualValues(t, 1, s.Nowhere)
}

func TestCall(t *testing.T) {
	a, b := pair(t, nil)
	for _, size := range []int{0, 1, 300, 70 << 10, 3 << 20} {
		req := bytes.Repeat([]byte("x"), size)
		got, err := a.tr.Call(2, 7, req, []byte("kept:"), time.Minute)
		require.NoError(t, err)
		require.Equal(t, append([]byte("kept:\x01\x07"), req...), got)
	}
	got, err := b.tr.Call(1, 8, []byte("back"), nil, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "\x02\x08back", string(got))
	_, err = a.tr.Call(3, 7, nil, nil, time.Second)
	require.ErrorIs(t, err, ErrNotSent)
}

func TestAsk(t *testing.T) {
	var from Hello
	a := newRig(t, 1, nil)
	b := newRig(t, 2, func(_ *rig, c *Config) {
		c.Exchange = func(h Hello, req []byte) []byte { from = h; return append([]byte("told: "), req...) }
	})
	h, got, err := ask(a, b.peer.Addr)
	require.NoError(t, err)
	require.Equal(t, "told: who are you", string(got))
	require.Equal(t, Hello{Name: "n2", Incarnation: "inc-n2", Address: b.peer.Addr}, h)
	require.Equal(t, Hello{Name: "n1", Incarnation: "inc-n1", Address: a.peer.Addr}, from)

	h, _, err = ask(a, a.peer.Addr)
	require.ErrorIs(t, err, ErrSelf)
	require.Equal(t, "n1", h.Name)
}

func sampleMessages(from, to uint64) []raft.Message {
	return []raft.Message{
		{Type: raft.MsgPreVote, From: from, To: to, Group: 3, Term: 8, Index: 100, LogTerm: 7},
		{Type: raft.MsgPreVoteResp, From: from, To: to, Group: 3, Term: 8, Reject: true},
		{Type: raft.MsgVote, From: from, To: to, Group: 256, Term: 8, Index: 100, LogTerm: 7, Force: true},
		{Type: raft.MsgVoteResp, From: from, To: to, Group: 3, Term: 8},
		{Type: raft.MsgAppend, From: from, To: to, Group: 200, Term: 8, Index: 100, LogTerm: 7, Commit: 99, Entries: []raft.Entry{
			{Index: 101, Term: 7, Data: []byte("of an older term")},
			{Index: 102, Term: 8, Kind: raft.KindNoop, Data: []byte{}},
			{Index: 103, Term: 8, Data: bytes.Repeat([]byte("d"), 300)},
		}},
		{Type: raft.MsgAppendResp, From: from, To: to, Group: 200, Term: 8, Index: 103, LogTerm: 2, Hint: 55, Commit: 60, Reject: true, Damaged: true},
		{Type: raft.MsgHeartbeat, From: from, To: to, Group: 0, Term: 8, Commit: 99, Round: 1 << 40},
		{Type: raft.MsgHeartbeatResp, From: from, To: to, Group: 0, Term: 8, Round: 1 << 40},
		{Type: raft.MsgTimeoutNow, From: from, To: to, Group: 9, Term: 8},
	}
}
