package shard

import (
	"errors"
	"math"

	"fastpaca/jepsen/planted"
	"fastpaca/raft"
	"fastpaca/wal"
)

// step gives a message to its group.
func (l *loop) step(m *raft.Message) {
	n := l.node
	g := n.groups[m.Group] // Deliver let nothing else pass
	if g.stopped {
		return
	}
	if m.Type == raft.MsgAppend && len(m.Entries) > 0 && n.stalled.Load() {
		// The disk hangs. What it is given now would only queue, without a bound: the leader sends it again.
		n.stats.dropped.Add(1)
		return
	}
	if m.Type == raft.MsgAppend && l.tooLong(g, m) {
		return
	}
	if m.Type == raft.MsgTimeoutNow && n.stalled.Load() {
		n.stats.dropped.Add(1) // a vote that the disk does not take: the sender leads on when it has waited enough
		return
	}
	if err := g.raft.Step(m); err != nil {
		l.refused(g, m, err)
		return
	}
	switch m.Type {
	case raft.MsgAppend, raft.MsgHeartbeat, raft.MsgSnapshot:
		g.heardAt = l.now
	}
	l.touchReady(g)
}

// refused handles what raft says of a message that it did not take.
func (l *loop) refused(g *group, m *raft.Message, err error) {
	if !errors.Is(err, raft.ErrDiverged) {
		l.node.stats.invalid.Add(1)
		return
	}
	l.diverged(g, m.From, err)
}

// diverged stops the group on this node: its history and that of a peer contradict one another, so that one of the two
// disks has lost what it had acknowledged, and which one cannot be told from here. Going on could overwrite the
// right one. The other groups of the node are not concerned. A restart tries again.
func (l *loop) diverged(g *group, from uint64, err error) {
	l.halt(g)
	l.node.stats.diverged.Add(1)
	l.node.opt.Logf("group_diverged", "level", "error", "group", g.id, "peer", from, "error", err.Error(),
		"what_to_do", "one of the two nodes runs on a disk that lost acknowledged data (restored from a backup, or copied from another node): "+
			"stop that node, empty its data directory and start it again, so that it joins as a new node; then restart this one")
}

// tooLong stops the group on this node for an entry that its log cannot hold: the segments of the leader, which took the request,
// are longer. The log would panic, with all groups, as soon as its segment has no room for it; dropped, the entry would come again
// with each heartbeat.
func (l *loop) tooLong(g *group, m *raft.Message) bool {
	most := l.node.wal.MaxEntryBytes()
	for i := range m.Entries {
		e := &m.Entries[i]
		if len(e.Data) <= most || m.Term < g.raft.Term() {
			continue
		}
		l.halt(g)
		l.node.opt.Logf("entry_too_long", "level", "error", "group", g.id, "peer", m.From, "index", e.Index, "bytes", len(e.Data), "most", most,
			"what_to_do", "restart this node with the FASTPACA_WAL_SEGMENT_BYTES of the others; until then the group is stopped here")
		return true
	}
	return false
}

// halt takes the group out of everything on this node, until the next start.
func (l *loop) halt(g *group) {
	g.stopped = true
	g.pending.abandon(l.late, l.release)
	g.abandonReads(CodeUnavailable)
	g.publishRole()
}

// drive takes what raft has ready: entries and state go into the batch for the WAL, messages to the transport, committed
// entries are applied and their requests answered.
func (l *loop) drive() {
	for len(l.dirty) > 0 {
		g := l.dirty[len(l.dirty)-1]
		l.dirty[len(l.dirty)-1] = nil
		l.dirty = l.dirty[:len(l.dirty)-1]
		g.dirty = false
		g.raft.Late(g.lateness())
		for g.raft.HasReady() && !g.stopped {
			rd := &l.ready
			g.raft.Ready(rd)
			if rd.Snapshot != nil {
				l.install(g, rd)
			}
			l.persist(g, rd)
			l.apply(g, rd.Committed)
			if len(rd.Messages) > 0 {
				l.post(g, rd.Messages)
			}
			for _, need := range rd.Need {
				l.node.fetcher.ask(fetch{g, need})
			}
			for _, r := range rd.Reads {
				g.reads.confirmed(r.Round, r.Index, r.Lost, l.node.notLeader())
			}
			if rd.RoleChanged {
				l.roleChanged(g, rd)
			}
		}
		if g.reads.known > 0 {
			g.reads.applied(g.applied)
		}
		if len(g.waits) > 0 {
			g.waits = reached(g.waits, g.applied)
		}
		g.hurry = false
		g.publishRole()
	}
	if l.began != 0 {
		l.applies.observe(l.nanos() - l.began)
		l.began = 0
	}
}

// orphanTicks is how long requests of a lost leadership wait for the word of the next leader: longer than an election and
// a round trip take, and short enough that a client of a node without a quorum has its 503 within 3 s.
const orphanTicks = 20

