package raft

// Status is a copy of where the group stands.
type Status struct {
	ID, Term, Vote, Leader uint64
	Role                   Role
	Commit, Applied        uint64
	Last, LastTerm         uint64
	First                  uint64 // oldest entry in memory
	Stable                 uint64 // last durable entry
	SnapshotIndex          uint64
	UncommittedBytes       int    // leader only
	Transferee             uint64 // leadership is being handed to; 0 none
	Damaged                bool
	ConfIndex              uint64 // entry that put the newest membership in force
	ConfCommitted          bool
}

// Status returns where the group stands, without allocating.
func (g *Group) Status() Status {
	l := &g.log
	ci := g.confs.at(g.confs.len() - 1).Index
	return Status{
		ID: g.cfg.ID, Term: g.term, Vote: g.vote, Leader: g.leader, Role: g.role,
		Commit: l.commit, Applied: l.applied, Last: l.last(), LastTerm: l.lastTerm(), First: l.first, Stable: l.stable,
		SnapshotIndex: l.snapIndex, UncommittedBytes: g.uncommitted, Transferee: g.transferee, Damaged: g.damaged,
		ConfIndex: ci, ConfCommitted: ci <= l.commit,
	}
}

// Commit returns the commit index.
func (g *Group) Commit() uint64 { return g.log.commit }

// Term returns the current term.
func (g *Group) Term() uint64 { return g.term }

// Leader returns the known leader, 0 if there is none.
func (g *Group) Leader() uint64 { return g.leader }

// IsLeader reports whether this node leads.
func (g *Group) IsLeader() bool { return g.role == Leader }

// SoleVoter reports whether this node by itself is a quorum of the newest membership in the log.
func (g *Group) SoleVoter() bool { return g.sole }

// Member reports whether this node gets the log in the newest membership.
func (g *Group) Member() bool { return g.in }

// Conf returns the newest membership in the log, committed or not.
func (g *Group) Conf() Conf { c := g.conf(); return c.Clone() }

// ConfAt returns the membership in force at index, which must be in [SnapshotIndex, Last]: what a
// snapshot at index has to carry.
func (g *Group) ConfAt(index uint64) ConfRecord {
	for i := g.confs.len() - 1; i >= 0; i-- {
		if r := g.confs.at(i); r.Index <= index || i == 0 {
			return ConfRecord{r.Index, r.Conf.Clone()}
		}
	}
	panic("unreachable: confs is never empty")
}

// PeerStatus is what a leader knows of a member.
type PeerStatus struct {
	ID            uint64
	Match, Next   uint64
	State         string // probe, replicate, snapshot
	Learner       bool
	Active        bool // heard of within the last election period
	Damaged       bool // neither votes nor campaigns before it has its log again, or may do so: not to be made a voter
	Inflight      int  // appends on their way
	InflightBytes int
	Snapshot      uint64 // index of the snapshot on its way, 0 none
}

// Peers appends the state of all members to dst, sorted by id. Only a leader has any.
func (g *Group) Peers(dst []PeerStatus) []PeerStatus {
	if g.role != Leader {
		return dst
	}
	for i := range g.peers {
		p := &g.peers[i]
		dst = append(dst, PeerStatus{
			ID: p.id, Match: p.match, Next: p.next, State: p.state.String(), Learner: !g.conf().Voter(p.id), Active: g.active(p), Damaged: p.damaged,
			Inflight: p.inflight.len(), InflightBytes: p.bytes, Snapshot: p.pendingSnapshot,
		})
	}
	return dst
}
