package raft

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test per rule of the Raft paper (sections 5.1 to 5.4) and of Ongaro's thesis, quoting it. Whole
// scenarios of the same rules are in testdata.

// entries makes a log from terms: entry i+1 has term terms[i].
func entries(terms ...uint64) (list []Entry) {
	for i, t := range terms {
		list = append(list, Entry{Index: uint64(i + 1), Term: t, Data: fmt.Appendf(nil, "%d", i+1)})
	}
	return list
}

// withLog makes node 1 of n voters with a log, in a term.
func withLog(t testing.TB, n int, term uint64, terms ...uint64) *Group {
	t.Helper()
	st := Restored{HardState: HardState{Term: term}, Entries: entries(terms...)}
	for i := range n {
		st.Snapshot.Conf.Voters = append(st.Snapshot.Conf.Voters, uint64(i+1))
	}
	g, err := New(fill(Config{}), st)
	require.NoError(t, err)
	return g
}

// lead makes g leader of the next term by the votes of all others.
func lead(t testing.TB, g *Group) {
	t.Helper()
	g.Campaign()
	settle(t, g)
	voters := g.Conf().Voters
	for _, id := range voters {
		if id != 1 && g.role == PreCandidate {
			step(t, g, Message{Type: MsgPreVoteResp, From: id, Term: g.term + 1})
		}
	}
	settle(t, g)
	for _, id := range voters {
		if id != 1 && g.role == Candidate {
			step(t, g, Message{Type: MsgVoteResp, From: id, Term: g.term})
		}
	}
	require.True(t, g.IsLeader())
}

func step(t testing.TB, g *Group, m Message) {
	t.Helper()
	m.To, m.Group = g.cfg.ID, g.cfg.Group
	require.NoError(t, g.Step(&m))
	require.NoError(t, g.Check())
}

func types(list []Message) (out []MessageType) {
	for _, m := range list {
		out = append(out, m.Type)
	}
	return out
}

// "If one server's current term is smaller than the other's, then it updates its current term to the
// larger value. If a candidate or leader discovers that its term is out of date, it immediately
// reverts to follower state." (paper 5.1)
func TestPaperTermIsUpdatedFromMessages(t *testing.T) {
	for name, prepare := range map[string]func(*Group){
		"follower":      func(*Group) {},
		"pre-candidate": func(g *Group) { g.Campaign() },
		"candidate":     func(g *Group) { g.campaign(true) },
		"leader":        func(g *Group) { lead(t, g) },
	} {
		g := withLog(t, 3, 1)
		prepare(g)
		require.Equal(t, name, g.role.String())
		step(t, g, Message{Type: MsgAppend, From: 2, Term: 9})
		require.Equal(t, Follower, g.role, name)
		require.EqualValues(t, 9, g.Term(), name)
		require.EqualValues(t, 2, g.Leader(), name)
	}
}

// "If a server receives a request with a stale term number, it rejects the request." (paper 5.1)
func TestPaperStaleTermIsRejected(t *testing.T) {
	for _, typ := range []MessageType{MsgAppend, MsgHeartbeat, MsgVote, MsgPreVote} {
		g := withLog(t, 3, 5, 1)
		step(t, g, Message{Type: typ, From: 2, Term: 4})
		sent, _ := settle(t, g)
		require.Len(t, sent, 1, typ)
		require.True(t, sent[0].Reject, typ)
		require.EqualValues(t, 5, sent[0].Term, typ)
		require.Zero(t, g.Leader(), typ)
	}
}

// "When servers start up, they begin as followers." (paper 5.2)
func TestPaperStartsAsFollower(t *testing.T) {
	require.Equal(t, Follower, withLog(t, 3, 3, 1, 2).role)
}

// "Leaders send periodic heartbeats (AppendEntries RPCs that carry no log entries) to all followers in
// order to maintain their authority." (paper 5.2)
func TestPaperLeaderSendsHeartbeats(t *testing.T) {
	g := withLog(t, 3, 0)
	lead(t, g)
	settle(t, g)
	for range g.cfg.HeartbeatTicks {
		g.Tick()
	}
	sent, _ := settle(t, g)
	require.Equal(t, []MessageType{MsgHeartbeat, MsgHeartbeat}, types(sent))
	require.EqualValues(t, 2, sent[0].To)
	require.EqualValues(t, 3, sent[1].To)
}