// roleChanged is about the requests that this node proposed as the leader of a term that it does not lead any more. What
// became of them shows as soon as the next leader commits anything: the same entry at their place, and they are
// answered as if nothing had happened (a leadership that was handed over loses no request), or another one, and
// nothing was written. Without a next leader their outcome stays unknown, and they are told so soon.
func (l *loop) roleChanged(g *group, rd *raft.Ready) {
	limit := uint64(math.MaxUint64)
	if rd.Role == raft.Leader {
		limit = rd.Term
	} else {
		g.retireAt = 0
	}
	g.pending.hurry(limit, l.now+orphanTicks)
}

// persist adds what must reach the disk to the batch.
func (l *loop) persist(g *group, rd *raft.Ready) {
	if !rd.MustSync {
		return
	}
	b := l.current()
	if !g.raft.SoleVoter() {
		b.wal.Whole()
	}
	if rd.StateChanged {
		g.unsaved++
		if planted.On(planted.VoteNotPersisted) {
			rd.HardState.Vote = 0
		}
		b.wal.State(g.id, wal.HardState{Term: rd.HardState.Term, Vote: rd.HardState.Vote, Commit: rd.HardState.Commit})
	}
	for i := range rd.Entries {
		e := &rd.Entries[i]
		b.wal.Entry(g.id, rd.HardState.Commit, wal.Entry{Index: e.Index, Term: e.Term, Kind: uint8(e.Kind), Data: e.Data})
		bytes := int64(len(e.Data)) + entryOverhead
		g.logBytes += bytes
		g.lateBytes += bytes
	}
	b.marks = append(b.marks, batchMark{group: g, mark: rd.Mark, state: rd.StateChanged})
}

// apply runs committed entries through the state machine, in order, and answers those that wait.
func (l *loop) apply(g *group, entries []raft.Entry) {
	if len(entries) == 0 {
		return
	}
	if l.began == 0 {
		l.began = l.nanos()
	}
	for i := range entries {
		e := &entries[i]
		if l.node.opt.Applied != nil {
			l.node.opt.Applied(g.id, e)
		}
		ours, waits := g.pending.take(e.Index, e.Term, l.lost)
		res := &l.res
		if ours.req != nil {
			res = &ours.req.Result
		}
		if e.Kind == raft.KindNormal {
			if err := g.apply(e.Index, e.Data, res); err != nil {
				l.node.fatal(fatalApply(g.id, e.Index, err))
				return
			}
		}
		g.applied, g.appliedTerm = e.Index, e.Term
		if waits {
			l.node.inflight.Add(-int64(ours.bytes))
			l.commits.observe(l.began - ours.at)
			switch {
			case ours.req == nil:
			case ours.req.then != nil:
				l.told = append(l.told, ours.req)
			default:
				ours.req.finish()
			}
		}
	}
	g.raft.Applied(g.applied)
	g.lateBytes = 0
	if g.raft.IsLeader() && !g.raft.SoleVoter() {
		l.share = append(l.share, g)
	}
}

// shareCommits tells the followers what has just been committed, if nothing else is under way that would carry the news:
// their streams show it at once then, and not with the next heartbeat. Under load the next append brings it, or the
// heartbeat, and the messages are spared.
func (l *loop) shareCommits() {
	idle := l.node.inflight.Load() == 0
	for i, g := range l.share {
		if idle {
			g.raft.ShareCommit()
			l.touch(g)
		}
		l.share[i] = nil
	}
	l.share = l.share[:0]
}

// post keeps messages for flush. Their entries are copied: what is in a Ready is gone with the next one.
func (l *loop) post(g *group, msgs []raft.Message) {
	for i := range msgs {
		m := &msgs[i]
		switch {
		case l.node.opt.Transport == nil:
			if m.Type == raft.MsgSnapshot {
				g.raft.ReportSnapshot(m.To, false)
			}
		case m.Type == raft.MsgSnapshot:
			l.node.stats.snapshotsSent.Add(1)
			l.node.opt.Transport.SendSnapshot(*m)
		default:
			l.out = append(l.out, *m)
			if len(m.Entries) > 0 {
				from := len(l.entries)
				l.entries = append(l.entries, m.Entries...)
				l.out[len(l.out)-1].Entries = l.entries[from:len(l.entries):len(l.entries)]
			}
		}
	}
}

// flush sends the messages of the pass in one call, so that the transport can put those for one node into one frame.
func (l *loop) flush() {
	if len(l.out) == 0 {
		return
	}
	l.node.opt.Transport.Send(l.out)
	clear(l.out)
	clear(l.entries)
	l.out, l.entries = l.out[:0], l.entries[:0]
}

// current returns the batch that this pass fills.
func (l *loop) current() *batch {
	if l.batch == nil {
		if n := len(l.free); n > 0 {
			l.batch = l.free[n-1]
			l.free[n-1] = nil
			l.free = l.free[:n-1]
		} else {
			l.batch = &batch{wal: wal.NewBatch(l.durable)}
			l.batch.wal.Tag = l.batch
		}
	}
	return l.batch
}

// submit gives the pass's batch to the WAL, which answers through the mailbox.
func (l *loop) submit() {
	if l.batch == nil {
		return
	}
	b := l.batch
	l.batch = nil
	b.alone = l.alone
	l.node.wal.Submit(b.wal)
}
