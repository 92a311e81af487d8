package cluster

import (
	"errors"

	"fastpaca/cluster/peer"
)

// Incoming is a call of another node that may be answered without a goroutine of its own.
type Incoming = peer.Incoming

// Caller is where the answer to an Incoming goes.
type Caller = peer.Caller

// Kinds of calls between nodes (the kind byte of peer.Transport.Call). The numbers are on the wire: never reuse one.
const (
	// KindHTTP carries a request that httpd encoded to the leader of its shard. The answer begins with one of
	// the bytes below.
	KindHTTP uint8 = 1
	// KindBarrier asks the leader of a group for a read index. Request: group u32; answer: shard.Code u8, index u64; all
	// little endian.
	KindBarrier uint8 = 2
	// KindPropose carries a command of the placement group to its leader. Request: the command; answer: a decision (decide.go).
	KindPropose uint8 = 3
	// KindJoin carries a join to the leader of the placement group. Request and answer: see joinAnswer.
	KindJoin uint8 = 4
	// KindDrain carries drain and undrain to the leader of the placement group. Request: 1 or 0, the node's name;
	// answer: a decision.
	KindDrain uint8 = 5
	// KindReport asks a node how the groups that it leads are doing. Request: nothing; answer: a report (report.go).
	KindReport uint8 = 6
	// KindMembers asks the leader of a group for its membership. Request: group u32; answer: see forget.go.
	KindMembers uint8 = 7
)

// The first byte of an answer to a forwarded request (KindHTTP).
const (
	AnswerDone      byte = 0 // httpd's own encoding of status, headers and body follows
	AnswerNotLeader byte = 1 // nothing was written; nothing follows
)

// Errors of Drain and Undrain, and of the answers that depend on them.
var (
	// ErrNoSuchNode: the cluster has no node of that name.
	ErrNoSuchNode = errors.New("no node of the cluster has this name")
	// ErrUnavailable: the placement group has no leader at the moment, or this node has no cluster yet. Try again.
	ErrUnavailable = errors.New("the placement group has no leader at the moment")
	// ErrTooFew: the drain would leave no active node.
	ErrTooFew = errors.New("it is the last active node")
)
