package shard

import (
	"errors"
	"fmt"
	"sync/atomic"

	"fastpaca/raft"
)

// entryOverhead is about what the WAL adds to an entry's data; it only steers when snapshots are due.
const entryOverhead = 48

// group is one shard on this node: its consensus, its state machine, and what waits between the two.
// Everything but the atomics belongs to the loop.
type group struct {
	id      uint32
	loop    *loop
	raft    *raft.Group
	machine *Machine
	pending pending
	dirty   bool
	unsaved int // hard states on their way to the disk. Until they are there the group's clock stands still: on a
	// full or hanging disk every election would only queue one more vote
	lastMs int64 // newest time given to a command of this shard

	applied, appliedTerm uint64
	logBytes             int64 // log written since the last snapshot began
	snap                 snapState

	serving    atomic.Bool // leads alone, with an entry of its term applied: reads need no round
	appliedNow atomic.Uint64
	termNow    atomic.Uint64
	stateBytes atomic.Int64
}

// publishRole makes what readers need to know of raft visible to them.
//
// A sole voter that leads and has applied an entry of its own term serves linearizable reads by itself:
// nobody else can commit anything, and everything committed before its term is applied below that entry.
func (g *group) publishRole() {
	term := g.raft.Term()
	g.termNow.Store(term)
	g.appliedNow.Store(g.applied)
	g.serving.Store(g.raft.IsLeader() && g.appliedTerm == term)
}

// codeOfPropose says what the client is told about a proposal that raft did not take. Nothing was written
// in any of these cases.
func codeOfPropose(err error) Code {
	var notLeader *raft.NotLeaderError
	switch {
	case errors.As(err, &notLeader):
		return CodeUnavailable
	case errors.Is(err, raft.ErrUncommittedFull):
		return CodeOverloaded
	case errors.Is(err, raft.ErrTooLarge):
		return CodeTooLarge
	default:
		return CodeUnavailable
	}
}

// fatalApply is the error that stops a node which meets a log entry it does not understand. Skipping it
// would let this replica's state differ from the others' for ever.
func fatalApply(id uint32, index uint64, err error) error {
	return fmt.Errorf("shard %d cannot apply the log entry at index %d: %w; the entry was written by a newer version or is damaged: "+
		"start the version that wrote it, or restore this node's data directory from a replica", id, index, err)
}
