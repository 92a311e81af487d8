package raft

import (
	"fmt"

	"fastpaca/jepsen/planted"
)

// Role of a node in its group.
type Role uint8

const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

func (r Role) String() string {
	return [...]string{"follower", "pre-candidate", "candidate", "leader"}[r]
}

// Group is one node's part in one group. See the package comment for how it is driven; it is not
// safe for concurrent use.
//
// The fields are grouped by the file whose invariants they obey.
type Group struct {
	cfg Config
	log raftLog

	// group.go
	term   uint64
	vote   uint64
	leader uint64
	role   Role
	msgs   []Message // to go out with the next Ready; no MsgAppend with entries among them
	late   uint64    // see Late

	// election.go
	ticks            uint64 // as leader, ever
	electionElapsed  int
	heartbeatElapsed int
	electionTimeout  int
	voteSeq          uint64 // the submission that makes the own vote durable
	forced           bool   // the campaign was asked for by a leader
	damaged          bool
	damagedTo        uint64
	damagedTerm      uint64
	healAt           uint64 // damaged: healed when the log is durable up to here; 0 not known yet
	installing       bool   // a snapshot was taken in and is not durable yet
	installSeq       uint64 // the submission that makes it durable, 0 not handed out yet

	// conf.go
	confs queue[ConfRecord] // never empty
	peers []progress        // the members of the newest conf, sorted by id
	sole  bool              // by itself a quorum of the newest conf
	in    bool              // a member of the newest conf

	// replication.go, transfer.go
	sendDue         bool // a leader may have appends to send
	uncommitted     int  // bytes of entries after commit; kept while leader
	transferee      uint64
	transferElapsed int

	// read.go
	reads reads

	// ready.go, durable.go
	saveState bool // term or vote changed since the last Ready
	toInstall *SnapshotMeta
	told      soft
	durable   durability
}

// New makes a group from what recovery found. Errors mean that the parts of st contradict one
// another, i.e. that the disk lost something.
func New(cfg Config, st Restored) (*Group, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := st.Snapshot.Conf.Validate(); err != nil {
		return nil, fmt.Errorf("group %d: snapshot at %d: %w", cfg.Group, st.Snapshot.Index, err)
	}
	g := &Group{cfg: cfg}
	if err := g.restoreLog(&st); err != nil {
		return nil, err
	}
	if err := g.restoreConfs(&st); err != nil {
		return nil, err
	}
	// The term on disk can be older than the snapshot's or the log's where their records came first;
	// whatever was said in the newer term waited for its record, so nothing was said, and no vote given.
	g.term, g.vote = st.HardState.Term, st.HardState.Vote
	if planted.On(planted.VoteForgotten) {
		g.vote = 0
	}
	if t := g.log.lastTerm(); t > g.term {
		g.term, g.vote = t, 0
		g.saveState = true
	}
	if st.Damaged && (st.DamagedTo == 0 || st.DamagedTo > g.log.applied) {
		g.damaged, g.damagedTo, g.damagedTerm = true, st.DamagedTo, g.term
	}
	g.rebuildPeers()
	g.drawTimeout()
	g.told = soft{g.role, g.leader, g.term}
	return g, nil
}

func (g *Group) restoreLog(st *Restored) error {
	snap, hs := &st.Snapshot, &st.HardState
	applied, appliedTerm := st.Applied, st.AppliedTerm
	if applied == 0 {
		applied, appliedTerm = snap.Index, snap.Term
	}
	if applied < snap.Index || appliedTerm < snap.Term || applied == snap.Index && appliedTerm != snap.Term {
		return fmt.Errorf("raft: group %d: applied (%d, term %d) is before the snapshot (%d, term %d)",
			g.cfg.Group, applied, appliedTerm, snap.Index, snap.Term)
	}
	l := &g.log
	l.first, l.prevTerm = applied+1, appliedTerm
	l.snapIndex, l.snapTerm = snap.Index, snap.Term
	for i := range st.Entries {
		e := st.Entries[i]
		if i == 0 && e.Index == l.first && e.Term < appliedTerm {
			break // left over from a log that a snapshot replaced, see Restored.Entries
		}
		if e.Index != l.last()+1 || e.Term < l.lastTerm() || e.Term == 0 {
			return fmt.Errorf("raft: group %d: entry (%d, term %d) follows entry (%d, term %d): the log on disk is not one history",
				g.cfg.Group, e.Index, e.Term, l.last(), l.lastTerm())
		}
		l.entries.push(e)
	}
	l.saved, l.stable = l.last(), l.last()
	l.applied, l.handed = applied, applied
	l.keptUntil = applied
	l.commit = max(hs.Commit, applied)
	if st.Damaged {
		// The rot may hide that part of these entries was replaced: nothing here is known to be
		// committed but what is applied.
		l.commit = applied
	}
	if l.commit > l.last() {
		return fmt.Errorf("raft: group %d: commit index %d is beyond the end of the log %d: acknowledged entries are missing from the disk; treat the group as damaged, or rebuild the node from its peers",
			g.cfg.Group, l.commit, l.last())
	}
	return nil
}

// Tick says that one unit of time has passed.
func (g *Group) Tick() {
	if g.role == Leader {
		g.tickLeader()
		return
	}
	g.electionElapsed++
	if g.electionElapsed >= g.electionTimeout && g.promotable() {
		g.electionElapsed = 0
		g.campaign(false)
	}
}

