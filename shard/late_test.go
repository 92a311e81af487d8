package shard

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// calm delivers everything that is under way, until nobody has anything to do, and returns it. No time passes.
func (s *stepped) calm() (delivered []raft.Message) {
	for worked := true; worked; {
		wire := s.wire
		s.wire, worked = nil, len(s.wire) > 0
		delivered = append(delivered, wire...)
		for _, m := range wire {
			s.nodes[m.To].Deliver(m.From, []raft.Message{m})
		}
		for _, id := range s.ids {
			for s.nodes[id].StepLoops() || s.nodes[id].StepWAL() {
				worked = true
			}
		}
	}
	return delivered
}

// tick lets every node's clock go so many ticks at once, and returns what was delivered because of that.
func (s *stepped) tick(together int) (delivered []raft.Message) {
	for _, id := range s.ids {
		for range together {
			s.nodes[id].TickAll()
		}
	}
	return s.calm()
}

// close closes every node.
func (s *stepped) close() {
	s.t.Helper()
	for _, id := range s.ids {
		require.NoError(s.t, s.nodes[id].Close())
	}
}

// steppedLed starts three nodes and waits until one of them leads the group and knows what is committed.
func steppedLed(t *testing.T, seed uint64, group uint32) (s *stepped, leader *Node, followers []*Node) {
	s = newStepped(t, seed, 3)
	for _, id := range s.ids {
		s.start(id)
	}
	s.run(func() bool {
		return slices.ContainsFunc(s.ids, func(id uint64) bool { return s.nodes[id].groups[group].serves() })
	})
	for _, id := range s.ids {
		if n := s.nodes[id]; n.groups[group].leads.Load() {
			leader = n
		} else {
			followers = append(followers, n)
		}
	}
	require.Len(t, followers, 2)
	return s, leader, followers
}

// TestFollowersApplyLate: but at once for a stream or a reader on their node, and where much waits, and in any case after lateTicks.
func TestFollowersApplyLate(t *testing.T) {
	id := manualID(0)
	group := Of([]byte(id))
	s, leader, followers := steppedLed(t, 11, group)
	// With nothing else under way, the followers are told of every commit.
	write := func(cmd []byte) {
		t.Helper()
		answered := false
		r := AcquireRequest()
		r.Cmd = cmd
		r.Done = func(r *Request) {
			require.Equal(t, CodeOK, r.Result.Code)
			answered = true
		}
		leader.Submit(group, r)
		s.calm()
		require.True(t, answered)
	}
	tick := func(times int) {
		for range times {
			s.tick(1)
		}
	}
	lag := func(n *Node) int {
		g := n.groups[group]
		require.LessOrEqual(t, g.applied, g.raft.Commit())
		return int(g.raft.Commit() - g.applied)
	}
	text := encodeText(nil, id, "text")
	write(EncodePut(nil, &Put{ID: []byte(id)}))
	tick(lateTicks + 2) // heartbeats tell of the last commit, too
	for _, n := range followers {
		require.Zero(t, lag(n))
	}

	for range lateEntries {
		write(slices.Clone(text))
		require.Zero(t, lag(leader))
	}
	for _, n := range followers {
		require.Equal(t, lateEntries, lag(n))
	}
	write(slices.Clone(text))
	for _, n := range followers {
		require.Zero(t, lag(n), "more than may wait")
	}

	large := encodeText(nil, id, strings.Repeat("large ", lateBytesMax/6))
	write(slices.Clone(large))
	write(slices.Clone(large))
	for _, n := range followers {
		require.Zero(t, lag(n), "more bytes than may wait")
	}

	for range 3 {
		write(slices.Clone(text))
	}
	watching, reading := followers[0], followers[1]
	require.NotZero(t, lag(watching))
	c, code := watching.Replica([]byte(id))
	require.Equal(t, CodeOK, code)
	wake := make(chan struct{}, 1)
	c.Subscribe(wake)
	tick(1)
	require.Zero(t, lag(watching), "what waited when the stream came")
	write(slices.Clone(text))
	write(slices.Clone(text))
	require.Zero(t, lag(watching), "a stream is there")
	c.Unsubscribe(wake)
	write(slices.Clone(text))
	write(slices.Clone(text))
	require.NotZero(t, lag(watching), "it is gone")

	require.NotZero(t, lag(reading))
	g := reading.groups[group]
	read := false
	w := &readWait{group: g, index: g.raft.Commit(), ticks: 100, then: func(_ uint64, code Code) { read = code == CodeOK }}
	require.Equal(t, CodeOK, g.loop.box.read(w))
	s.calm()
	require.True(t, read)
	require.Zero(t, lag(reading))

	write(slices.Clone(text))
	write(slices.Clone(text))
	require.NotZero(t, lag(reading))
	tick(lateTicks)
	for _, n := range followers {
		require.Zero(t, lag(n), "late, and no later")
	}
	s.close()
}

