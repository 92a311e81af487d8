package raft

// Ready is what the shell has to do. Its slices are reused by the next Ready call with the same
// value; the data of entries is immutable and may be kept.
type Ready struct {
	// To persist, in one submission, in the order Snapshot, HardState, Entries. StateChanged: term or
	// vote differ from what was handed out before. MustSync: Mark.Seq is not 0, there is something to
	// persist. HardState is always filled in; a changed commit index alone is not worth a write.
	HardState    HardState
	StateChanged bool
	MustSync     bool
	Entries      []Entry
	Mark         Mark

	// Snapshot: the state machine has to be replaced by this snapshot, which the shell got before it
	// passed the message to Step; Committed entries of this and later Readys follow it. To persist:
	// "a snapshot covers <= Index", and the log after Index is void, too, whatever the disk has there.
	// Then Applied(Index).
	Snapshot *SnapshotMeta

	// Committed entries, in order, each once. They may be ahead of the local disk where a quorum of
	// other nodes has them.
	Committed []Entry

	// Messages to send now. What must wait for the disk comes out of a later Ready. A MsgSnapshot
	// asks the shell to stream the snapshot in Message.Snapshot (or a newer durable one, then named
	// in the message); its end is told by ReportSnapshot.
	Messages []Message

	// Need asks for entries that left memory; the answer is Group.Supply.
	Need []NeedEntries

	// Reads are answers to ReadIndex rounds, ascending.
	Reads []ReadState

	// Who we are. RoleChanged: one of them differs from the Ready before. A leader that stopped
	// leading must fail what it proposed and does not see in Committed.
	Role        Role
	Leader      uint64 // 0 unknown
	Term        uint64
	RoleChanged bool

	arena []Entry // entries of Messages
}

type soft struct {
	role   Role
	leader uint64
	term   uint64
}

// HasReady reports whether Ready would return anything. It may be wrong to say yes, never to say no.
func (g *Group) HasReady() bool {
	return len(g.msgs) > 0 || g.handsOut() || g.dirty() || g.sendDue ||
		g.reads.hasOutput() || g.told != soft{g.role, g.leader, g.term}
}

// Late lets up to n committed entries wait in the log while this node does not lead: Ready hands out none of them before there
// are more, or Late is called with less. 0, as at the start: none waits. For a shell that has nobody who looks at what it applies:
// some entries at once cost less than each by itself.
func (g *Group) Late(n int) { g.late = uint64(n) }

// Behind says whether committed entries wait to be handed out.
func (g *Group) Behind() bool { return g.log.handed < g.log.commit }

// handsOut: the next Ready has Committed entries.
func (g *Group) handsOut() bool {
	return g.Behind() && (g.role == Leader || g.log.commit-g.log.handed > g.late)
}

// Ready fills rd with everything there is to do and considers it handed over.
func (g *Group) Ready(rd *Ready) {
	rd.reset()
	g.openRound()
	rd.Messages = append(rd.Messages, g.msgs...)
	clear(g.msgs)
	g.msgs = g.msgs[:0]
	if g.role == Leader && g.sendDue {
		g.sendAppends(rd)
	}
	g.sendDue = false
	rd.Reads = append(rd.Reads, g.reads.out.all()...)
	g.reads.out.keep(0)

	l := &g.log
	if g.dirty() {
		g.durable.lastSeq++
		rd.MustSync = true
		rd.Mark = Mark{Term: g.term, Index: l.last(), Seq: g.durable.lastSeq}
		g.durable.flights.push(flight{g.durable.lastSeq, l.last()})
	}
	rd.StateChanged, g.saveState = g.saveState, false
	rd.HardState = HardState{g.term, g.vote, l.commit}
	if g.toInstall != nil {
		rd.Snapshot, g.toInstall = g.toInstall, nil
		g.installSeq = rd.Mark.Seq
	}
	for ; l.saved < l.last(); l.saved++ {
		rd.Entries = append(rd.Entries, *l.entry(l.saved + 1))
	}
	if g.handsOut() {
		for ; l.handed < l.commit; l.handed++ {
			rd.Committed = append(rd.Committed, *l.entry(l.handed + 1))
		}
	}

	now := soft{g.role, g.leader, g.term}
	rd.RoleChanged = now != g.told
	g.told = now
	rd.Role, rd.Leader, rd.Term = now.role, now.leader, now.term
}

// reset empties rd and keeps its memory. References are dropped, so that a Ready at rest pins nothing.
func (rd *Ready) reset() {
	clear(rd.Entries)
	clear(rd.Committed)
	clear(rd.Messages)
	clear(rd.arena)
	*rd = Ready{
		Entries:   rd.Entries[:0],
		Committed: rd.Committed[:0],
		Messages:  rd.Messages[:0],
		Need:      rd.Need[:0],
		Reads:     rd.Reads[:0],
		arena:     rd.arena[:0],
	}
}

// Applied says that the state machine has applied everything up to index.
func (g *Group) Applied(index uint64) {
	l := &g.log
	if index > l.handed {
		panicf("raft: group %d: Applied(%d), but only %d was handed out: a bug in the shell, report it", g.cfg.Group, index, l.handed)
	}
	if index <= l.applied {
		return
	}
	l.applied = index
	g.trim()
}

// Compact says that a durable snapshot covers everything up to index, whose entry has this term. The
// WAL may drop those entries; followers that need them get the snapshot. Older news are ignored.
func (g *Group) Compact(index, term uint64) {
	l := &g.log
	if index <= l.snapIndex {
		return
	}
	if t, ok := l.term(index); index > l.applied || ok && t != term {
		panicf("raft: group %d: Compact(%d, term %d) with applied %d, term %d there: the snapshot is not of this log; a bug in the shell, report it",
			g.cfg.Group, index, term, l.applied, t)
	}
	l.snapIndex, l.snapTerm = index, term
	n := 0
	for n+1 < g.confs.len() && g.confs.at(n+1).Index <= index {
		n++
	}
	g.confs.pop(n)
	g.trim()
}

// Release drops what is left in memory of the log up to index, Config.RetainBytes or not, as far as it is applied and
// durable: for a shell that bounds by age what a quiet group keeps.
func (g *Group) Release(index uint64) { g.log.release(index) }

// ShareCommit tells the followers of a commit index that they do not know yet, without waiting for the next append or
// heartbeat to carry it (Config.LazyCommit): for a shell that has nothing else to send.
func (g *Group) ShareCommit() {
	if g.role != Leader {
		return
	}
	for i := range g.peers {
		if p := &g.peers[i]; p.id != g.cfg.ID && p.state == stateReplicate && min(g.log.commit, p.next-1) > p.sentCommit {
			p.due = true
			g.sendDue = true
		}
	}
}

func (g *Group) trim() {
	keep := g.cfg.RetainBytes
	if g.conf().alone(g.cfg.ID) {
		keep = 0
	}
	g.log.trim(keep)
}
