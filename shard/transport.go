package shard

import "fastpaca/raft"

// PlacementGroup is the group behind the shards: it decides which nodes hold which shard, and a Placement is its
// state machine. groupCount is how many groups a node drives and its log has room for.
const (
	PlacementGroup = Shards
	groupCount     = Shards + 1
)

// Transport carries messages to other nodes. Its methods never block, may be called by several loops at once, and
// drop what cannot be sent: raft sends again.
type Transport interface {
	// Send: msgs and their Entries slices are valid during the call only; the entries' Data is immutable and may be
	// kept. Messages to one node keep their order. MsgSnapshot never comes this way.
	Send(msgs []raft.Message)
	// SendSnapshot streams a snapshot to m.To in the background: Node.OpenSnapshot(m.Group, m.Snapshot.Index, m.Term) gives
	// the bytes and the meta data to send with them. Exactly one Node.ReportSnapshot follows, whatever happens.
	SendSnapshot(m raft.Message)
}

// Flusher is a Transport for which Request.Done may leave something (the answer to another node's request): every pass of a
// loop ends with Flush, which does not block.
type Flusher interface{ Flush() }

// Placement is the state machine of PlacementGroup. Open calls it from a goroutine of its own while it recovers; after
// that only the group's loop does, one call at a time, but for Check, which is called by any goroutine.
type Placement interface {
	// Apply runs a committed command; equal logs must give equal states. CodeConflict: a compare-and-set failed and
	// nothing changed. An error (a command that this version does not know) stops the node. cmd is not to be kept.
	Apply(index uint64, cmd []byte) (Code, error)
	// AppendSnapshot appends the state to dst. Equal states give equal bytes.
	AppendSnapshot(dst []byte) []byte
	// Load replaces the state by one that AppendSnapshot wrote; snapshot is not to be kept.
	Load(snapshot []byte) error
	// Check says whether Load would take the snapshot, and changes nothing.
	Check(snapshot []byte) error
}
