package peer

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// oddMessages are those that raft never says, but that must not come out as something else.
func oddMessages(from, to uint64) []raft.Message {
	return []raft.Message{
		{Type: 15, From: from, To: to, Group: math.MaxUint32, Term: math.MaxUint64, Index: math.MaxUint64, LogTerm: math.MaxUint64,
			Commit: math.MaxUint64, Hint: math.MaxUint64, Round: math.MaxUint64, Reject: true, Force: true, Damaged: true,
			Entries: []raft.Entry{{Index: 5, Term: 1, Kind: 63, Data: []byte{1}}, {Index: 6, Term: 2, Data: []byte{}}, {Index: 4, Term: 9, Data: []byte{}}}},
		{Type: raft.MsgSnapshot, From: from, To: to, Group: 4, Term: 9, Commit: 3, Snapshot: &raft.SnapshotMeta{Index: 1 << 40, Term: 8, Conf: raft.Conf{
			Voters: []uint64{1, 2, 3}, Outgoing: []uint64{1, 2, 4}, Learners: []uint64{7}, LearnersNext: []uint64{4}, AutoLeave: true}}},
		{Type: raft.MsgSnapshot, From: from, To: to, Snapshot: &raft.SnapshotMeta{}},
		{From: from, To: to},
	}
}

func TestCodecRoundTrip(t *testing.T) {
	want := append(sampleMessages(3, 4), oddMessages(3, 4)...)
	b := AppendMessages([]byte("before")[:6:6], want)
	require.Equal(t, "before", string(b[:6]))
	var reuse []raft.Message
	for range 3 {
		got, err := DecodeMessages(b[6:], 3, 4, reuse[:0])
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], stripped(got[i]), "message %d", i)
		}
		reuse = got
	}
}

// stripped makes empty slices nil, as in the samples.
func stripped(m raft.Message) raft.Message {
	if len(m.Entries) == 0 {
		m.Entries = nil
	}
	return m
}

func TestCodecGolden(t *testing.T) {
	var b strings.Builder
	for _, m := range append(sampleMessages(3, 4), oddMessages(3, 4)...) {
		dump(&b, fmt.Sprintf("%v group %d term %d", m.Type, m.Group, m.Term), AppendMessages(nil, []raft.Message{m}))
	}
	golden(t, "messages_v1.txt", []byte(b.String()))
}

// TestCodecIsCompact holds the sizes that the comments promise, for a group that has lived for a while.
func TestCodecIsCompact(t *testing.T) {
	entry := raft.Entry{Index: 3_000_001, Term: 120, Data: make([]byte, 300)}
	one := raft.Message{Type: raft.MsgAppend, Group: 200, Term: 120, Index: 3_000_000, LogTerm: 120, Commit: 2_999_990, Entries: []raft.Entry{entry}}
	frame := appendFrame(nil, kindMessages, AppendMessages(nil, []raft.Message{one}))
	require.Less(t, len(frame)-300, 40)
	t.Log("overhead of an append of one entry, with its frame:", len(frame)-300)
	var all []raft.Message
	for g := range uint32(257) {
		all = append(all, raft.Message{Type: raft.MsgHeartbeat, Group: g, Term: 120, Commit: 3_000_000, Round: 700})
	}
	require.Less(t, len(AppendMessages(nil, all)), 257*12)
}

// TestDecodeRefuses: every strict prefix of a message, and bits that mean nothing yet.
func TestDecodeRefuses(t *testing.T) {
	for _, m := range append(sampleMessages(3, 4), oddMessages(3, 4)...) {
		b := AppendMessages(nil, []raft.Message{m})
		for n := 1; n < len(b); n++ {
			_, err := DecodeMessages(b[:n:n], 3, 4, nil)
			require.Error(t, err, "%v cut to %d of %d", m.Type, n, len(b))
		}
		b[0] |= 0x80
		_, err := DecodeMessages(b, 3, 4, nil)
		require.Error(t, err)
	}
	require.Panics(t, func() { AppendMessages(nil, []raft.Message{{Type: 16}}) })
	require.Panics(t, func() { AppendMessages(nil, []raft.Message{{Entries: []raft.Entry{{Kind: 64}}}}) })
}

// FuzzDecode: never a panic, never more memory than the input accounts for, and what decodes comes out the same again.
func FuzzDecode(f *testing.F) {
	for _, m := range append(sampleMessages(3, 4), oddMessages(3, 4)...) {
		f.Add(AppendMessages(nil, []raft.Message{m}))
	}
	f.Add([]byte{5, hasEntries, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		msgs, err := DecodeMessages(b, 3, 4, nil)
		entries := 0
		for _, m := range msgs {
			entries += cap(m.Entries)
		}
		require.LessOrEqual(t, entries, 2*len(b)+16)
		if err != nil {
			return
		}
		again := AppendMessages(nil, msgs)
		require.LessOrEqual(t, len(again), len(b), "the encoder's form is the shortest")
		twice, err := DecodeMessages(again, 3, 4, nil)
		require.NoError(t, err)
		require.Equal(t, len(msgs), len(twice))
		require.True(t, bytes.Equal(again, AppendMessages(nil, twice)))
	})
}
