package shard

import "fastpaca/raft"

// MemberStatus is where one group stands on this node. Member fills it and reuses its memory.
type MemberStatus struct {
	Group     uint32
	ID        uint64 // this node
	Role      raft.Role
	Leader    uint64 // 0: unknown
	Term      uint64
	Commit    uint64
	Applied   uint64
	Last      uint64 // end of the log
	Snapshot  uint64 // index of the newest durable snapshot
	Conf      raft.Conf
	ConfIndex uint64 // of the entry that put Conf in force
	// ConfCommitted: Conf is permanent. While it is not, ProposeConf answers raft.ErrConfPending.
	ConfCommitted bool
	Transferee    uint64            // leadership is being handed to it; 0: to nobody
	Peers         []raft.PeerStatus // all members, this node included, by id; only where this node leads
	Stopped       bool              // the group diverged (raft.ErrDiverged) and takes part in nothing any more
}
