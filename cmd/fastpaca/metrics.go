package main

import (
	"io"

	"fastpaca/cluster"
	"fastpaca/cluster/peer"
	"fastpaca/httpd"
	"fastpaca/shard"
	"fastpaca/wal"
)

// writeMetrics renders what the node, its log and its connections count. The series of HTTP and streams are
// httpd's own.
func writeMetrics(w io.Writer, node *cluster.Node, lag *lagSampler, arch *archiving) {
	var s shard.Stats
	node.Stats(&s)
	var p peer.Stats
	node.PeerStats(&p)
	m := &httpd.MetricsWriter{W: w}
	walMetrics(m, &s.WAL)
	raftMetrics(m, &s, &p, lag.sample())
	peerMetrics(m, &p)
	shardMetrics(m, &s)
	historyMetrics(m, &s)
	arch.metrics(m)
}

func walMetrics(m *httpd.MetricsWriter, s *wal.Stats) {
	m.Counter("fastpaca_wal_batches_total", "Batches made durable.", s.Batches)
	m.Counter("fastpaca_wal_records_total", "Records written.", s.Records)
	m.Counter("fastpaca_wal_bytes_total", "Bytes written to the log, without the zeros written ahead.", s.Bytes)
	m.Counter("fastpaca_wal_block_bytes_total", "Bytes of the 4 KiB blocks that those made dirty, counted at each sync: what goes to the disk.", s.BlockBytes)
	m.Counter("fastpaca_wal_payload_bytes_total", "Bytes of commands among them.", s.PayloadBytes)
	m.Counter("fastpaca_wal_zeroed_bytes_total", "Zeros written ahead to make new segments.", s.ZeroedBytes)
	m.Counter("fastpaca_wal_carried_bytes_total", "Bytes copied forward out of old segments.", s.CarriedBytes)
	bounds := make([]float64, wal.SyncBuckets-1)
	for i := range bounds {
		bounds[i] = wal.SyncBucket(i).Seconds()
	}
	m.Histogram("fastpaca_wal_fsync_duration_seconds", "Duration of fdatasync on the commit path, or of the write that is one.", bounds, s.SyncLatency[:], float64(s.SyncNanos)/1e9)
	m.Counter("fastpaca_wal_rotations_total", "Segments begun.", s.Rotations)
	m.Counter("fastpaca_wal_segments_recycled_total", "Segments given another life.", s.Recycled)
	m.Gauge("fastpaca_wal_segments", "Segments that hold live log.", float64(s.SegmentsLive))
	m.Gauge("fastpaca_wal_live_bytes", "Size of these segments; a restart reads them.", float64(s.LiveBytes))
	m.Gauge("fastpaca_wal_full", "1 while there is no room for appends.", bit(s.Full))
	m.Counter("fastpaca_wal_snapshot_requests_total", "Shards asked for a snapshot because they pin old segments.", s.SnapshotAsks)
	m.Gauge("fastpaca_wal_replay_seconds", "Time the last start took to read the log.", s.ReplayTook.Seconds())
	m.Gauge("fastpaca_wal_replay_bytes", "Bytes of log it read.", float64(s.ReplayBytes))
}

func shardMetrics(m *httpd.MetricsWriter, s *shard.Stats) {
	m.Gauge("fastpaca_shard_inflight_bytes", "Bytes of writes between arrival and apply.", float64(s.InflightBytes))
	m.Gauge("fastpaca_shard_state_bytes", "Bytes of the contexts in memory.", float64(s.StateBytes))
	m.Gauge("fastpaca_shard_contexts", "Contexts of the shards that this node holds, tombstones included.", float64(s.Contexts))
	m.Gauge("fastpaca_shard_contexts_parked", "Contexts among them that are on disk only.", float64(s.Parked))
	m.Counter("fastpaca_shard_parks_total", "Contexts written to parking files.", s.Parks)
	m.Counter("fastpaca_shard_park_errors_total", "Parking files that could not be written.", s.ParkErrors)
	m.Counter("fastpaca_shard_timeouts_total", "Writes answered raft_timeout.", s.Timeouts)
	m.Counter("fastpaca_shard_snapshots_total", "Snapshots written.", s.Snapshots)
	m.Counter("fastpaca_shard_snapshot_bytes_total", "Bytes of snapshot files written.", s.SnapshotBytes)
	m.Counter("fastpaca_shard_snapshot_errors_total", "Snapshots that failed.", s.SnapshotErrors)
	m.Gauge("fastpaca_shard_replay_seconds", "Time the last start took to rebuild the state.", s.Replay.Took.Seconds())
}

func historyMetrics(m *httpd.MetricsWriter, s *shard.Stats) {
	h := &s.History
	m.Gauge("fastpaca_history_messages", "Messages in history files, those that lie in two files counted twice.", float64(h.Messages))
	m.Gauge("fastpaca_history_files", "History files.", float64(h.Files))
	m.Gauge("fastpaca_history_bytes", "Size of these files.", float64(h.Bytes))
	m.Counter("fastpaca_history_written_bytes_total", "Bytes of history files written for messages that left memory.", h.WrittenBytes)
	m.Counter("fastpaca_history_merged_bytes_total", "Bytes written by merging history files.", h.MergedBytes)
	m.Counter("fastpaca_history_reads_total", "Blocks of history files read for clients.", h.Reads)
	m.Counter("fastpaca_history_healed_total", "Times that a shard's damaged history was made whole by other replicas.", s.HistoryHealed)
	m.Counter("fastpaca_history_errors_total", "History files that could not be written or read.", s.HistoryErrors)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
