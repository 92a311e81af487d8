package main

import "fastpaca/httpd"

// event is a kind of thing that the packages below tell of: its level, and what it means for an operator in a
// sentence. The values that come with it say where and which.
type event struct {
	level httpd.Level
	text  string
}

// eventTable is every kind. One that is missing is logged as info without a sentence; a test finds it.
func eventTable() map[string]event {
	const info, warn, fail = httpd.LevelInfo, httpd.LevelWarn, httpd.LevelError
	return map[string]event{
		// The node and its log.
		"snapshot_failed":      {warn, "a snapshot could not be written and is tried again; the log grows until it works"},
		"snapshot_not_removed": {warn, "an old snapshot file could not be removed and takes up room"},
		"history_failed":       {warn, "old messages could not be written to a history file and stay in memory; it is tried again"},
		"history_damaged":      {fail, "a history file is damaged or missing; what was in it is fetched from the other replicas"},
		"history_healed":       {info, "the shard's history is whole again"},
		"history_not_healed":   {warn, "what a damaged history file held could not be fetched from another replica; it is tried again"},
		"park_failed":          {warn, "contexts that nobody touches could not be written to disk and stay in memory; it is tried again"},
		"history_remove_failed": {
			warn, "a history file that others cover could not be removed and takes up room; the next start tries again",
		},
		"shutdown_incomplete": {warn, "writes under way were not answered in time; what was acknowledged is on disk"},
		"wal_full":            {warn, "there is no room for the log: appends answer storage_full until there is"},
		"wal_has_room":        {info, "there is room for the log again: appends are taken"},
		"wal_no_space":        {warn, "the disk has no room for the next log segment; it is tried again every second"},
		"wal_no_descriptors":  {warn, "the process has no file descriptors left for the log; raise the limit of open files"},
		"wal_torn_tail":       {info, "the log ended in an unfinished write, as after a crash; it was never acknowledged"},
		"wal_foreign_file":    {warn, "a file in the log's directory is not the log's; it is left alone"},
		"wal_reclaim_failed":  {warn, "an old log segment could not be given up yet and is tried again"},
		"wal_recycle_failed":  {warn, "an old log segment could not be used again; a new one is made"},
		"wal_remove_failed":   {warn, "an old log segment could not be removed; the next start does it"},
		"wal_truncate_failed": {warn, "a log segment could not be shortened and keeps its room"},
		"wal_carry_failed":    {warn, "live log could not be copied out of an old segment, which stays; it is tried again"},
		"wal_close_failed":    {warn, "a log segment could not be closed; what is in it is on disk"},

		// Groups.
		"group_diverged":          {fail, "another node's history contradicts what is on this disk: the group is stopped here; replace this node's data"},
		"entry_too_long":          {fail, "an entry is longer than this node's log takes: the group is stopped here; give all nodes the same segment size"},
		"group_membership_failed": {info, "a change of a group's replicas was refused and is tried again"},
		"forget_failed":           {warn, "the data of a group that left this node could not be given up and is tried again"},
		"log_read_failed":         {fail, "the log could not be read for a follower, which waits; look at this node's disk"},
		"placement_unreadable":    {warn, "the leader sent a placement map that this version cannot read: it was refused; start the version that the leader runs"},
		"snapshot_installed":      {info, "a group's state came from another node"},

		// The cluster.
		"cluster_founded":   {info, "the nodes named here founded a cluster"},
		"cluster_joined":    {info, "this node joined a cluster; its replicas come as they are moved"},
		"join_refused":      {info, "the cluster does not take this node just now; it asks again"},
		"founding_given_up": {info, "the nodes could not agree on founding a cluster just now and try again"},
		"waiting_for_nodes": {warn, "this node has no cluster yet, and too few others answer to found one; start them, or look at FASTPACA_CLUSTER_SEED"},
		"promise_stuck": {
			warn, "this node has promised to found a cluster with nodes that do not answer; start them, or, if they are lost for good, empty the data directories",
		},
		"other_cluster":   {warn, "an address leads to a node of another cluster, which is left alone; look at FASTPACA_CLUSTER_SEED"},
		"two_clusters":    {warn, "the seeds lead to two clusters; name the nodes of one only in FASTPACA_CLUSTER_SEED"},
		"name_taken":      {warn, "two nodes have the same FASTPACA_NODE_NAME; rename one and empty its data directory"},
		"node_removed":    {warn, "the cluster has removed this node, which can be stopped; to bring it back, empty its data directory"},
		"node_drained":    {info, "a drained node holds nothing any more, is removed, and can be stopped"},
		"replicas_move":   {info, "a shard shall have other replicas"},
		"address_changed": {info, "a node is reached at another address now"},
		"decision_failed": {info, "a decision about nodes or placement was overtaken or found no quorum; it is thought over again"},
		"exchange_failed": {warn, "another node's question could not be answered"},
		"identity_failed": {fail, "node.json could not be written: this node can neither found nor join a cluster; look at its disk"},
		"report_failed":   {info, "a node did not say how its groups are doing; it is asked again"},

		// Connections between nodes.
		"peer_connected":        {info, "the connections to a node are up"},
		"peer_lost":             {warn, "the connections to a node are lost; they are tried again"},
		"peer_connect_failed":   {info, "a node cannot be reached; it is tried again and again"},
		"peer_refused":          {warn, "a connection to /internal/peer was refused"},
		"peer_snapshot_failed":  {warn, "a snapshot to another node broke off and is sent again"},
		"peer_answer_too_large": {fail, "an answer to another node is larger than may be sent"},

		// The archive.
		"archive_failed":        {warn, "the archive does not take messages; they stay on the nodes until it does"},
		"archive_recovered":     {info, "the archive takes messages again"},
		"archive_unreadable":    {fail, "messages that should be archived cannot be read here; look at this node's disk, or give its leaderships to another"},
		"archive_context_stuck": {warn, "the archive refuses the messages of one context, which stay on the nodes; it is tried again"},
	}
}

// logEvents is the Logf of the packages below. A value under the key "level" goes before the table.
func logEvents(say httpd.LogFunc) func(typ string, kv ...any) {
	table := eventTable()
	return func(typ string, kv ...any) {
		e, known := table[typ]
		if !known {
			e.level = httpd.LevelInfo
		}
		if len(kv) >= 2 && kv[0] == "level" {
			if text, ok := kv[1].(string); ok {
				if level, err := httpd.ParseLevel(text); err == nil {
					e.level, kv = level, kv[2:]
				}
			}
		}
		say(e.level, typ, e.text, kv...)
	}
}
