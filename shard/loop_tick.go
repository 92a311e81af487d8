package shard

import "fastpaca/raft"

// tick advances the clocks of all groups and answers requests whose time is up.
func (l *loop) tick() {
	l.now++
	stalled := l.node.stalled.Load()
	release := l.now%retainTicks == 0
	for _, g := range l.groups {
		if !g.stopped {
			l.tickGroup(g, stalled)
		}
		if g.pending.size > 0 {
			g.pending.expire(l.now, l.late)
			if !g.raft.IsLeader() {
				g.pending.forget(g.raft.Status().Stable, l.release)
			}
		}
		if len(g.reads.list) > 0 {
			g.reads.expire(l.now)
		}
		if len(g.waits) > 0 {
			g.waits = expired(g.waits, l.now)
		}
		if release && g.oldApplied != g.applied {
			g.raft.Release(g.oldApplied)
			g.oldApplied = g.applied
		}
		l.touchReady(g)
		l.catchUp(g)
		g.maybeSnapshot()
		g.maybeSpill()
		g.sweep()
	}
}

// tickGroup advances raft's clock, but not where an election could only lead to a vote that the disk does not take.
func (l *loop) tickGroup(g *group, stalled bool) {
	leads := g.raft.IsLeader()
	switch {
	case stalled && leads && !g.raft.SoleVoter():
		l.retire(g)
	case stalled && !g.raft.SoleVoter():
		return
	case g.retireAt != 0:
		g.retireAt = 0
	}
	if g.unsaved == 0 {
		if l.now%int64(l.node.opt.HeartbeatTicks) == 0 {
			g.raft.Beat() // all leaders at the same tick: one frame for each node, and ticks without any in between
		}
		g.raft.Tick()
	}
	if g.campaignAt != 0 && g.campaignAt <= l.now {
		g.campaignAt = 0
		if g.raft.Leader() == 0 {
			g.raft.Campaign()
		}
	}
}

// retire gives the leadership away, because this node's disk hangs: the others can do without its fsync as long as they
// are a quorum, but not for long, since nothing here bounds what would queue for the disk. First by a transfer to the voter
// that has most, which costs the clients next to nothing; where that does not work within an election timeout, by
// following, so that the others elect somebody by themselves.
func (l *loop) retire(g *group) {
	if g.retireAt != 0 {
		if l.now >= g.retireAt {
			g.retireAt = 0
			g.raft.StepDown()
			l.node.stats.retired.Add(1)
		}
		return
	}
	g.retireAt = l.now + int64(l.node.opt.ElectionTicks)
	l.peers = g.raft.Peers(l.peers[:0])
	best := raft.PeerStatus{}
	for _, p := range l.peers {
		if p.ID != l.node.opt.ID && !p.Learner && p.Active && (best.ID == 0 || p.Match > best.Match) {
			best = p
		}
	}
	if best.ID != 0 {
		_ = g.raft.Transfer(best.ID) // it is a voter and this node leads
	}
}
