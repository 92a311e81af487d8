package main

import (
	"net/http"
	"time"

	"fastpaca/bench/load"
	"fastpaca/bench/proc"
	"fastpaca/bench/report"
)

// writeAmplification: bytes that reach the disk for each byte of message, over single appends that double what a node
// holds. The state doubles once, so that a policy "snapshot when the log outgrows the state" shows its amortised
// cost.
//
// A snapshot is a shard's, and a shard takes none before its log has some megabytes. Few contexts, each in a shard of
// its own, get there within the run; with all 256 shards at work it would take sixteen times as long to show the same
// ratio. The merging of history files, too, shows only in longer runs: 14 spills of a shard are no reason for one (-longer 4).
//
// The claim adds up what the server counts itself: of the log, all blocks of 4 KiB that each fdatasync finds dirty; snapshots and
// history files as they are. The device's own counter stands beside it: on a quiet machine both agree, on a
// busy one it counts everybody. Segments that are written for the first time are left out of the claim and shown: the
// log stops growing at its limit and uses old segments again, so that a long run has none.
func writeAmplification(b *bench) error {
	half, contexts := b.opt.longer*b.pickInt(400_000, 40_000), b.pickInt(16, 2)
	s, err := b.startOurs("")
	if err != nil {
		return err
	}
	if err := b.putContexts(s, appendPrefix, contexts, appendConfig); err != nil {
		return err
	}
	b.stepOf(0.15, "the first %d messages, in batches", half)
	per := 100
	if err := b.fillBatches(s, appendPrefix, contexts, per, half/per, 16); err != nil {
		return err
	}
	if err := b.settle(s, 10*time.Second); err != nil {
		return err
	}
	before, err := b.writeState(s)
	if err != nil {
		return err
	}
	b.stepOf(0.75, "%d single appends over 64 connections", half)
	w := newWriter(7)
	var res load.Result
	plan := load.Plan{
		Addr: s.Addr, Stop: b.ctx.Done(), Conns: 64, Status: http.StatusCreated, Count: uint64(half),
		Build: func(i uint64, buf []byte) []byte {
			return w.single(buf, s.Addr, contextID(appendPrefix, int(i)%contexts))
		},
		OnSent: func(done uint64) {
			if done%4096 < 64 {
				b.prog.Note("%d of %d thousand", done/1000, half/1000)
			}
		},
	}
	if err := b.explain(s, load.Run(&plan, &res)); err != nil {
		return err
	}
	b.stepOf(0.1, "letting snapshots finish")
	if err := b.settle(s, 10*time.Second); err != nil {
		return err
	}
	after, err := b.writeState(s)
	if err != nil {
		return err
	}
	payload := float64(res.Requests * messageBytes)
	device := float64(after.device - before.device)
	b.rep.Rounds = append(b.rep.Rounds, report.Round{
		Scenario: b.cur.name, Case: "single appends over 64 connections", Server: kindOurs, Conns: 64, Requests: res.Requests,
		Seconds: res.Elapsed.Seconds(), PerSecond: res.PerSecond(), BodyBytes: uint64(device),
		P50: float64(res.Latency.Quantile(0.5)) / 1e3, P99: float64(res.Latency.Quantile(0.99)) / 1e3,
		P999: float64(res.Latency.Quantile(0.999)) / 1e3, Max: float64(res.Latency.Max()) / 1e3,
	})
	grown := func(name string) float64 {
		a, _ := sampleSum(after.metrics, name)
		f, _ := sampleSum(before.metrics, name)
		return a - f
	}
	log, snaps, zeros := grown("fastpaca_wal_bytes_total"), grown("fastpaca_shard_snapshot_bytes_total"), grown("fastpaca_wal_zeroed_bytes_total")
	batches, blocks := grown("fastpaca_wal_fsync_duration_seconds_count"), grown("fastpaca_wal_block_bytes_total")
	history := grown("fastpaca_history_written_bytes_total") + grown("fastpaca_history_merged_bytes_total")
	b.claimAtScale("writes.total", "bytes written to disk per byte of message, 64 connections, snapshots included",
		[]float64{(blocks + snaps + history) / payload}, "x", atMost(3))
	b.rep.Fact("writes.device", "bytes written to the device meanwhile, by everyone, per byte of message", device/payload, "x")
	for _, f := range []struct {
		id, what string
		bytes    float64
	}{
		{"log", "log records", log}, {"pages", "the rest of the 4 KiB blocks that they dirty at each sync", blocks - log},
		{"snapshots", "snapshots", snaps}, {"history", "history files, merges included", history}, {"zeros", "segments written for the first time (not in the claim)", zeros},
	} {
		b.rep.Fact("writes."+f.id, "  by the server's own account: "+f.what, f.bytes/payload, "x")
	}
	if batches > 0 {
		b.rep.Fact("writes.batch", "messages an fdatasync, 64 connections", float64(res.Requests)/batches, "")
	}
	b.rep.Fact("writes.messages", "messages of the doubled half, thousand", float64(half)/1e3, "")
	b.rep.Fact("writes.snapshots.count", "snapshots of shards meanwhile", grown("fastpaca_shard_snapshots_total"), "")
	b.rep.Fact("writes.merged", "history bytes written by merges, of all that were", grown("fastpaca_history_merged_bytes_total")/max(history, 1), "x")
	if own := blocks + snaps + history + zeros; device > 1.3*own {
		b.note("writes: the device took %.0f MB, the server accounts for %.0f: something else was writing", device/1e6, own/1e6)
	}
	return nil
}

// writeState is what has been written so far: by everyone to the device, and by the server as it counts itself.
type writeState struct {
	device  int64
	metrics string
}

func (b *bench) writeState(s *server) (writeState, error) {
	n, err := proc.DeviceWritten(s.data)
	if err != nil {
		return writeState{}, err
	}
	m, err := b.call(s, http.MethodGet, "/metrics", nil, http.StatusOK)
	return writeState{n, string(m)}, err
}
