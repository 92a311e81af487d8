package shard

import (
	"errors"
	"fmt"
	"sync/atomic"

	"fastpaca/raft"
)

// entryOverhead is about what the WAL adds to an entry's data; it only steers when snapshots are due.
const entryOverhead = 48

// group is one raft group on this node: its consensus, its state machine, and what waits between the two.
// Everything but the atomics belongs to the loop.
type group struct {
	id      uint32
	loop    *loop
	raft    *raft.Group
	machine *Machine  // nil for the placement group
	place   Placement // its state machine; nil for shards
	pending pending
	reads   readQueue
	waits   []*readWait // for the state machine to get somewhere
	dirty   bool
	hurry   bool // apply what waits, see late.go
	stopped bool // diverged, or its log cannot hold an entry: takes part in nothing any more
	unsaved int  // hard states on their way to the disk. Until they are there the group's clock stands still: on a
	// full or hanging disk every election would only queue one more vote
	lastMs     int64 // newest time given to a command of this shard
	campaignAt int64 // tick at which to look for another leader; 0: the election timeout decides
	retireAt   int64 // tick at which to stop leading for good, the disk hanging; 0: it does not
	heardAt    int64 // tick at which a leader was heard of; 0: never
	oldApplied uint64
	leftTo     uint64 // end of the log when this node forgot the group, 0 if it never did, or has made up for it (KeepHealed)

	applied, appliedTerm uint64
	logBytes             int64 // log written since the last snapshot began
	lateBytes            int64 // log written since entries were applied last
	snap                 snapState
	spilling             bool   // queued for the spiller, or being spilled
	parking              bool   // queued for the parker, or being parked
	quietApplied         uint64 // applied at tick quietSince, and still
	quietSince           int64
	sweepDue             int64     // contexts that the sweep owes, times its period in ticks
	receiving            bool      // a snapshot and its history are arriving; the spiller leaves the group alone
	healing              bool      // damaged history is being fetched: nobody else is to wait for the group's history files
	incoming             *received // the snapshot that raft is about to be told of

	// live is machine, for readers.
	live atomic.Pointer[Machine]
	// serving: leads, is the only voter and has an entry of its term applied: reads need no round.
	serving     atomic.Bool
	leads       atomic.Bool
	member      atomic.Bool // of the newest membership
	marked      atomic.Bool // leftTo > 0
	leaderNow   atomic.Uint64
	appliedNow  atomic.Uint64
	termNow     atomic.Uint64
	stateBytes  atomic.Int64
	memoryBytes atomic.Int64
}

// publishRole makes what others need to know of raft visible to them.
//
// A sole voter that leads and has applied an entry of its own term serves linearizable reads by itself:
// nobody else can commit anything, and everything committed before its term is applied below that entry. A
// membership with a second voter is in force when it is appended; this runs in the same drive and before any message
// of it leaves the node, so that serving ends before anybody else can vote on anything.
func (g *group) publishRole() {
	term, leads := g.raft.Term(), g.raft.IsLeader() && !g.stopped
	if g.termNow.Load() != term {
		g.termNow.Store(term)
	}
	g.appliedNow.Store(g.applied)
	if serves := leads && g.appliedTerm == term && g.raft.SoleVoter(); g.serving.Load() != serves {
		g.serving.Store(serves)
	}
	if g.leads.Load() != leads {
		g.leads.Store(leads)
	}
	if in := g.raft.Member() && !g.stopped; g.member.Load() != in {
		g.member.Store(in)
	}
	leader := g.raft.Leader()
	if g.stopped {
		leader = 0
	}
	if g.leaderNow.Load() != leader {
		g.leaderNow.Store(leader)
		g.loop.node.leaders.changed()
	}
}

// apply runs one command through the state machine.
func (g *group) apply(index uint64, cmd []byte, res *Result) error {
	if g.place == nil {
		return g.machine.Apply(index, cmd, res)
	}
	code, err := g.place.Apply(index, cmd)
	*res = Result{Code: code}
	return err
}

// bytes estimates what a snapshot of the state takes.
func (g *group) bytes() int64 {
	if g.machine == nil {
		return 0
	}
	return g.machine.StateBytes()
}

// setMachine puts m in the place of the state that was, for the loop and for readers.
func (g *group) setMachine(m *Machine) {
	m.OnPublish(g.loop.node.hub.changed)
	m.KeepTail(uint64(g.loop.node.opt.TailKeep))
	m.parking.replay = false
	g.machine = m
	g.live.Store(m)
	g.lastMs = max(g.lastMs, m.LastMs())
}

// codeOfPropose says what the caller is told about a proposal that raft did not take. Nothing was written
// in any of these cases.
func (n *Node) codeOfPropose(err error) Code {
	var notLeader *raft.NotLeaderError
	switch {
	case errors.As(err, &notLeader), errors.Is(err, raft.ErrTransferring):
		return n.notLeader()
	case errors.Is(err, raft.ErrUncommittedFull):
		return CodeOverloaded
	case errors.Is(err, raft.ErrTooLarge):
		return CodeTooLarge
	default:
		return CodeUnavailable
	}
}

// notLeader is the answer where this node does not lead. Without a transport nobody else could, so that there is no
// point in looking further.
func (n *Node) notLeader() Code {
	if n.opt.Transport == nil {
		return CodeUnavailable
	}
	return CodeNotLeader
}

// groupName is how operators know the group.
func groupName(id uint32) string {
	if id == PlacementGroup {
		return "the placement group"
	}
	return fmt.Sprintf("shard %d", id)
}

// fatalApply is the error that stops a node which meets a log entry it does not understand, or cannot apply because the
// context is on a disk that does not give it back. Skipping it would let this replica's state differ from the others' for
// ever.
func fatalApply(id uint32, index uint64, err error) error {
	var unread *RecordError
	if errors.As(err, &unread) {
		return fmt.Errorf("%s cannot apply the log entry at index %d: %w", groupName(id), index, err)
	}
	return fmt.Errorf("%s cannot apply the log entry at index %d: %w; the entry was written by a newer version or is damaged: "+
		"start the version that wrote it, or restore this node's data directory from a replica", groupName(id), index, err)
}
