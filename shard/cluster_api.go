package shard

import (
	"errors"
	"io"
	"time"

	"fastpaca/raft"
)

var errNotBuilt = errors.New("shard: not built yet")

// Deliver takes messages of node from.
func (n *Node) Deliver(from uint64, msgs []raft.Message) {}

// Unreachable says that a connection to id was lost: what was on its way to it may be lost, too.
func (n *Node) Unreachable(id uint64) {}

// PeerDown says that the process of id is gone for sure: groups that it led look for another leader soon.
func (n *Node) PeerDown(id uint64) {}

// OpenSnapshot opens the newest durable snapshot of group that covers at least index.
func (n *Node) OpenSnapshot(group uint32, index uint64) (raft.SnapshotMeta, int64, io.ReadCloser, error) {
	return raft.SnapshotMeta{}, 0, nil, errNotBuilt
}

// ReceiveSnapshot blocks until the snapshot m.Snapshot, whose bytes r holds, is installed or refused.
func (n *Node) ReceiveSnapshot(m raft.Message, r io.Reader) error { return errNotBuilt }

// ReportSnapshot says how the sending that SendSnapshot asked for ended.
func (n *Node) ReportSnapshot(group uint32, to uint64, ok bool) {}

// Leader returns the known leader of group and the term, 0 if it is not known.
func (n *Node) Leader(group uint32) (id, term uint64) { return 0, 0 }

// LeaderChanged returns a channel that is closed at the next change of any group's known leader.
func (n *Node) LeaderChanged() <-chan struct{} { return nil }

// Submit is Do without waiting: r.Done(r) is called when the outcome is known, by the loop, or before Submit returns
// if the request is refused at once. It must not block.
func (n *Node) Submit(group uint32, r *Request) {}

// Barrier returns an index such that a state machine which has applied it shows every write acknowledged before the call.
func (n *Node) Barrier(group uint32) (index uint64, code Code) { return 0, CodeUnavailable }

// WaitApplied waits until this node has applied group's log up to index.
func (n *Node) WaitApplied(group uint32, index uint64, timeout time.Duration) Code {
	return CodeUnavailable
}

// Replica returns the local replica's context, whatever this node's role.
func (n *Node) Replica(id []byte) (*Context, Code) { return nil, CodeUnavailable }

// ProposeConf changes the membership of a group that this node leads. It returns when the change is in the log.
func (n *Node) ProposeConf(group uint32, cc raft.ConfChange) error { return errNotBuilt }

// Transfer hands the leadership of group to another voter.
func (n *Node) Transfer(group uint32, to uint64) error { return errNotBuilt }

// Member fills dst with where group stands on this node.
func (n *Node) Member(group uint32, dst *MemberStatus) {}

// Forget drops the state, log and snapshots of a group that this node is no member of any more.
func (n *Node) Forget(group uint32) error { return errNotBuilt }

// Replaced says that a snapshot from the leader replaced the shard's state: look the context up again.
func (c *Context) Replaced() bool { return false }

// StepLoops lets every loop work off its mail once, in order. Manual mode only, as the other Steps.
func (n *Node) StepLoops() (worked bool) { return false }

// StepWAL runs the log's writer and background work once.
func (n *Node) StepWAL() (worked bool) { return false }

// StepSnapshots does one piece of the background work of snapshots and of reads from the log.
func (n *Node) StepSnapshots() (worked bool) { return false }

// TickAll gives every loop a tick, as the ticker would every 50 ms.
func (n *Node) TickAll() {}