// "If a follower receives no communication over a period of time called the election timeout, then it
// assumes there is no viable leader and begins an election." (paper 5.2) "Raft uses randomized
// election timeouts"; ours are in [ElectionTicks, 2*ElectionTicks).
func TestPaperElectionTimeoutIsRandomized(t *testing.T) {
	seen := make([]bool, 30)
	for r := range uint64(1000) {
		g, err := New(fill(Config{Rand: func() uint64 { return r }}), voters(1, 2, 3))
		require.NoError(t, err)
		ticks := 0
		for ; g.role == Follower; ticks++ {
			g.Tick()
		}
		seen[ticks] = true
	}
	for ticks, yes := range seen {
		require.Equal(t, ticks >= 10 && ticks < 20, yes, "%d ticks", ticks)
	}
}

// "To begin an election, a follower increments its current term and transitions to candidate state. It
// then votes for itself and issues RequestVote RPCs in parallel to each of the other servers in the
// cluster." (paper 5.2), behind a pre-vote that does none of it (thesis 9.6).
func TestPaperElection(t *testing.T) {
	g := withLog(t, 3, 4, 1, 3)
	g.Campaign()
	sent, _ := settle(t, g)
	require.Equal(t, []MessageType{MsgPreVote, MsgPreVote}, types(sent))
	require.EqualValues(t, 4, g.Term())
	step(t, g, Message{Type: MsgPreVoteResp, From: 3, Term: 5})
	require.Equal(t, Candidate, g.role)
	require.Equal(t, HardState{5, 1, 0}, HardState{g.term, g.vote, g.log.commit})
	sent, _ = settle(t, g)
	require.Equal(t, []MessageType{MsgVote, MsgVote}, types(sent))
	for _, m := range sent {
		require.EqualValues(t, 5, m.Term)
		require.EqualValues(t, 2, m.Index)
		require.EqualValues(t, 3, m.LogTerm)
	}
}

// "A candidate wins an election if it receives votes from a majority of the servers in the full
// cluster for the same term." (paper 5.2)
func TestPaperElectionNeedsMajority(t *testing.T) {
	for _, c := range []struct {
		size, yes, no int
		want          Role
	}{
		{1, 0, 0, Leader},
		{3, 2, 0, Leader}, {3, 1, 0, Leader}, {3, 0, 0, Candidate}, {3, 1, 1, Leader}, {3, 0, 1, Candidate}, {3, 0, 2, Follower},
		{5, 4, 0, Leader}, {5, 2, 0, Leader}, {5, 2, 2, Leader}, {5, 1, 0, Candidate}, {5, 1, 2, Candidate}, {5, 1, 3, Follower},
		{4, 2, 0, Leader}, {4, 1, 0, Candidate}, {4, 1, 2, Follower},
	} {
		g := withLog(t, c.size, 0)
		g.campaign(true)
		settle(t, g)
		for i := range c.yes + c.no {
			step(t, g, Message{Type: MsgVoteResp, From: uint64(i + 2), Term: 1, Reject: i >= c.yes})
		}
		require.Equal(t, c.want, g.role, "%+v", c)
	}
}

// "Each server will vote for at most one candidate in a given term, on a first-come-first-served
// basis." (paper 5.2), also after a restart.
func TestPaperOneVotePerTerm(t *testing.T) {
	g := withLog(t, 3, 0)
	step(t, g, Message{Type: MsgVote, From: 2, Term: 1})
	sent, _ := settle(t, g)
	require.False(t, sent[0].Reject)
	step(t, g, Message{Type: MsgVote, From: 3, Term: 1})
	sent, _ = settle(t, g)
	require.True(t, sent[0].Reject)

	st := voters(1, 2, 3)
	st.HardState = HardState{g.term, g.vote, 0}
	g, err := New(fill(Config{}), st)
	require.NoError(t, err)
	step(t, g, Message{Type: MsgVote, From: 3, Term: 1})
	step(t, g, Message{Type: MsgVote, From: 2, Term: 1})
	sent, _ = settle(t, g)
	require.True(t, sent[0].Reject)
	require.False(t, sent[1].Reject)
}

