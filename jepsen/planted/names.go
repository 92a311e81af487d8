package planted

var names = [End]string{
	None: "none", AckBeforeSync: "ack_before_sync",
	VoteBeforeDurable: "vote_before_durable", VoteForgotten: "vote_forgotten", VoteForAnybody: "vote_for_anybody",
	CommitOldTerm: "commit_old_term", SuffixKept: "suffix_kept", CommitWithoutLeader: "commit_without_leader",
	HeartbeatCommits: "heartbeat_commits", LeaderCountsUnsynced: "leader_counts_unsynced",
	LearnerCounted: "learner_counted", ConfWithoutJoint: "conf_without_joint", ConfBeforeTermCommit: "conf_before_term_commit",
	ReadBeforeTermCommit: "read_before_term_commit", ReadRoundReused: "read_round_reused", ReadWithoutRound: "read_without_round",
	VoteNotPersisted: "vote_not_persisted", SnapshotNotSynced: "snapshot_not_synced", SnapshotNameNotSynced: "snapshot_name_not_synced",
	HistoryNotSynced: "history_not_synced", KeysNotInSnapshot: "keys_not_in_snapshot", LostAnsweredOK: "lost_answered_ok", UnknownAnsweredLost: "unknown_answered_lost",
	ApplyTwice: "apply_twice", GuardIgnored: "guard_ignored",
}

// String is the bug's name, for test output.
func (b Bug) String() string { return names[b] }
