package main

import (
	"io"

	"fastpaca/cluster"
	"fastpaca/httpd"
	"fastpaca/shard"
	"fastpaca/wal"
)

// writeMetrics renders what the node and its log count. The series of HTTP and streams are httpd's own.
func writeMetrics(w io.Writer, node *cluster.Node) {
	var s shard.Stats
	node.Stats(&s)
	m := &httpd.MetricsWriter{W: w}
	walMetrics(m, &s.WAL)
	raftMetrics(m, &s)
	shardMetrics(m, &s)
}

func walMetrics(m *httpd.MetricsWriter, s *wal.Stats) {
	m.Counter("fastpaca_wal_batches_total", "Batches made durable.", s.Batches)
	m.Counter("fastpaca_wal_records_total", "Records written.", s.Records)
	m.Counter("fastpaca_wal_bytes_total", "Bytes written to the log, without the zeros written ahead.", s.Bytes)
	m.Counter("fastpaca_wal_payload_bytes_total", "Bytes of commands among them.", s.PayloadBytes)
	m.Counter("fastpaca_wal_zeroed_bytes_total", "Zeros written ahead to make new segments.", s.ZeroedBytes)
	m.Counter("fastpaca_wal_carried_bytes_total", "Bytes copied forward out of old segments.", s.CarriedBytes)
	bounds := make([]float64, wal.SyncBuckets-1)
	for i := range bounds {
		bounds[i] = wal.SyncBucket(i).Seconds()
	}
	m.Histogram("fastpaca_wal_fsync_duration_seconds", "Duration of fdatasync on the commit path.", bounds, s.SyncLatency[:], float64(s.SyncNanos)/1e9)
	m.Counter("fastpaca_wal_rotations_total", "Segments begun.", s.Rotations)
	m.Counter("fastpaca_wal_segments_recycled_total", "Segments given another life.", s.Recycled)
	m.Gauge("fastpaca_wal_segments", "Segments that hold live log.", float64(s.SegmentsLive))
	m.Gauge("fastpaca_wal_live_bytes", "Size of these segments; a restart reads them.", float64(s.LiveBytes))
	m.Gauge("fastpaca_wal_full", "1 while there is no room for appends.", bit(s.Full))
	m.Counter("fastpaca_wal_snapshot_requests_total", "Shards asked for a snapshot because they pin old segments.", s.SnapshotAsks)
	m.Gauge("fastpaca_wal_replay_seconds", "Time the last start took to read the log.", s.ReplayTook.Seconds())
	m.Gauge("fastpaca_wal_replay_bytes", "Bytes of log it read.", float64(s.ReplayBytes))
}

func raftMetrics(m *httpd.MetricsWriter, s *shard.Stats) {
	m.Gauge("fastpaca_raft_groups_leading", "Shards that this node leads.", float64(s.Leading))
	m.Gauge("fastpaca_raft_groups", "Shards of the cluster.", shard.Shards)
	m.Counter("fastpaca_raft_terms_total", "Sum of the terms of all shards: rises with every election.", s.Elections)
	m.Counter("fastpaca_raft_applied_total", "Sum of the applied indexes of all shards.", s.Applied)
}

func shardMetrics(m *httpd.MetricsWriter, s *shard.Stats) {
	m.Gauge("fastpaca_shard_inflight_bytes", "Bytes of writes between arrival and apply.", float64(s.InflightBytes))
	m.Gauge("fastpaca_shard_state_bytes", "Bytes of the contexts in memory.", float64(s.StateBytes))
	m.Counter("fastpaca_shard_timeouts_total", "Writes answered raft_timeout.", s.Timeouts)
	m.Counter("fastpaca_shard_snapshots_total", "Snapshots written.", s.Snapshots)
	m.Counter("fastpaca_shard_snapshot_bytes_total", "Bytes of snapshot files written.", s.SnapshotBytes)
	m.Counter("fastpaca_shard_snapshot_errors_total", "Snapshots that failed.", s.SnapshotErrors)
	m.Gauge("fastpaca_shard_replay_seconds", "Time the last start took to rebuild the state.", s.Replay.Took.Seconds())
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
