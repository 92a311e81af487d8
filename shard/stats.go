package shard

import (
	"sync/atomic"
	"time"

	"fastpaca/shard/history"
	"fastpaca/wal"
)

// stats counts what the node does, for /metrics.
type stats struct {
	timeouts       atomic.Uint64
	stateBytes     atomic.Int64 // of all contexts, wherever they are
	memoryBytes    atomic.Int64 // of those in memory
	snapshots      atomic.Uint64
	snapshotErrors atomic.Uint64
	snapshotBytes  atomic.Uint64
	historyErrors  atomic.Uint64
	healed         atomic.Uint64
	parks          atomic.Uint64
	parkErrors     atomic.Uint64

	invalid           atomic.Uint64
	dropped           atomic.Uint64
	diverged          atomic.Uint64
	retired           atomic.Uint64
	snapshotsSent     atomic.Uint64
	snapshotsReceived atomic.Uint64
	receiveErrors     atomic.Uint64
}

// ReplayStats says what the last start read and how long it took.
type ReplayStats struct {
	Snapshots     int
	SnapshotBytes int64 // of snapshot files read
	LogBytes      int64 // of commands in the log
	Entries       uint64
	Took          time.Duration
}

// Stats are the node's counters since the start, and a few gauges.
type Stats struct {
	WAL wal.Stats

	InflightBytes  int64  // commands between arrival and apply
	StateBytes     int64  // of all contexts, as held in memory
	Timeouts       uint64 // writes whose outcome was not known in time
	Snapshots      uint64
	SnapshotErrors uint64
	SnapshotBytes  uint64 // written to snapshot files
	History        history.Stats
	HistoryErrors  uint64
	Contexts       int64  // that this node has, tombstones included
	Parked         int64  // of those, that are on disk only
	ParkedBytes    int64  // of their states
	HistoryHealed  uint64 // times that a shard's history was made whole by what other replicas have
	Parks          uint64 // contexts written to parking files
	ParkErrors     uint64
	Leading        int // groups that this node leads
	LeaderUnknown  int // groups that it is a member of and knows no leader of

	Commit Latency // of requests that this node proposed, from the proposal to the commit
	Apply  Latency // of each run of committed entries through a state machine

	InvalidMessages   uint64 // that no correct peer sends, dropped
	DroppedMessages   uint64 // for want of room, or because the disk hangs; raft sends them again
	Diverged          uint64 // groups stopped because a peer's history contradicts what is on this disk
	Retired           uint64 // leaderships given up because the disk hangs
	SnapshotsSent     uint64 // to other nodes, begun
	SnapshotsReceived uint64 // from other nodes, installed
	ReceiveErrors     uint64

	Elections uint64 // sum of the terms of all shards
	Applied   uint64 // sum of the applied indexes of all shards
	Replay    ReplayStats
}

// Stats fills s. It takes no lock that a request waits for.
func (n *Node) Stats(s *Stats) {
	*s = Stats{
		InflightBytes:  n.inflight.Load(),
		StateBytes:     n.stats.memoryBytes.Load(),
		HistoryHealed:  n.stats.healed.Load(),
		Parks:          n.stats.parks.Load(),
		ParkErrors:     n.stats.parkErrors.Load(),
		Timeouts:       n.stats.timeouts.Load(),
		Snapshots:      n.stats.snapshots.Load(),
		SnapshotErrors: n.stats.snapshotErrors.Load(),
		SnapshotBytes:  n.stats.snapshotBytes.Load(),
		Replay:         n.replay,

		InvalidMessages: n.stats.invalid.Load(), DroppedMessages: n.stats.dropped.Load(),
		Diverged: n.stats.diverged.Load(), Retired: n.stats.retired.Load(),
		SnapshotsSent: n.stats.snapshotsSent.Load(), SnapshotsReceived: n.stats.snapshotsReceived.Load(),
		ReceiveErrors: n.stats.receiveErrors.Load(),
	}
	n.wal.Stats(&s.WAL)
	for _, l := range n.loops {
		l.commits.add(&s.Commit)
		l.applies.add(&s.Apply)
	}
	n.history.Stats(&s.History)
	s.HistoryErrors = n.stats.historyErrors.Load()
	for _, g := range n.groups {
		if g == nil {
			continue
		}
		if g.leads.Load() {
			s.Leading++
		}
		if g.member.Load() && g.leaderNow.Load() == 0 {
			s.LeaderUnknown++
		}
		if m := g.live.Load(); m != nil {
			parked, bytes := m.Parked()
			s.Contexts += int64(m.Len())
			s.Parked += parked
			s.ParkedBytes += bytes
		}
		s.Elections += g.termNow.Load()
		s.Applied += g.appliedNow.Load()
	}
}

// Status is where every shard of the node stands, for /v1/cluster.
type Status struct {
	Groups []GroupStatus // one per shard, in shard order
}

// GroupStatus is where one shard stands on this node. A shard that is electing has Leading false.
type GroupStatus struct {
	Shard   uint32
	Leading bool   // this node leads it
	Leader  uint64 // raft id of who does; 0: not known
	Member  bool   // this node has a replica
	Term    uint64
	Applied uint64
}

// Status reports every shard.
func (n *Node) Status() Status {
	st := Status{Groups: make([]GroupStatus, 0, Shards)}
	for _, g := range n.groups[:Shards] {
		st.Groups = append(st.Groups, GroupStatus{
			Shard: g.id, Leading: g.leads.Load(), Leader: g.leaderNow.Load(), Member: g.member.Load(),
			Term: g.termNow.Load(), Applied: g.appliedNow.Load(),
		})
	}
	return st
}
