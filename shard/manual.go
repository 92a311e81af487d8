package shard

// In manual mode nothing happens but in these calls, in Open, Submit, SubmitBarrier, ReceiveSnapshot, Member, ProposeConf,
// Transfer, Forget and Close, all of which the owner makes from one goroutine. What blocks elsewhere (Do, a Read of a
// group with several voters, Barrier, WaitApplied) must not be used: nobody would ever answer.

// StepLoops lets every loop work off its mail once, in order, and wakes streams. False: there was none.
func (n *Node) StepLoops() (worked bool) {
	for _, l := range n.loops {
		if l.box.waits() {
			l.token.Lock()
			l.pass()
			l.token.Unlock()
			worked = true
		}
	}
	return n.hub.step() || worked
}

// StepWAL runs the log's writer and its background work once.
func (n *Node) StepWAL() (worked bool) { return n.wal.Step() }

// StepSnapshots does one piece of the background work of snapshots, one of history files, one of parking files, and one read
// of entries for a lagging follower.
func (n *Node) StepSnapshots() (worked bool) {
	fetched := n.fetcher.step()
	spilled := n.spills.step()
	parked := n.parks.step()
	healed := n.heals.step()
	return n.snaps.step() || fetched || spilled || parked || healed
}

// TickAll gives every loop a tick, as the ticker would every 50 ms.
func (n *Node) TickAll() { n.tick() }

// finish lets what is under way come to its end, as far as this node can by itself.
func (n *Node) finish() {
	for n.StepLoops() || n.StepWAL() {
		continue
	}
	for _, l := range n.loops {
		l.abandon()
	}
}
