// Package planted breaks the product on purpose, in known places, one at a time, so that the simulation can show that it
// would find such a bug. Without the build tag planted, On is constant false and every place compiles to nothing.
//
//	if planted.On(planted.AckBeforeSync) { ... }
//
// jepsen/sim/planted_test.go plants each bug and says within how many seeds it must be found; two are found in raft alone.
// It imports nothing of ours.
package planted

// Bug is one deliberate breakage.
type Bug uint8

// The bugs, by where they are. Each is one that somebody shipped, or nearly did.
const (
	None Bug = iota

	// wal

	AckBeforeSync // batches are done when written, not when synced

	// raft

	VoteBeforeDurable    // a vote is given before it is on disk
	VoteForgotten        // a restart forgets whom this term's vote went to
	VoteForAnybody       // a vote is given without comparing logs
	CommitOldTerm        // entries of earlier terms commit by counting copies (paper, figure 8)
	SuffixKept           // what a leader has something else for is not overwritten
	CommitWithoutLeader  // a follower takes all it has for committed
	HeartbeatCommits     // a heartbeat commits beyond what the follower acknowledged
	LeaderCountsUnsynced // a leader counts its own copy before its disk has it (etcd 14370)
	LearnerCounted       // a learner's copy counts for commit
	ConfWithoutJoint     // several voters are swapped in one step
	ConfBeforeTermCommit // the membership changes before an entry of the term is committed (raft-dev 2015)
	ReadBeforeTermCommit // reads are served before an entry of the term is committed (Redis-Raft 18)
	ReadRoundReused      // any echo confirms the newest read round (etcd 20418)
	ReadWithoutRound     // who believes to lead answers reads

	// shard

	VoteNotPersisted      // term and vote never reach the disk
	SnapshotNotSynced     // the log is cut though the snapshot file's bytes are not durable
	SnapshotNameNotSynced // the log is cut though the snapshot file's name is not durable
	HistoryNotSynced      // messages leave memory though the history file's bytes are not durable
	KeysNotInSnapshot     // a snapshot forgets the idempotency keys
	LostAnsweredOK        // a proposal that lost its place is answered as if it had been written
	UnknownAnsweredLost   // a leader that steps down says of what is under way that nothing was written
	ApplyTwice            // the first entry after a restart is applied twice
	GuardIgnored          // if_version is not compared

	End // one past the last
)