// "Before responding to RPCs, a server must update its persistent state: currentTerm, votedFor, log[]."
// (paper figure 2)
func TestPaperVoteIsDurableBeforeTheAnswer(t *testing.T) {
	for _, term := range []uint64{5, 6} {
		g := withLog(t, 3, 5, 1)
		step(t, g, Message{Type: MsgVote, From: 2, Term: term, Index: 1, LogTerm: 1})
		var rd Ready
		g.Ready(&rd)
		require.True(t, rd.StateChanged && rd.MustSync)
		require.Equal(t, HardState{Term: term, Vote: 2}, rd.HardState)
		require.Empty(t, rd.Messages)
		mark := rd.Mark
		g.Ready(&rd)
		require.Empty(t, rd.Messages)
		g.Persisted(mark)
		g.Ready(&rd)
		require.Equal(t, []MessageType{MsgVoteResp}, types(rd.Messages))
	}
}

// "While waiting for votes, a candidate may receive an AppendEntries RPC from another server claiming
// to be leader. If the leader's term is at least as large as the candidate's current term, then the
// candidate recognizes the leader as legitimate and returns to follower state." (paper 5.2)
func TestPaperCandidateFallsBack(t *testing.T) {
	for _, term := range []uint64{1, 2} {
		g := withLog(t, 3, 0)
		g.campaign(true)
		step(t, g, Message{Type: MsgAppend, From: 2, Term: term})
		require.Equal(t, Follower, g.role)
		require.EqualValues(t, term, g.Term())
		require.EqualValues(t, 2, g.Leader())
	}
}

// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
// parallel to each of the other servers to replicate the entry. ... the leader includes the index and
// term of the entry in its log that immediately precedes the new entries." (paper 5.3)
func TestPaperLeaderReplicates(t *testing.T) {
	g := withLog(t, 3, 0)
	lead(t, g)
	settle(t, g)
	for _, id := range []uint64{2, 3} {
		step(t, g, Message{Type: MsgAppendResp, From: id, Term: 1, Index: 1})
	}
	settle(t, g)
	_, _, err := g.Propose(KindNormal, []byte("x"))
	require.NoError(t, err)
	var rd Ready
	g.Ready(&rd)
	require.Equal(t, []MessageType{MsgAppend, MsgAppend}, types(rd.Messages), "in parallel with the leader's own disk")
	want := []Entry{{Index: 2, Term: 1, Data: []byte("x")}}
	require.Equal(t, want, rd.Entries)
	for _, m := range rd.Messages {
		require.EqualValues(t, 1, m.Index)
		require.EqualValues(t, 1, m.LogTerm)
		require.Equal(t, want, m.Entries)
	}
}

// "A log entry is committed once the leader that created the entry has replicated it on a majority of
// the servers." (paper 5.3), the leader's own copy counting once it is on its disk (thesis 10.2.1).
func TestPaperCommitNeedsMajority(t *testing.T) {
	for _, c := range []struct {
		size, acks int
		own        bool
		want       bool
	}{
		{1, 0, false, false}, {1, 0, true, true},
		{3, 0, true, false}, {3, 1, true, true}, {3, 1, false, false}, {3, 2, false, true},
		{5, 1, true, false}, {5, 2, true, true}, {5, 2, false, false}, {5, 3, false, true},
	} {
		g := withLog(t, c.size, 0)
		g.campaign(true)
		settleUntil(t, g, func() bool { return g.role == Leader || c.size > 1 && g.voteSeq == 0 })
		for i := 2; i <= c.size && g.role != Leader; i++ {
			step(t, g, Message{Type: MsgVoteResp, From: uint64(i), Term: 1})
		}
		require.True(t, g.IsLeader())
		var rd Ready
		g.Ready(&rd) // hands out the no-op
		for i := range c.acks {
			step(t, g, Message{Type: MsgAppendResp, From: uint64(i + 2), Term: 1, Index: 1})
		}
		if c.own {
			g.Persisted(rd.Mark)
		}
		require.Equal(t, c.want, g.Commit() == 1, "%+v", c)
	}
}

// settleUntil is settle that stops before done things are handed out.
func settleUntil(t testing.TB, g *Group, done func() bool) {
	t.Helper()
	var rd Ready
	for g.HasReady() && !done() {
		g.Ready(&rd)
		if rd.MustSync {
			g.Persisted(rd.Mark)
		}
	}
	require.True(t, done())
}

// "This also commits all preceding entries in the leader's log, including entries created by previous
// leaders." (paper 5.3)
func TestPaperCommitsPrecedingEntries(t *testing.T) {
	for _, terms := range [][]uint64{{}, {2}, {1, 2}, {1}} {
		g := withLog(t, 3, 2, terms...)
		lead(t, g)
		settle(t, g)
		step(t, g, Message{Type: MsgAppendResp, From: 2, Term: 3, Index: g.log.last()})
		_, committed := settle(t, g)
		require.Len(t, committed, len(terms)+1)
		for i, e := range committed {
			require.EqualValues(t, i+1, e.Index)
		}
	}
}

