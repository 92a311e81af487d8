package raft

// Snapshots between nodes. The core only knows their meta data; the shell moves the bytes.
//
// Leader: a follower that needs what the WAL no longer has gets a MsgSnapshot out of Ready. The shell
// streams the file with it and calls ReportSnapshot once, whatever happens: until then, or until the
// follower acknowledges something that lets replication go on, nothing else is sent to it.
//
// Follower: the shell receives and verifies the file, makes it durable, then steps the message. If
// it is of use, Ready.Snapshot says to install it; the acknowledgement waits for the disk.

// ReportSnapshot says how sending a MsgSnapshot to id ended. After a failure the follower's next sign
// of life starts over; after a success its acknowledgement (or its next sign of life) goes on.
func (g *Group) ReportSnapshot(id uint64, ok bool) {
	p := g.peer(id)
	if g.role != Leader || p == nil || p.state != stateSnapshot {
		return
	}
	next := p.match + 1
	if ok {
		next = max(next, p.pendingSnapshot+1)
	}
	p.probeFrom(next)
	p.waiting, p.due = true, false
}

func (g *Group) handleSnapshot(m *Message) {
	s, l := m.Snapshot, &g.log
	switch {
	case s.Index <= l.commit:
		g.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: l.commit, Damaged: g.damaged})
		return
	case l.matches(s.Index, s.Term):
		// The log has all of it (log matching, paper 5.3): only the commit index is news.
		g.matched(s.Index)
		g.commitTo(s.Index)
		g.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: s.Index, Damaged: g.damaged})
		return
	}
	// Submissions on their way vouch for nothing beyond what is committed: the rest is replaced.
	g.durable.truncated(l.commit + 1)
	l.stable = min(l.stable, l.commit)
	l.reset(s.Index, s.Term)
	g.confs.keep(0)
	g.confs.push(ConfRecord{Index: s.Index, Conf: s.Conf.Clone()})
	g.rebuildPeers()
	g.installing, g.installSeq = true, 0
	g.healAt = 0
	g.toInstall = &SnapshotMeta{Index: s.Index, Term: s.Term, Conf: s.Conf.Clone()}
	g.matched(s.Index)
	g.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: s.Index, Damaged: g.damaged})
}
