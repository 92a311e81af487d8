package raft

import (
	"fmt"

	"fastpaca/jepsen/planted"
)

// Replication. Invariants:
//   - a leader only appends to its own log (paper 5.3, leader append-only).
//   - a follower's answer to an append names an index up to which its log equals the leader's, and
//     leaves only when that is durable.
//   - commit moves only to entries of the leader's own term (paper 5.4.2), by a quorum of durable
//     copies, the leader's own among them only where it is a voter and only once durable.

// NeedEntries asks the shell for the committed entries [Lo, Hi) from the WAL, for follower To. Less
// than all, but at least the first two, is fine; about MaxBytes is best.
type NeedEntries struct {
	To       uint64
	Lo, Hi   uint64
	MaxBytes int
}

// Propose appends an entry to the leader's log. data is referenced, and must never change. The entry
// is decided when it comes out as committed with this index and term; if another term shows up at
// the index, it is lost. Errors: *NotLeaderError, ErrTransferring, ErrTooLarge, ErrUncommittedFull.
func (g *Group) Propose(kind EntryKind, data []byte) (index, term uint64, err error) {
	switch {
	case g.role != Leader:
		return 0, 0, &NotLeaderError{Leader: g.leader}
	case kind != KindNormal && kind != KindNoop:
		return 0, 0, fmt.Errorf("raft: Propose of an entry of kind %s", kind)
	case g.transferee != 0:
		return 0, 0, ErrTransferring
	case g.cfg.MaxEntryBytes > 0 && len(data) > g.cfg.MaxEntryBytes:
		return 0, 0, ErrTooLarge
	}
	// One entry always fits, however small the limit.
	if m := g.cfg.MaxUncommittedBytes; m > 0 && g.uncommitted > 0 && g.uncommitted+len(data)+entryOverhead > m {
		return 0, 0, ErrUncommittedFull
	}
	g.appendOwn(kind, data)
	return g.log.last(), g.term, nil
}

func (g *Group) appendOwn(kind EntryKind, data []byte) {
	e := Entry{Index: g.log.last() + 1, Term: g.term, Kind: kind, Data: data}
	g.uncommitted += e.size()
	g.appendEntry(e)
	if self := g.peer(g.cfg.ID); self != nil {
		self.next = e.Index + 1
		if planted.On(planted.LeaderCountsUnsynced) {
			self.match = e.Index
		}
	}
	g.sendDue = true
}

// appendEntry is the only way into the log besides a snapshot.
func (g *Group) appendEntry(e Entry) {
	g.log.append(e)
	if e.Kind == KindConf {
		g.confAppended(&e)
	}
}

func (g *Group) sendAppends(rd *Ready) {
	for i := range g.peers {
		if p := &g.peers[i]; p.id != g.cfg.ID {
			g.sendTo(rd, p)
		}
	}
}

// sendTo sends p all it may get now: entries while the window has room, and an append without
// entries where that is news (a higher commit index flows even when the window is full).
func (g *Group) sendTo(rd *Ready, p *progress) {
	l := &g.log
	for p.state != stateSnapshot && !p.waiting && !p.fetching {
		entries := p.next <= l.last() && !(p.state == stateReplicate && p.full(&g.cfg))
		news := p.due || p.state == stateProbe || !g.cfg.LazyCommit && min(l.commit, p.next-1) > p.sentCommit
		if !entries && !news {
			return
		}
		prevTerm, ok := g.prevTerm(p)
		if p.next < l.first && (entries || !ok) {
			g.fetch(rd, p)
			p.due = false
			return
		}
		m := Message{Type: MsgAppend, To: p.id, Index: p.next - 1, LogTerm: prevTerm, Commit: l.commit}
		bytes := 0
		if entries {
			start := len(rd.arena)
			rd.arena, bytes = l.slice(rd.arena, p.next, l.last(), g.cfg.MaxMessageBytes)
			m.Entries = rd.arena[start:len(rd.arena):len(rd.arena)]
		}
		g.stamp(&m)
		rd.Messages = append(rd.Messages, m)
		g.appendSent(p, &m, bytes)
	}
	p.due = false
}

