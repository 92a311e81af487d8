package shard

import (
	"math/rand/v2"
	"runtime"
	"time"

	"fastpaca/raft"
	"fastpaca/wal"
)

// tickInterval is the grain of elections, heartbeats and request deadlines.
const tickInterval = 50 * time.Millisecond

// Defaults of Options. A leader that is lost is replaced after 12 to 24 ticks, 600 ms to 1.2 s, and one round of votes: within
// the 2.5 s for which a request waits for a leader. Six heartbeats may be lost or late before that, so that a pause of
// the process of half a second, which a busy machine brings, does not cost an election.
const (
	electionTicks  = 12
	heartbeatTicks = 2
)

// What one group may hold in memory and on its way, besides its state.
const (
	// retainBytes of the applied log stay in memory, so that a follower which is a few round trips behind is not served
	// from the disk: a millisecond of a group that writes 100 MB/s. 257 groups keep 32 MiB at most.
	retainBytes = 128 << 10
	// retainTicks is the least age, in ticks, at which they leave all the same: the entries of a quiet group would otherwise
	// each pin the block of memory that they share with those of busy groups (arena).
	retainTicks = 10
	// windowBytes of appends are on their way to one follower unanswered, windowMessages at most: 1 MiB per round trip is
	// 500 MB/s at 2 ms. A follower that does not answer keeps no more than that of each group in its buffers.
	windowBytes    = 1 << 20
	windowMessages = 256
	// messageBytes of entries make one append, if it has more than one.
	messageBytes = 64 << 10
)

// Options configure a Node. The zero value of a field means its default.
type Options struct {
	Dir string // data directory; required
	FS  wal.FS // default: the operating system's

	ID        uint64                       // raft id of this node, never 0; default 1
	Genesis   func(group uint32) raft.Conf // the membership that group was founded with, empty where this node joined later; default: ID alone
	Transport Transport                    // default: none, this node has no peers
	Placement Placement                    // state machine of PlacementGroup; default: none, the group is not driven

	ElectionTicks  int // least time without a leader before a campaign, in ticks of 50 ms; default 12
	HeartbeatTicks int // default 2

	// Manual: no goroutine runs after Open; the owner calls StepLoops, StepWAL, StepSnapshots and TickAll, all from
	// one goroutine, and uses Submit. Equal inputs in equal order then give equal outputs.
	Manual bool

	Loops          int           // default GOMAXPROCS/2, at least 1
	RequestTimeout time.Duration // how long a write may wait for its quorum; default 5 s
	InflightBytes  int64         // commands between arrival and apply, all shards; default 32 MiB; past it: overloaded
	MemoryBytes    int64         // message bytes held in memory; past it appends answer storage_full; default: no limit

	MaxCommandBytes int // largest command; default 9 MiB, room for a body of 8 MiB; at most InflightBytes and about SegmentBytes/2

	MessageBytes int // of entries in one append to a follower, if it has more than one; default 64 KiB
	RetainBytes  int // of a group's applied log in memory, for followers that are a little behind; default 128 KiB

	SegmentBytes  int64 // of the WAL; default 64 MiB
	WALSoftBytes  int64 // live log that asks for snapshots; default 1 GiB
	WALHardBytes  int64 // live log past which appends answer storage_full; default 16 GiB
	SnapshotBytes int64 // least log of a shard before a snapshot of it is due; default 4 MiB

	// TailKeep is how many messages of a context stay in memory at least; once there are twice as many, older ones go to
	// history files. Default: all stay. SpillBytes is what could leave a shard's memory before it does; default 1 MiB.
	TailKeep   int
	SpillBytes int64

	// ParkAfter is for how long a context may go untouched before it leaves memory; some take twice as long. Whatever touches
	// it brings it back. Default: never.
	ParkAfter time.Duration

	// FetchMessages asks another replica for messages of a context (Node.Messages), for up to a few seconds: what a damaged
	// history file of this node should hold is fetched so. Called by one goroutine. Default: there is none; a damaged file
	// then stays an error.
	FetchMessages func(id []byte, from, to uint64, maxBytes int) (messages []byte, next uint64, err error)

	NowMs func() int64 // wall clock in milliseconds since 1970, which people may turn back; default the system's
	// Nanos is what waiting is measured with: nanoseconds since any moment, never less than before. Default: the process's
	// monotonic clock. With Manual, what is due by it (the log's retries, above all) is due only when it has gone on.
	Nanos func() int64
	Rand  func() uint64
	Fatal func(error)                        // the node cannot go on; must not return in the product; default panic
	Logf  func(event string, keyvals ...any) // lifecycle log; default silent

	// Applied is told of every committed entry right before it is applied, by the group's loop; with Manual also of
	// those that Open replays. For simulators: it must not keep e. Default: nobody.
	Applied func(group uint32, e *raft.Entry)
}

func (o *Options) setDefaults() {
	setDefault(&o.FS, wal.OS())
	setDefault(&o.ID, 1)
	setDefault(&o.ElectionTicks, electionTicks)
	setDefault(&o.HeartbeatTicks, heartbeatTicks)
	if o.Genesis == nil {
		alone := raft.Conf{Voters: []uint64{o.ID}}
		o.Genesis = func(uint32) raft.Conf { return alone.Clone() }
	}
	// Half of the processors: the other half parses, counts and answers. With two loops on two processors the
	// same load cost 7% more processor time (PERF.md): twice the wake-ups, batches half as large.
	setDefault(&o.Loops, max(1, runtime.GOMAXPROCS(0)/2))
	setDefault(&o.RequestTimeout, 5*time.Second)
	setDefault(&o.InflightBytes, 32<<20)
	setDefault(&o.MaxCommandBytes, 9<<20)
	setDefault(&o.MessageBytes, messageBytes)
	setDefault(&o.RetainBytes, retainBytes)
	setDefault(&o.SegmentBytes, 64<<20)
	setDefault(&o.WALSoftBytes, 1<<30)
	setDefault(&o.WALHardBytes, 16<<30)
	setDefault(&o.SnapshotBytes, 4<<20)
	setDefault(&o.SpillBytes, 1<<20)
	if o.NowMs == nil {
		o.NowMs = func() int64 { return time.Now().UnixMilli() }
	}
	if o.Nanos == nil {
		began := time.Now()
		o.Nanos = func() int64 { return int64(time.Since(began)) }
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	// What is in flight must fit into the room that the WAL keeps back when the disk is full.
	o.InflightBytes = min(o.InflightBytes, o.SegmentBytes/2)
	// What could never be taken is too large, and not an overload; and the WAL holds no record of more than half a segment.
	o.MaxCommandBytes = int(min(int64(o.MaxCommandBytes), o.InflightBytes, o.SegmentBytes/2-walEntryOverhead))
}

// walEntryOverhead is no less than what the WAL's record adds to an entry's data (wal.MaxEntryBytes).
const walEntryOverhead = 64

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