// Step takes in a message of a peer. An error leaves the group unchanged: ErrInvalidMessage for what
// no correct peer says, ErrDiverged for what must stop the node.
func (g *Group) Step(m *Message) error {
	if err := g.validate(m); err != nil {
		return err
	}
	fromLeader := m.Type == MsgAppend || m.Type == MsgHeartbeat || m.Type == MsgSnapshot
	if fromLeader && m.Term >= g.term {
		if err := g.checkFromLeader(m); err != nil {
			return err
		}
	}
	switch {
	case m.Term > g.term:
		if !g.stepNewerTerm(m) {
			return nil
		}
	case m.Term < g.term:
		g.stepOlderTerm(m)
		return nil
	}
	switch m.Type {
	case MsgPreVote, MsgVote:
		g.handleVote(m)
	case MsgPreVoteResp, MsgVoteResp:
		g.handleVoteResp(m)
	case MsgAppend, MsgHeartbeat, MsgSnapshot:
		g.stepFromLeader(m)
	case MsgAppendResp:
		return g.handleAppendResp(m)
	case MsgHeartbeatResp:
		return g.handleHeartbeatResp(m)
	case MsgTimeoutNow:
		g.handleTimeoutNow(m)
	}
	return nil
}

// stepNewerTerm lets a message of a later term change ours, if it may. False: the message is done with.
func (g *Group) stepNewerTerm(m *Message) bool {
	switch m.Type {
	case MsgPreVote, MsgVote:
		// A node that hears from its leader does not help to depose it (thesis 4.2.3): one that cannot
		// hear the leader, or was removed and was not told, would otherwise disturb everybody.
		if g.inLease() && !m.Force {
			return false
		}
		if m.Type == MsgPreVote {
			return true // a question about a future term; nobody's term changes
		}
	case MsgPreVoteResp:
		if !m.Reject {
			return true // yes to the term we asked for
		}
	}
	leader := uint64(0)
	if m.Type == MsgAppend || m.Type == MsgHeartbeat || m.Type == MsgSnapshot {
		leader = m.From
	}
	g.becomeFollower(m.Term, leader)
	return true
}

// stepOlderTerm answers where silence would leave somebody stuck: a leader whose followers moved on
// (a transfer that failed half way), a candidate that asks with an old term.
func (g *Group) stepOlderTerm(m *Message) {
	switch m.Type {
	case MsgAppend, MsgHeartbeat, MsgSnapshot:
		g.send(Message{Type: MsgAppendResp, To: m.From, Reject: true})
	case MsgPreVote:
		g.send(Message{Type: MsgPreVoteResp, To: m.From, Reject: true})
	case MsgVote:
		g.send(Message{Type: MsgVoteResp, To: m.From, Reject: true})
	}
}

// checkFromLeader refuses what contradicts what is known here for sure, before anything changes.
func (g *Group) checkFromLeader(m *Message) error {
	l := &g.log
	diverged := func(format string, args ...any) error {
		return fmt.Errorf("%w: group %d: "+format, append([]any{ErrDiverged, g.cfg.Group}, args...)...)
	}
	if m.Term == g.term && (g.role == Leader || g.leader != 0 && g.leader != m.From) {
		return diverged("%d and %d both lead term %d", g.leader, m.From, g.term)
	}
	switch m.Type {
	case MsgAppend:
		return g.checkAppend(m, diverged)
	case MsgHeartbeat:
		if m.Commit > l.last() && !g.damaged {
			return diverged("leader %d says this node acknowledged entry %d, but its log ends at %d: this disk lost acknowledged entries",
				m.From, m.Commit, l.last())
		}
	case MsgSnapshot:
		s := m.Snapshot
		if t, ok := l.term(s.Index); ok && s.Index <= l.commit && t != s.Term {
			return diverged("the snapshot of leader %d ends with term %d at %d, committed here with term %d", m.From, s.Term, s.Index, t)
		}
	}
	return nil
}

// stepFromLeader handles what only the leader of our term sends.
func (g *Group) stepFromLeader(m *Message) {
	if g.role != Follower {
		g.becomeFollower(g.term, m.From)
	}
	g.leader = m.From
	g.electionElapsed = 0
	switch m.Type {
	case MsgAppend:
		g.handleAppend(m)
	case MsgHeartbeat:
		g.handleHeartbeat(m)
	case MsgSnapshot:
		g.handleSnapshot(m)
	}
}

// send queues a message that need not wait for the disk.
func (g *Group) send(m Message) {
	g.stamp(&m)
	g.msgs = append(g.msgs, m)
}

// stamp fills in what all messages have. A pre-vote and a yes to one carry their own term.
func (g *Group) stamp(m *Message) {
	m.Group, m.From = g.cfg.Group, g.cfg.ID
	if m.Term == 0 {
		m.Term = g.term
	}
}

func (g *Group) conf() *Conf { return &g.confs.at(g.confs.len() - 1).Conf }

// peer returns the progress of id, nil if it is no member. A handful of members: faster than a search.
func (g *Group) peer(id uint64) *progress {
	for i := range g.peers {
		if g.peers[i].id == id {
			return &g.peers[i]
		}
	}
	return nil
}