// TestFirstEntriesAreNotLate: a replica without any is taken for an empty one (Replica), and streams would pass it by.
func TestFirstEntriesAreNotLate(t *testing.T) {
	group := Of([]byte(manualID(0)))
	s, _, followers := steppedLed(t, 14, group)
	for range 10 * lateTicks {
		s.tick(1)
		for _, n := range followers {
			g := n.groups[group]
			require.Equal(t, g.raft.Commit() > 0, n.Applied(group) > 0)
		}
	}
	for _, n := range followers {
		require.NotZero(t, n.Applied(group))
	}
	s.close()
}

// TestLateTicksTogether: a loop that catches up with several ticks in one pass skips nobody's turn.
func TestLateTicksTogether(t *testing.T) {
	id := manualID(0)
	group := Of([]byte(id))
	s, leader, followers := steppedLed(t, 12, group)
	g := followers[0].groups[group]
	for together := 1; together <= ticksMax; together++ {
		for align := range int64(lateTicks) {
			for g.loop.now%lateTicks != align {
				s.tick(1)
			}
			r := AcquireRequest()
			r.Cmd = EncodePut(r.Cmd, &Put{ID: []byte(id)})
			r.Done = func(r *Request) { require.Equal(t, CodeOK, r.Result.Code) }
			leader.Submit(group, r)
			s.calm()
			require.True(t, g.raft.Behind())
			for ticks := 0; ticks < lateTicks; ticks += together {
				s.tick(together)
			}
			require.False(t, g.raft.Behind(), "%d ticks together, from %d on", together, align)
		}
	}
	s.close()
}

// serves: it leads and knows what is committed.
func (g *group) serves() bool { return g.leads.Load() && g.appliedTerm == g.raft.Term() }

// TestLateKnowsOfASnapshot: where the log has come as far as a snapshot, which shows that it is committed up to there, the shard is applied up
// to there when the snapshot has been taken, and nobody sends it again.
func TestLateKnowsOfASnapshot(t *testing.T) {
	l := newLagging(t, 1, nil)
	n := l.nodes[3]
	n.StepLoops()
	g := n.groups[l.group]
	st := g.raft.Status()
	app := raft.Message{
		Type: raft.MsgAppend, Group: l.group, From: l.m.From, To: 3, Term: l.m.Term, Index: st.Last, LogTerm: st.LastTerm, Commit: st.Commit,
	}
	for i := st.Last + 1; i <= l.m.Snapshot.Index; i++ {
		app.Entries = append(app.Entries, raft.Entry{Index: i, Term: l.m.Snapshot.Term, Kind: raft.KindNoop})
	}
	require.LessOrEqual(t, len(app.Entries), lateEntries)
	n.Deliver(l.m.From, []raft.Message{app})
	for n.StepLoops() || n.StepWAL() {
		continue
	}
	require.Equal(t, l.m.Snapshot.Index, g.raft.Status().Last)
	require.Less(t, g.raft.Commit(), l.m.Snapshot.Index)
	require.NoError(t, n.ReceiveSnapshot(l.m, bytes.NewReader(l.file)))
	require.GreaterOrEqual(t, n.Applied(l.group), l.m.Snapshot.Index)
	require.Zero(t, n.stats.receiveErrors.Load())
}
