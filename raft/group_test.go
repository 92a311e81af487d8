package raft

import (
	"errors"
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
