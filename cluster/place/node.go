package place

import (
	"fmt"
)

const (
	// Shards is the number of groups that hold contexts. shard.Shards is the same number; it is fixed for ever.
	Shards = 256
	// Group is the placement group, whose state is the Map.
	Group = Shards

	// MaxNodes bounds the nodes that are in the cluster at a time. 64 keeps the map below 60 KiB, one page of a
	// status answer, and below what one raft message carries.
	MaxNodes = 64
	// MaxRemoved bounds the tombstones: nodes that left, newest kept. They exist for a clear answer to a node
	// that comes back; an id below NextID that is not in the map was removed, too.
	MaxRemoved = 64
	// MaxName, MaxIncarnation, MaxAddr and MaxClusterID bound the strings, in bytes. An address is host:port.
	MaxName        = 128
	MaxIncarnation = 64
	MaxAddr        = 255
	MaxClusterID   = 64

	// Replicas is how many copies a shard has where there are as many nodes.
	Replicas = 3
	// MaxReplicas bounds every set, the placement group's voters included.
	MaxReplicas = 5
)

// State says what a node is to the cluster. The numbers are on disk and on the wire: never reuse one.
type State uint8

const (
	// Active nodes hold replicas.
	Active State = 1
	// Draining nodes serve what they hold and hand it to others.
	Draining State = 2
	// Removed nodes are gone for good: their id never comes back.
	Removed State = 3
)

func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Draining:
		return "draining"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Node is one incarnation of one data directory.
type Node struct {
	ID          uint64 `json:"id"` // raft id; given once, never reused, not 0
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	Addr        string `json:"address"` // where peers reach it, host:port; empty once removed
	State       State  `json:"state"`
}

// Member reports whether the node is part of the cluster.
func (n *Node) Member() bool { return n.State == Active || n.State == Draining }

func checkStrings(name, incarnation, addr string) error {
	if err := checkString("node name", name, MaxName); err != nil {
		return err
	}
	if err := checkString("incarnation", incarnation, MaxIncarnation); err != nil {
		return err
	}
	return checkString("address", addr, MaxAddr)
}

func checkString(what, s string, limit int) error {
	if s == "" || len(s) > limit {
		return fmt.Errorf("place: %s of %d bytes: use 1 to %d", what, len(s), limit)
	}
	return nil
}