// "Once a follower learns that a log entry is committed, it applies the entry to its local state
// machine (in log order)." (paper 5.3)
func TestPaperFollowerCommits(t *testing.T) {
	for _, commit := range []uint64{1, 2, 3, 9} {
		g := withLog(t, 3, 0)
		step(t, g, Message{Type: MsgAppend, From: 2, Term: 1, Commit: commit, Entries: entries(1, 1, 1)})
		_, committed := settle(t, g)
		require.Len(t, committed, int(min(commit, 3)), "no further than what the append vouches for")
	}
	// "commitIndex = min(leaderCommit, index of last new entry)" (paper figure 2): what follows here may
	// be somebody else's.
	g := withLog(t, 3, 2, 1, 2, 2)
	step(t, g, Message{Type: MsgAppend, From: 2, Term: 3, Index: 1, LogTerm: 1, Commit: 3})
	require.EqualValues(t, 1, g.Commit())
}

// "If the follower does not find an entry in its log with the same index and term, then it refuses the
// new entries." (paper 5.3)
func TestPaperFollowerChecksPredecessor(t *testing.T) {
	for _, c := range []struct {
		index, term uint64
		reject      bool
	}{
		{0, 0, false}, {1, 1, false}, {2, 2, false}, {2, 1, true}, {1, 2, true}, {3, 2, true}, {3, 3, true},
	} {
		g := withLog(t, 3, 2, 1, 2)
		step(t, g, Message{Type: MsgAppend, From: 2, Term: 3, Index: c.index, LogTerm: c.term})
		sent, _ := settle(t, g)
		require.Equal(t, c.reject, sent[0].Reject, "%+v", c)
		if !c.reject {
			require.Equal(t, c.index, sent[0].Index, "acknowledges what was compared, not all it has")
		}
	}
}

// "If an existing entry conflicts with a new one (same index but different terms), delete the existing
// entry and all that follow it. Append any new entries not already in the log." (paper figure 2)
func TestPaperFollowerRepairsItsLog(t *testing.T) {
	for _, c := range []struct {
		prev    uint64
		terms   []uint64 // of the entries after prev
		want    []uint64 // terms of the log then
		persist int      // entries to persist anew
	}{
		{2, []uint64{3}, []uint64{1, 2, 3}, 1},
		{1, []uint64{3, 4}, []uint64{1, 3, 4}, 2},
		{0, []uint64{1}, []uint64{1, 2}, 0}, // old news: what follows stays
		{0, []uint64{3}, []uint64{3}, 1},
		{1, []uint64{2, 4}, []uint64{1, 2, 4}, 1},
		{2, nil, []uint64{1, 2}, 0},
	} {
		g := withLog(t, 3, 2, 1, 2)
		m := Message{Type: MsgAppend, From: 2, Term: 4, Index: c.prev}
		m.LogTerm, _ = g.log.term(c.prev)
		for i, term := range c.terms {
			m.Entries = append(m.Entries, Entry{Index: c.prev + 1 + uint64(i), Term: term})
		}
		step(t, g, m)
		var got []uint64
		for _, e := range g.log.entries.all() {
			got = append(got, e.Term)
		}
		require.Equal(t, c.want, got, "%+v", c)
		var rd Ready
		g.Ready(&rd)
		require.Len(t, rd.Entries, c.persist, "%+v", c)
	}
}

// "The voter denies its vote if its own log is more up-to-date than that of the candidate. ... If the
// logs have last entries with different terms, then the log with the later term is more up-to-date. If
// the logs end with the same term, then whichever log is longer is more up-to-date." (paper 5.4.1)
func TestPaperElectionRestriction(t *testing.T) {
	for _, c := range []struct {
		log         []uint64
		index, term uint64
		grant       bool
	}{
		{[]uint64{1}, 1, 1, true}, {[]uint64{1}, 2, 1, true}, {[]uint64{1, 1}, 1, 1, false},
		{[]uint64{1}, 1, 2, true}, {[]uint64{1}, 2, 2, true}, {[]uint64{1, 1}, 1, 2, true},
		{[]uint64{2}, 1, 1, false}, {[]uint64{2}, 2, 1, false}, {[]uint64{1, 2}, 1, 1, false},
		{nil, 0, 0, true},
	} {
		for _, typ := range []MessageType{MsgPreVote, MsgVote} {
			g := withLog(t, 3, 2, c.log...)
			step(t, g, Message{Type: typ, From: 2, Term: 3, Index: c.index, LogTerm: c.term})
			sent, _ := settle(t, g)
			require.Equal(t, c.grant, !sent[0].Reject, "%s %+v", typ, c)
		}
	}
}