// prevTerm returns the term of the entry before p.next, if it is known here. After an append it
// always is, even when the entry has left memory: a full window must not keep an empty append from
// going out, which may be all that shows that what fills the window was lost.
func (g *Group) prevTerm(p *progress) (uint64, bool) {
	if p.tail == p.next-1 && p.tail > 0 {
		return p.tailTerm, true
	}
	return g.log.term(p.next - 1)
}

// appendSent notes in p that m was sent.
func (g *Group) appendSent(p *progress, m *Message, bytes int) {
	last := m.Index + uint64(len(m.Entries))
	p.tail, p.tailTerm = m.Index, m.LogTerm
	if n := len(m.Entries); n > 0 {
		p.tail, p.tailTerm = last, m.Entries[n-1].Term
	}
	p.due = false
	p.sentCommit = max(p.sentCommit, min(m.Commit, last))
	if p.state == stateProbe {
		p.waiting = true
	} else if len(m.Entries) > 0 {
		p.sent(last, bytes)
	}
}

// fetch gets p what is not in memory: from the WAL by way of the shell, or as a snapshot where the
// WAL may have dropped it. A snapshot is only started to somebody who is there.
func (g *Group) fetch(rd *Ready, p *progress) {
	l := &g.log
	if p.next <= l.snapIndex {
		if !g.active(p) {
			return
		}
		meta := &SnapshotMeta{Index: l.snapIndex, Term: l.snapTerm, Conf: g.ConfAt(l.snapIndex).Conf}
		m := Message{Type: MsgSnapshot, To: p.id, Snapshot: meta}
		g.stamp(&m)
		rd.Messages = append(rd.Messages, m)
		p.become(stateSnapshot)
		p.pendingSnapshot = meta.Index
		return
	}
	p.fetching, p.fetchLo = true, p.next
	if _, ok := g.prevTerm(p); !ok {
		p.fetchLo-- // its term is needed, too
	}
	rd.Need = append(rd.Need, NeedEntries{To: p.id, Lo: p.fetchLo, Hi: l.first, MaxBytes: g.cfg.MaxMessageBytes})
}

// Supply answers a NeedEntries: entries from its Lo on. None: the WAL does not have them any more.
// Answers nobody waits for are ignored. The slice is not kept.
func (g *Group) Supply(to uint64, entries []Entry) {
	p := g.peer(to)
	if g.role != Leader || p == nil || !p.fetching || len(entries) > 0 && entries[0].Index != p.fetchLo {
		return
	}
	p.fetching = false
	g.sendDue = true
	if len(entries) == 0 {
		// The snapshot that replaced them goes out as soon as Compact has told of it; asked again
		// with the follower's next sign of life.
		p.probeFrom(p.next)
		p.waiting, p.due = p.next > g.log.snapIndex, false
		return
	}
	if last := entries[len(entries)-1].Index; last != entries[0].Index+uint64(len(entries)-1) || last > g.log.commit {
		panicf("raft: group %d: Supply(%d..%d) has gaps or goes beyond commit %d: a bug in the shell, report it", g.cfg.Group, entries[0].Index, last, g.log.commit)
	}
	// An acknowledgement that came meanwhile may have moved next beyond part of it, or all.
	prevTerm, ok := g.prevTerm(p)
	for len(entries) > 0 && entries[0].Index < p.next {
		if entries[0].Index == p.next-1 {
			prevTerm, ok = entries[0].Term, true
		}
		entries = entries[1:]
	}
	if !ok || len(entries) == 0 || entries[0].Index != p.next {
		p.due = true
		return
	}
	bytes := 0
	for i := range entries {
		bytes += entries[i].size()
	}
	m := Message{Type: MsgAppend, To: p.id, Index: p.next - 1, LogTerm: prevTerm, Commit: g.log.commit, Entries: append([]Entry(nil), entries...)}
	g.send(m)
	g.appendSent(p, &m, bytes)
}

// checkAppend refuses an append that contradicts what is committed.
func (g *Group) checkAppend(m *Message, diverged func(string, ...any) error) error {
	l := &g.log
	if t, ok := l.term(m.Index); ok && m.Index <= l.commit && t != m.LogTerm {
		return diverged("leader %d has entry %d of term %d, committed here with term %d", m.From, m.Index, m.LogTerm, t)
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index > l.commit {
			break
		}
		if t, ok := l.term(e.Index); ok && t != e.Term {
			return diverged("leader %d has entry %d of term %d, committed here with term %d", m.From, e.Index, e.Term, t)
		}
	}
	return nil
}

