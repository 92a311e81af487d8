package raft

import (
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill completes a test's configuration.
func fill(c Config) Config {
	if c.ID == 0 {
		c.ID = 1
	}
	if c.ElectionTicks == 0 {
		c.ElectionTicks = 10
	}
	if c.HeartbeatTicks == 0 {
		c.HeartbeatTicks = 1
	}
	if c.Rand == nil {
		c.Rand = func() uint64 { return 0 }
	}
	return c
}

func voters(ids ...uint64) Restored {
	return Restored{Snapshot: SnapshotMeta{Conf: Conf{Voters: ids}}}
}

// settle persists and applies until nothing is left to do, and returns all that was sent and committed.
func settle(t testing.TB, g *Group) (sent []Message, committed []Entry) {
	t.Helper()
	var rd Ready
	for g.HasReady() {
		g.Ready(&rd)
		for _, m := range rd.Messages {
			m.Entries = append([]Entry(nil), m.Entries...)
			sent = append(sent, m)
		}
		committed = append(committed, rd.Committed...)
		if rd.MustSync {
			g.Persisted(rd.Mark)
		}
		if rd.Snapshot != nil {
			g.Applied(rd.Snapshot.Index)
		}
		if n := len(rd.Committed); n > 0 {
			g.Applied(rd.Committed[n-1].Index)
		}
		require.NoError(t, g.Check())
	}
	return sent, committed
}

func soleVoter(t testing.TB, c Config) *Group {
	t.Helper()
	g, err := New(fill(c), voters(1))
	require.NoError(t, err)
	g.Campaign()
	settle(t, g)
	require.True(t, g.IsLeader())
	return g
}

func TestProposeLimits(t *testing.T) {
	g := soleVoter(t, Config{MaxEntryBytes: 100, MaxUncommittedBytes: 3*entryOverhead + 30})
	propose := func(n int) error {
		_, _, err := g.Propose(KindNormal, make([]byte, n))
		return err
	}
	require.ErrorIs(t, propose(101), ErrTooLarge)
	require.NoError(t, propose(100), "one entry fits, however small the limit")
	require.ErrorIs(t, propose(0), ErrUncommittedFull)
	settle(t, g)
	for range 3 {
		require.NoError(t, propose(10))
	}
	require.ErrorIs(t, propose(0), ErrUncommittedFull)
	settle(t, g)
	require.Zero(t, g.Status().UncommittedBytes)
	require.NoError(t, propose(0))
	_, _, err := g.Propose(KindConf, nil)
	require.Error(t, err)
}

func TestNotLeader(t *testing.T) {
	g, err := New(fill(Config{}), voters(1, 2))
	require.NoError(t, err)
	var nl *NotLeaderError
	_, _, err = g.Propose(KindNormal, nil)
	require.True(t, errors.As(err, &nl))
	require.Zero(t, nl.Leader)
	_, _, err = g.ReadIndex()
	require.True(t, errors.As(err, &nl))
	require.NoError(t, g.Step(&Message{Type: MsgHeartbeat, From: 2, To: 1, Term: 3}))
	_, _, err = g.Propose(KindNormal, nil)
	require.True(t, errors.As(err, &nl))
	require.EqualValues(t, 2, nl.Leader)
}

func TestNewRefusesContradictions(t *testing.T) {
	conf := Conf{Voters: []uint64{1}}
	e := func(i, term uint64) Entry { return Entry{Index: i, Term: term} }
	for name, st := range map[string]Restored{
		"commit beyond the end":      {HardState: HardState{2, 1, 3}, Entries: []Entry{e(1, 1), e(2, 2)}},
		"gap":                        {Entries: []Entry{e(1, 1), e(3, 1)}},
		"gap at the start":           {Entries: []Entry{e(2, 1)}},
		"terms fall":                 {Entries: []Entry{e(1, 2), e(2, 1)}},
		"applied before snapshot":    {Snapshot: SnapshotMeta{Index: 5, Term: 1}, Applied: 4, AppliedTerm: 1},
		"applied with another term":  {Snapshot: SnapshotMeta{Index: 5, Term: 1}, Applied: 5, AppliedTerm: 2},
		"membership out of order":    {Applied: 2, AppliedTerm: 1, Confs: []ConfRecord{{3, conf}}},
		"membership not understood":  {Entries: []Entry{{1, 1, KindConf, []byte{9}}}},
		"membership without a voter": {Snapshot: SnapshotMeta{Conf: Conf{Learners: []uint64{1}}}},
	} {
		if len(st.Snapshot.Conf.Learners) == 0 {
			st.Snapshot.Conf = conf
		}
		_, err := New(fill(Config{}), st)
		require.Error(t, err, name)
	}
	_, err := New(Config{}, voters(1))
	require.Error(t, err)
}

// A snapshot replaced a longer log; the WAL only dropped its front.
func TestNewDropsReplacedSuffix(t *testing.T) {
	st := voters(1, 2, 3)
	st.Snapshot.Index, st.Snapshot.Term = 5, 4
	st.HardState = HardState{Term: 4, Commit: 5}
	st.Entries = []Entry{{Index: 6, Term: 2}, {Index: 7, Term: 3}}
	g, err := New(fill(Config{}), st)
	require.NoError(t, err)
	require.EqualValues(t, 5, g.Status().Last)
	require.EqualValues(t, 4, g.Status().LastTerm)
}

// The membership at an index is that of the newest conf entry at or before it, whatever of the log is
// in a snapshot, applied, or in memory.
func TestConfAt(t *testing.T) {
	conf := func(ids ...uint64) Conf { return Conf{Voters: ids} }
	data := func(c Conf) []byte { return AppendConf(nil, &c) }
	st := Restored{
		HardState: HardState{Term: 1, Commit: 9},
		Snapshot:  SnapshotMeta{Index: 4, Term: 1, Conf: conf(1)},
		Applied:   7, AppliedTerm: 1,
		Confs:   []ConfRecord{{5, conf(1, 2)}, {7, conf(1, 2, 3)}},
		Entries: []Entry{{8, 1, KindNormal, nil}, {9, 1, KindConf, data(conf(1, 2))}, {10, 1, KindConf, data(conf(2))}},
	}
	g, err := New(fill(Config{RetainBytes: 1 << 10}), st)
	require.NoError(t, err)
	check := func(from uint64) {
		t.Helper()
		for i, want := range []string{4: "4 voters=(1)", 5: "5 voters=(1 2)", 6: "5 voters=(1 2)", 7: "7 voters=(1 2 3)", 8: "7 voters=(1 2 3)", 9: "9 voters=(1 2)", 10: "10 voters=(2)"} {
			if r := g.ConfAt(uint64(i)); uint64(i) >= from {
				require.Equal(t, want, fmt.Sprintf("%d %s", r.Index, r.Conf.String()), "at %d", i)
			}
		}
		require.NoError(t, g.Check())
	}
	check(4)
	settle(t, g)
	g.Compact(6, 1)
	check(6)
	g.Compact(6, 1)
	g.Compact(5, 1) // old news
	check(6)
	g.Compact(9, 1)
	check(9)
	s := g.Status()
	require.EqualValues(t, 10, s.ConfIndex)
	require.False(t, s.ConfCommitted)
}

// What the shell must never say stops the process, with words about what is wrong.
func TestBreachesPanic(t *testing.T) {
	for name, f := range map[string]func(*Group){
		"submissions":             func(g *Group) { g.Persisted(Mark{Seq: 99}) },
		"handed out":              func(g *Group) { g.Applied(99) },
		"not of this log":         func(g *Group) { g.Compact(99, 1) },
		"Compact(1, term 7) with": func(g *Group) { g.Compact(1, 7) },
	} {
		g := soleVoter(t, Config{})
		func() {
			defer func() { require.Contains(t, recover(), name) }()
			f(g)
		}()
	}
}

// The encoding of memberships and the numbers of kinds and messages are on disk and on the wire.
func TestFormatIsPinned(t *testing.T) {
	c := Conf{Voters: []uint64{1, 0x0203}, Outgoing: []uint64{1, 4}, Learners: []uint64{5}, LearnersNext: []uint64{4}, AutoLeave: true}
	require.NoError(t, c.Validate())
	require.Equal(t, "010102020101"+"0100000000000000"+"0302000000000000"+"0100000000000000"+"0400000000000000"+"0500000000000000"+"0400000000000000",
		hex.EncodeToString(AppendConf(nil, &c)))
	require.Equal(t, []EntryKind{0, 1, 2}, []EntryKind{KindNormal, KindNoop, KindConf})
	require.Equal(t, []MessageType{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []MessageType{MsgPreVote, MsgPreVoteResp, MsgVote, MsgVoteResp,
		MsgAppend, MsgAppendResp, MsgHeartbeat, MsgHeartbeatResp, MsgSnapshot, MsgTimeoutNow})
}

// TestBeat: a shell says at every third tick of its own that heartbeats are due. From then on they leave at those ticks,
// whenever this node became the leader; before, not later than they would have, and without the shell's word they go on.
func TestBeat(t *testing.T) {
	for first := range 3 { // the shell's count when this node has become the leader
		cfg := fill(Config{HeartbeatTicks: 3})
		g, err := New(cfg, voters(1, 2, 3))
		require.NoError(t, err)
		g.Beat()
		g.Tick()
		sent, _ := settle(t, g)
		require.Empty(t, sent, "a follower has no heartbeats")
		lead(t, g)
		settle(t, g)
		silent := 0
		for now := first + 1; now < 30; now++ {
			if now%3 == 0 && now < 20 {
				g.Beat()
			}
			g.Tick()
			sent, _ := settle(t, g)
			silent++
			switch {
			case len(sent) == 0:
				require.Less(t, silent, 3, "tick %d, began at %d", now, first)
				require.NotZero(t, now%3)
				continue
			case now > 3:
				require.Zero(t, now%3, "began at %d", first)
			}
			require.Equal(t, []MessageType{MsgHeartbeat, MsgHeartbeat}, types(sent))
			silent = 0
			for _, id := range []uint64{2, 3} {
				step(t, g, Message{Type: MsgHeartbeatResp, From: id, Term: g.term})
				step(t, g, Message{Type: MsgAppendResp, From: id, Term: g.term, Index: g.log.last()})
			}
			settle(t, g)
		}
	}
}

// TestActive: a member is active for ElectionTicks after its last word, whenever check-quorum asks; an answer that comes a tick late is no gap.
func TestActive(t *testing.T) {
	g := withLog(t, 3, 0)
	lead(t, g)
	settle(t, g)
	active := func(id uint64) bool {
		for _, p := range g.Peers(nil) {
			if p.ID == id {
				return p.Active
			}
		}
		return false
	}
	hear := func(from uint64) { step(t, g, Message{Type: MsgHeartbeatResp, From: from, Term: g.term}) }
	for range 3 * g.cfg.ElectionTicks {
		hear(2)
		g.Tick()
		settle(t, g)
		require.True(t, active(1))
		require.True(t, active(2))
		require.False(t, active(3), "never heard of")
	}
	hear(3)
	for range g.cfg.ElectionTicks {
		hear(2)
		g.Tick()
		settle(t, g)
		require.True(t, active(3))
	}
	hear(2)
	g.Tick()
	settle(t, g)
	require.False(t, active(3))
	for range 2*g.cfg.ElectionTicks + 1 {
		g.Tick()
		settle(t, g)
	}
	require.False(t, g.IsLeader(), "nobody was heard of since check-quorum asked last")
}

// TestHeartbeatsCarryAwaitedRounds: the round of a read, and that of a member that has to show that it is whole, go with every
// heartbeat until they are confirmed, and not after.
func TestHeartbeatsCarryAwaitedRounds(t *testing.T) {
	g := withLog(t, 3, 0)
	lead(t, g)
	settle(t, g)
	rounds := func() (list []uint64) {
		g.Tick()
		sent, _ := settle(t, g)
		for _, m := range sent {
			if m.Type == MsgHeartbeat {
				list = append(list, m.Round)
			}
		}
		return list
	}
	answer := func(m Message) {
		m.Type, m.Term = MsgHeartbeatResp, g.term
		step(t, g, m)
		settle(t, g)
	}
	step(t, g, Message{Type: MsgAppendResp, From: 2, Term: g.term, Index: g.log.last()})
	require.Equal(t, []uint64{0, 0}, rounds())
	round, _, err := g.ReadIndex()
	require.NoError(t, err)
	settle(t, g)
	require.Equal(t, []uint64{round, round}, rounds(), "the first may be lost")
	answer(Message{From: 3})
	require.Equal(t, []uint64{round, round}, rounds())
	answer(Message{From: 3, Round: round})
	require.Equal(t, []uint64{0, 0}, rounds(), "a quorum has confirmed it")

	answer(Message{From: 2, Damaged: true})
	require.Equal(t, []uint64{round + 1, round + 1}, rounds())
	answer(Message{From: 2})
	require.Equal(t, []uint64{round + 1, round + 1}, rounds(), "this may be from before")
	require.True(t, g.peer(2).damaged)
	answer(Message{From: 2, Round: round + 1})
	require.Equal(t, []uint64{0, 0}, rounds())
	require.False(t, g.peer(2).damaged)
}