// "Raft never commits log entries from previous terms by counting replicas. Only log entries from the
// leader's current term are committed by counting replicas." (paper 5.4.2, figure 8)
func TestPaperOnlyOwnTermIsCommittedByCounting(t *testing.T) {
	for index, want := range map[uint64]uint64{1: 0, 2: 0, 3: 3} {
		g := withLog(t, 3, 2, 1, 2)
		lead(t, g)
		settle(t, g)
		step(t, g, Message{Type: MsgAppendResp, From: 2, Term: 3, Index: index})
		require.Equal(t, want, g.Commit(), "acknowledged %d", index)
	}
}

// "The leader must have the latest information on which entries are committed ... Raft handles this by
// having each leader commit a blank no-op entry into the log at the start of its term." (paper 8)
func TestPaperNewLeaderAppendsNoop(t *testing.T) {
	g := withLog(t, 3, 1, 1)
	lead(t, g)
	require.Equal(t, Entry{Index: 2, Term: 2, Kind: KindNoop}, *g.log.entry(2))
}

// "The prior leader sends a TimeoutNow request to the target server. This request has the same effect
// as the target server's election timer firing" (thesis 3.10); without a pre-vote, and with requests
// that a fresh leader does not stop (thesis 4.2.3).
func TestThesisTimeoutNow(t *testing.T) {
	g := withLog(t, 3, 1, 1)
	step(t, g, Message{Type: MsgHeartbeat, From: 2, Term: 1})
	settle(t, g)
	step(t, g, Message{Type: MsgTimeoutNow, From: 2, Term: 1})
	sent, _ := settle(t, g)
	require.Equal(t, []MessageType{MsgVote, MsgVote}, types(sent))
	require.True(t, sent[0].Force)

	// The others take part although they hear their leader.
	other := withLog(t, 3, 1, 1)
	step(t, other, Message{Type: MsgHeartbeat, From: 2, Term: 1})
	step(t, other, Message{Type: MsgVote, From: 3, Term: 2, Index: 1, LogTerm: 1})
	require.EqualValues(t, 1, other.Term(), "not without being asked by the leader")
	step(t, other, Message{Type: MsgVote, From: 3, Term: 2, Index: 1, LogTerm: 1, Force: true})
	require.EqualValues(t, 2, other.Term())
	require.EqualValues(t, 3, other.vote)
}

// "A server ... uses the latest configuration in its log, regardless of whether the entry is
// committed." (thesis 4.1)
func TestThesisNewestConfigurationIsInForce(t *testing.T) {
	g := withLog(t, 3, 0)
	conf := Conf{Voters: []uint64{1, 2}}
	step(t, g, Message{Type: MsgAppend, From: 2, Term: 1, Entries: []Entry{{1, 1, KindConf, AppendConf(nil, &conf)}}})
	c := g.Conf()
	require.True(t, c.Equal(&conf))
	require.Zero(t, g.Commit())
	// "... fall back to the previous configuration in its log" when the entry is removed.
	step(t, g, Message{Type: MsgAppend, From: 3, Term: 2, Entries: []Entry{{1, 2, KindNoop, nil}}})
	c = g.Conf()
	require.Equal(t, []uint64{1, 2, 3}, c.Voters)
}

// "A leader that is removed from the configuration steps down once the Cnew entry is committed."
// (thesis 4.2.2) "... it replicates log entries but does not count itself in majorities."
func TestThesisRemovedLeaderStepsDown(t *testing.T) {
	g := withLog(t, 3, 0)
	lead(t, g)
	settle(t, g)
	step(t, g, Message{Type: MsgAppendResp, From: 2, Term: 1, Index: 1})
	_, _, err := g.ProposeConf(ConfChange{Changes: []Change{{RemoveNode, 1}}})
	require.NoError(t, err)
	settle(t, g)
	step(t, g, Message{Type: MsgAppendResp, From: 2, Term: 1, Index: 2})
	require.True(t, g.IsLeader(), "1 of {2, 3}")
	step(t, g, Message{Type: MsgAppendResp, From: 3, Term: 1, Index: 2})
	require.False(t, g.IsLeader())
	require.EqualValues(t, 2, g.Commit())
	for range 100 {
		g.Tick()
	}
	require.Equal(t, Follower, g.role, "and never comes back")
}