// handleAppend is paper figure 2, AppendEntries, steps 2 to 5.
func (g *Group) handleAppend(m *Message) {
	l := &g.log
	if m.Index < l.commit && !g.damaged {
		// Old or repeated. What is committed equals the leader's, whatever it asks about.
		g.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: l.commit})
		return
	}
	if m.Index >= l.first-1 && !l.matches(m.Index, m.LogTerm) || m.Index > l.last() {
		g.rejectAppend(m)
		return
	}
	end := m.Index + uint64(len(m.Entries))
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index < l.first || l.matches(e.Index, e.Term) || planted.On(planted.SuffixKept) && e.Index <= l.last() {
			continue // have it
		}
		if e.Index <= l.last() {
			g.truncate(e.Index)
		}
		g.appendEntry(*e)
	}
	g.matched(end)
	if planted.On(planted.CommitWithoutLeader) {
		g.commitTo(end)
	}
	g.commitTo(min(m.Commit, end))
	g.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: end, Damaged: g.damaged})
}

// rejectAppend says where to go on: the newest place that may agree with a leader that has a term of
// at most m.LogTerm at m.Index. Everything committed agrees, so it is never before that.
func (g *Group) rejectAppend(m *Message) {
	hint, term := g.log.backtrack(min(m.Index, g.log.last()), m.LogTerm)
	if hint < g.log.commit {
		hint = g.log.commit
		term, _ = g.log.term(hint)
	}
	g.send(Message{Type: MsgAppendResp, To: m.From, Index: m.Index, Reject: true, Hint: hint, LogTerm: term, Commit: g.log.commit, Damaged: g.damaged})
}

// truncate drops the log from index on: a leader has something else there (paper figure 2, step 3).
func (g *Group) truncate(index uint64) {
	g.log.truncate(index)
	g.durable.truncated(index)
	g.confTruncated(index)
	if g.healAt >= index {
		g.healAt = 0
	}
}

// matched notes that the log up to index equals the leader's, which is what heals a damaged group once
// it is durable: either everything it may have acknowledged is back, or a leader it had no part in
// electing has an entry of its own term here, and so had everything committed before.
func (g *Group) matched(index uint64) {
	if !g.damaged || g.healAt != 0 {
		return
	}
	t, ok := g.log.term(index)
	if g.damagedTo > 0 && index >= g.damagedTo || ok && t > g.damagedTerm {
		g.healAt = index
		g.maybeHeal()
	}
}

func (g *Group) maybeHeal() {
	if g.healAt != 0 && g.log.stable >= g.healAt {
		g.damaged, g.healAt = false, 0
	}
}

func (g *Group) commitTo(index uint64) {
	if index > g.log.commit {
		g.log.commit = index
	}
}

func (g *Group) handleAppendResp(m *Message) error {
	p := g.peer(m.From)
	if g.role != Leader || p == nil {
		return nil
	}
	if !m.Reject && m.Index > g.log.last() {
		return fmt.Errorf("%w: group %d: %d acknowledges entry %d, the log ends at %d", ErrInvalidMessage, g.cfg.Group, m.From, m.Index, g.log.last())
	}
	g.hear(p)
	if m.Damaged {
		g.suspect(p)
	}
	if m.Reject {
		g.handleReject(p, m)
		return nil
	}
	if p.acknowledged(m.Index) || p.state == stateProbe && p.match == m.Index {
		if p.state == stateProbe || p.state == stateSnapshot && p.match >= g.log.snapIndex {
			p.replicate()
		}
		if !g.cfg.LazyCommit || p.due || p.next <= g.log.last() { // else there is nothing that p could be sent
			g.sendDue = true
		}
		g.maybeCommit()
		g.maybeHandOver()
	}
	return nil
}

