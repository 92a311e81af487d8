package raft

import (
	"errors"
	"fmt"
)

// Config is what a group is told once. All limits are per group.
type Config struct {
	ID    uint64 // this node, not 0
	Group uint32 // copied into every message

	// ElectionTicks is the shortest time without a leader after which a follower campaigns; the real
	// one is drawn from [ElectionTicks, 2*ElectionTicks). It is also the period of the check-quorum
	// and the time after which a leadership transfer is given up. At least 2*HeartbeatTicks.
	ElectionTicks  int
	HeartbeatTicks int // a leader's period between heartbeats, at least 1

	MaxEntryBytes       int // longest Data of a proposal; 0 means no limit
	MaxUncommittedBytes int // bytes (data + 32 each) of entries not yet committed; 0 means no limit

	MaxInflightMsgs  int // appends on the way to one follower; 0 means 256
	MaxInflightBytes int // their bytes; 0 means 8 MiB. It caps throughput at this per round trip
	MaxMessageBytes  int // entries in one append, at least one is always sent; 0 means 64 KiB

	// RetainBytes is how much of the applied log stays in memory for followers that lag a little.
	// Nothing is kept while this node is the only member.
	RetainBytes int

	// LazyCommit: do not send an append whose only news is a higher commit index; the next append or
	// heartbeat carries it. Halves the messages under load; followers apply up to a heartbeat later.
	LazyCommit bool

	Rand func() uint64 // the only source of randomness (election timeouts)
}

func (c *Config) check() error {
	switch {
	case c.ID == 0:
		return errors.New("raft: Config.ID is 0")
	case c.HeartbeatTicks < 1:
		return errors.New("raft: Config.HeartbeatTicks must be at least 1")
	case c.ElectionTicks < 2*c.HeartbeatTicks:
		return fmt.Errorf("raft: Config.ElectionTicks %d must be at least twice HeartbeatTicks %d", c.ElectionTicks, c.HeartbeatTicks)
	case c.Rand == nil:
		return errors.New("raft: Config.Rand is nil")
	case c.MaxEntryBytes < 0 || c.MaxUncommittedBytes < 0 || c.MaxInflightMsgs < 0 ||
		c.MaxInflightBytes < 0 || c.MaxMessageBytes < 0 || c.RetainBytes < 0:
		return errors.New("raft: a limit in Config is negative")
	}
	if c.MaxInflightMsgs == 0 {
		c.MaxInflightMsgs = 256
	}
	if c.MaxInflightBytes == 0 {
		c.MaxInflightBytes = 8 << 20
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 64 << 10
	}
	return nil
}

// Restored is what recovery found on disk. The zero value with a Snapshot.Conf is a new group.
type Restored struct {
	HardState HardState

	// Snapshot is the newest durable snapshot; Index 0 means none, and then Conf is the membership
	// the group was founded with (empty on a node that is to be added later).
	Snapshot SnapshotMeta

	// Applied is how far the state machine already is: the snapshot, and the entries that recovery
	// replayed because they are known to be committed. AppliedTerm is the term of the entry there.
	// 0 means the snapshot's.
	Applied, AppliedTerm uint64

	// Confs are the memberships among the entries in (Snapshot.Index, Applied], ascending: one per
	// entry of KindConf that recovery replayed (DecodeConf of its data).
	Confs []ConfRecord

	// Entries are the log after Applied. The slice is copied, the data referenced.
	//
	// A first entry older in term than what precedes it is left over from a log that a snapshot
	// replaced (the WAL only truncated its front): it and what follows is dropped. That is exact: had
	// such an entry followed the snapshot's, its term could not be lower; and had a leader of a later
	// term extended the replaced log, that leader would have had the committed snapshot's entry instead.
	Entries []Entry

	// Damaged: the log was found rotten below the durable mark and Entries end before the rot. The
	// group neither votes nor campaigns until it has fetched the log up to DamagedTo (the last index
	// it may ever have acknowledged) from a leader. DamagedTo 0 means not known: then only an entry
	// of a later term than HardState.Term heals it (ask the leader for a transfer to get one).
	// A restart before Status().Damaged is false is damaged again: the shell keeps that note itself.
	//
	// HardState must be the newest that ever was durable: a vote forgotten is a vote given twice. A node
	// that may have lost its hard state is not damaged but wiped: it needs a new incarnation (another
	// ID) and comes back as a learner.
	Damaged   bool
	DamagedTo uint64
}
