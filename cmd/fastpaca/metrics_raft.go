package main

import (
	"fastpaca/cluster/peer"
	"fastpaca/httpd"
	"fastpaca/shard"
)

// raftMetrics are about consensus: who leads, who is behind, what it costs on the wire.
func raftMetrics(m *httpd.MetricsWriter, s *shard.Stats, p *peer.Stats, lag []peerLag) {
	m.Gauge("fastpaca_raft_groups", "Shards of the cluster.", shard.Shards)
	m.Gauge("fastpaca_raft_groups_leading", "Raft groups that this node leads: shards, and one for the placement.", float64(s.Leading))
	m.Gauge("fastpaca_raft_groups_leaderless", "Raft groups that this node is a member of and knows no leader of.", float64(s.LeaderUnknown))
	m.Counter("fastpaca_raft_terms_total", "Sum of the terms of all groups: rises with every election.", s.Elections)
	m.Counter("fastpaca_raft_applied_total", "Sum of the applied indexes of all groups.", s.Applied)
	for i := range lag {
		m.Gauge("fastpaca_raft_peer_lag_entries{peer="+httpd.LabelValue(lag[i].name)+"}",
			"Log entries that a node is behind, in all groups that this node leads.", float64(lag[i].entries))
	}
	for i := range lag {
		m.Gauge("fastpaca_raft_peer_groups{peer="+httpd.LabelValue(lag[i].name)+"}",
			"Groups led by this node that a node has a replica of.", float64(lag[i].groups))
	}
	m.Counter("fastpaca_raft_dropped_messages_total", "Messages of other nodes dropped for want of room, or because the disk hangs; they come again.", s.DroppedMessages)
	m.Counter("fastpaca_raft_invalid_messages_total", "Messages of other nodes dropped because no correct node sends them.", s.InvalidMessages)
	m.Counter("fastpaca_raft_diverged_total", "Groups stopped because another node's history contradicts what is on this disk.", s.Diverged)
	m.Counter("fastpaca_raft_retired_total", "Leaderships given up because the disk hangs.", s.Retired)
	m.Counter("fastpaca_raft_snapshots_sent_total", "Snapshots begun to be sent to other nodes.", s.SnapshotsSent)
	m.Counter("fastpaca_raft_snapshots_failed_total", "Snapshots to other nodes that broke off; they are sent again.", p.SnapshotsFailed)
	m.Counter("fastpaca_raft_snapshots_received_total", "Snapshots of other nodes installed.", s.SnapshotsReceived)
	m.Counter("fastpaca_raft_snapshot_receive_errors_total", "Snapshots of other nodes that could not be installed.", s.ReceiveErrors)
	m.Counter(`fastpaca_raft_snapshot_bytes_total{direction="out"}`, "Bytes of snapshots between nodes, as on the wire.", p.SnapshotBytesOut)
	m.Counter(`fastpaca_raft_snapshot_bytes_total{direction="in"}`, "", p.SnapshotBytesIn)
}

// peerMetrics are about the connections between nodes.
func peerMetrics(m *httpd.MetricsWriter, p *peer.Stats) {
	lanes := [...]struct {
		name string
		of   *peer.LaneStats
	}{{"control", &p.Control}, {"data", &p.Data}}
	both := func(name, help string, of func(*peer.LaneStats) (out, in uint64)) {
		for _, l := range lanes {
			out, in := of(l.of)
			m.Counter(name+`{lane="`+l.name+`",direction="out"}`, help, out)
			m.Counter(name+`{lane="`+l.name+`",direction="in"}`, help, in)
		}
	}
	both("fastpaca_peer_bytes_total", "Bytes between nodes, by lane, without snapshots and streams.",
		func(l *peer.LaneStats) (out, in uint64) { return l.BytesOut, l.BytesIn })
	both("fastpaca_peer_messages_total", "Raft messages between nodes, by lane.",
		func(l *peer.LaneStats) (out, in uint64) { return l.MessagesOut, l.MessagesIn })
	both("fastpaca_peer_syscalls_total", "Reads and writes that moved these bytes.",
		func(l *peer.LaneStats) (out, in uint64) { return l.Writes, l.Reads })
	for _, l := range lanes {
		m.Counter(`fastpaca_peer_dropped_messages_total{lane="`+l.name+`"}`,
			"Raft messages without a connection, or without room in its queue; raft sends them again.", l.of.Dropped)
	}
	m.Counter("fastpaca_peer_connects_total", "Connections to other nodes established by this one.", p.Connects)
	m.Counter("fastpaca_peer_dial_errors_total", "Connections to other nodes that could not be established.", p.DialErrors)
	for r := range p.Refused {
		m.Counter(`fastpaca_peer_refused_total{reason="`+peer.Reason(r).String()+`"}`, "Connections from outside that were refused.", p.Refused[r])
	}
	m.Counter("fastpaca_peer_calls_total", "Requests sent to other nodes: forwarded ones of clients, and the nodes' own.", p.Calls)
	const failed = "Requests to other nodes without an answer: not_sent is safe to repeat, the others may have had an effect."
	m.Counter(`fastpaca_peer_calls_failed_total{why="not_sent"}`, failed, p.CallsNotSent)
	m.Counter(`fastpaca_peer_calls_failed_total{why="timeout"}`, failed, p.CallsTimeout)
	m.Counter(`fastpaca_peer_calls_failed_total{why="lost"}`, failed, p.CallsUnknown)
	m.Counter("fastpaca_peer_calls_served_total", "Requests of other nodes answered.", p.Served)
	m.Counter("fastpaca_peer_calls_refused_total", "Requests of other nodes refused because too many were under way.", p.ServeOverloaded)
	m.Gauge(`fastpaca_peer_streams{direction="out"}`, "Streams of clients carried between nodes: out from another node's replica, in from this one's.", float64(p.StreamsOut))
	m.Gauge(`fastpaca_peer_streams{direction="in"}`, "", float64(p.StreamsIn))
	for i := range p.Peers {
		x := &p.Peers[i]
		m.Gauge("fastpaca_peer_connected{peer="+httpd.LabelValue(x.Name)+"}", "1 while the connections to the node are up.", bit(x.Connected))
	}
	for i := range p.Peers {
		x := &p.Peers[i]
		m.Gauge("fastpaca_peer_queued_bytes{peer="+httpd.LabelValue(x.Name)+"}", "Bytes that wait to be sent to the node.", float64(x.Queued))
	}
}