func (g *Group) handleReject(p *progress, m *Message) {
	hint := min(m.Hint, g.log.last())
	if m.LogTerm > 0 {
		h, t := g.log.backtrack(hint, m.LogTerm)
		if hint = h; t == 0 {
			// Our terms there have left memory. What the follower has committed agrees for sure.
			hint = min(h, m.Commit)
		}
	}
	if m.Damaged && p.state != stateSnapshot {
		// It lost what it had acknowledged, so nothing that it acknowledged counts any more. (That
		// it was counted until now is harmless: it does not vote before it has everything back.)
		p.match = 0
		if p.state == stateReplicate {
			p.probeFrom(min(m.Index, hint+1))
			g.sendDue = true
			return
		}
	}
	if p.rejected(m.Index, hint) {
		g.sendDue = true
	}
}

// suspect takes p for damaged until it answers, without that word, something that is sent from now on. A word to the
// contrary alone may be from another life: a node that left the group, forgot it, and is a member again under the same leader
// has answers on their way from when it was whole. One of them made it a voter of two (jepsen/sim, seed 403723).
//
// What is answered is a read round that nobody waits for, and that the next heartbeat carries.
func (g *Group) suspect(p *progress) {
	r := &g.reads
	if r.open == 0 {
		r.last++
		r.sent = r.last
	}
	p.damaged, p.proof = true, r.last
}

// heartbeat sends everybody a sign of life. Commit is limited to what the member has acknowledged:
// beyond that its log may not be ours.
func (g *Group) heartbeat(round uint64) {
	for i := range g.peers {
		if p := &g.peers[i]; p.id != g.cfg.ID {
			commit := min(p.match, g.log.commit)
			if planted.On(planted.HeartbeatCommits) {
				commit = g.log.commit
			}
			g.send(Message{Type: MsgHeartbeat, To: p.id, Commit: commit, Round: round})
		}
	}
}

func (g *Group) handleHeartbeat(m *Message) {
	if !g.damaged { // a damaged log may not be what the leader believes was acknowledged
		g.commitTo(m.Commit)
	}
	g.send(Message{Type: MsgHeartbeatResp, To: m.From, Round: m.Round, Damaged: g.damaged})
}

func (g *Group) handleHeartbeatResp(m *Message) error {
	p := g.peer(m.From)
	if g.role != Leader || p == nil {
		return nil
	}
	if m.Round > g.reads.sent {
		return fmt.Errorf("%w: group %d: %d confirms read round %d, the newest is %d", ErrInvalidMessage, g.cfg.Group, m.From, m.Round, g.reads.sent)
	}
	g.hear(p)
	switch {
	case m.Damaged:
		g.suspect(p)
	case m.Round >= p.proof:
		p.damaged, p.proof = false, 0
	}
	// Whatever was on its way may be lost. An append, if only an empty one, shows where we stand;
	// once per heartbeat period, not for every read round.
	if p.recheck && (p.match < g.log.last() || p.state == stateProbe || m.Damaged) {
		p.recheck, p.waiting = false, false
		p.due = true
		g.sendDue = true
	}
	if planted.On(planted.ReadRoundReused) {
		p.round = g.reads.sent
		g.confirmReads()
	}
	if m.Round > p.round {
		p.round = m.Round
		g.confirmReads()
	}
	return nil
}

// maybeCommit moves commit to what a quorum has, if that is of our term.
func (g *Group) maybeCommit() {
	index := g.conf().quorumIndex(func(id uint64) uint64 {
		if c := g.conf(); planted.On(planted.LearnerCounted) && len(c.Learners) > 0 {
			return max(g.peer(id).match, g.peer(c.Learners[0]).match)
		}
		return g.peer(id).match
	})
	if index <= g.log.commit {
		return
	}
	if t, ok := g.log.term(index); !ok || t != g.term && !planted.On(planted.CommitOldTerm) {
		return
	}
	for i := g.log.commit + 1; i <= index; i++ {
		g.uncommitted -= g.log.entry(i).size()
	}
	g.log.commit = index
	g.sendDue = g.sendDue || !g.cfg.LazyCommit
	g.confCommitted()
}

// ReportUnreachable says that messages to id were or may be lost (a broken connection): what was
// pipelined is not to be waited for.
func (g *Group) ReportUnreachable(id uint64) {
	p := g.peer(id)
	if g.role != Leader || p == nil || id == g.cfg.ID || p.state != stateReplicate {
		return
	}
	p.probeFrom(p.match + 1)
	g.sendDue = true
}