// "If a server receives a RequestVote request within the minimum election timeout of hearing from a
// current leader, it does not update its term or grant its vote." (thesis 4.2.3)
func TestThesisFreshLeaderIsNotDeposed(t *testing.T) {
	g := withLog(t, 3, 1, 1)
	step(t, g, Message{Type: MsgHeartbeat, From: 2, Term: 1})
	settle(t, g)
	for range g.cfg.ElectionTicks - 1 {
		g.Tick()
	}
	step(t, g, Message{Type: MsgVote, From: 3, Term: 7, Index: 5, LogTerm: 5})
	step(t, g, Message{Type: MsgPreVote, From: 3, Term: 7, Index: 5, LogTerm: 5})
	sent, _ := settle(t, g)
	require.Empty(t, sent)
	require.EqualValues(t, 1, g.Term())
}

// "A leader in Raft steps down if an election timeout elapses without a successful round of
// heartbeats to a majority of its cluster." (thesis 6.2)
func TestThesisCheckQuorum(t *testing.T) {
	for acks := range 3 {
		g := withLog(t, 5, 0)
		lead(t, g)
		for range 2 * g.cfg.ElectionTicks {
			for i := range acks {
				step(t, g, Message{Type: MsgHeartbeatResp, From: uint64(i + 2), Term: 1})
			}
			g.Tick()
		}
		require.Equal(t, acks == 2, g.IsLeader(), "%d of 5 besides the leader", acks)
	}
}

// "If the leader has not yet marked an entry from its current term committed, it waits until it has
// done so. ... the leader needs to make sure it has not been superseded by a newer leader of which it
// is unaware. It issues a new round of heartbeats and waits for their acknowledgments from a majority
// of the cluster." (thesis 6.4)
func TestThesisReadIndex(t *testing.T) {
	g := withLog(t, 3, 1, 1)
	lead(t, g)
	settle(t, g)
	round, ready, err := g.ReadIndex()
	require.NoError(t, err)
	require.False(t, ready)
	sent, _ := settle(t, g)
	require.NotContains(t, types(sent), MsgHeartbeat)
	step(t, g, Message{Type: MsgAppendResp, From: 2, Term: 2, Index: 2})
	var rd Ready
	g.Ready(&rd)
	require.Contains(t, types(rd.Messages), MsgHeartbeat)
	require.Empty(t, rd.Reads)
	step(t, g, Message{Type: MsgHeartbeatResp, From: 3, Term: 2, Round: round})
	g.Ready(&rd)
	require.Equal(t, []ReadState{{Round: round, Index: 2}}, rd.Reads)
}

// "In the Pre-Vote algorithm, a candidate only increments its term if it first learns from a majority
// of the cluster that they would be willing to grant the candidate their votes." (thesis 9.6)
func TestThesisPreVote(t *testing.T) {
	g := withLog(t, 5, 1, 1)
	for range 10 * g.cfg.ElectionTicks {
		g.Tick()
	}
	require.Equal(t, PreCandidate, g.role)
	require.EqualValues(t, 1, g.Term())
	step(t, g, Message{Type: MsgPreVoteResp, From: 2, Term: 2})
	require.Equal(t, PreCandidate, g.role)
	step(t, g, Message{Type: MsgPreVoteResp, From: 2, Term: 2})
	require.Equal(t, PreCandidate, g.role, "one voice counts once")
	step(t, g, Message{Type: MsgPreVoteResp, From: 3, Term: 2})
	require.Equal(t, Candidate, g.role)
	require.EqualValues(t, 2, g.Term())
}

// "The leader can write to its own disk in parallel with replicating to the followers ... the leader
// may even commit an entry before it has been written to its own disk, if a majority of followers
// have written it to their disks" (thesis 10.2.1)
func TestThesisLeaderCommitsWithoutItsDisk(t *testing.T) {
	g := withLog(t, 3, 0)
	lead(t, g)
	var rd Ready
	g.Ready(&rd)
	step(t, g, Message{Type: MsgAppendResp, From: 2, Term: 1, Index: 1})
	require.Zero(t, g.Commit())
	step(t, g, Message{Type: MsgAppendResp, From: 3, Term: 1, Index: 1})
	require.EqualValues(t, 1, g.Commit())
	require.Zero(t, g.Status().Stable)
}
