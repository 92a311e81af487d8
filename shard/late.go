package shard

// A replica that follows applies late, some entries of a group at once: of an entry by itself, most of the work is to fetch
// what it touches into the processor's caches, its group, its machine, often its context (a tenth of the processor time of three busy
// nodes, PERF.md "Three nodes"). Nobody waits for it: an append is answered by the leader, and what is committed is in the log.
// Where somebody does, a stream or a read on this node, the group applies at once. So it does where it has nothing yet: Replica
// takes such a replica for one that is still being filled, and sends streams elsewhere.
const (
	// lateEntries is how many committed entries may wait, as many as a new leader has to apply before it serves: some 50 us.
	lateEntries = 64
	// lateBytesMax is how much log may come meanwhile: it stays in memory until it is applied.
	lateBytesMax = 64 << 10
	// lateTicks is how long they may wait, so that a quiet replica is up to date and its log can be cut.
	lateTicks = 4
)

// lateness is how many committed entries of g may wait to be applied. Those of a leader never do.
func (g *group) lateness() int {
	if g.machine == nil || g.applied == 0 || g.hurry || len(g.waits) > 0 || g.pending.size > 0 || g.lateBytes > lateBytesMax || g.machine.watched.Load() > 0 {
		return 0
	}
	return lateEntries
}

// catchUp has what waits applied, where its time has come. The groups take turns.
func (l *loop) catchUp(g *group) {
	if !g.raft.Behind() || g.stopped {
		return
	}
	g.hurry = g.hurry || (l.now+int64(g.id))%lateTicks == 0
	if g.lateness() == 0 {
		l.touch(g)
	}
}
