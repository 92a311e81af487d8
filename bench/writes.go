package main

import (
	"net/http"
	"strings"
	"time"

	"fastpaca/bench/load"
	"fastpaca/bench/proc"
	"fastpaca/bench/report"
)

// writeAmplification: bytes that reach the disk for each byte of message, over single appends that double what a node
// holds. The state doubles once, so that a policy "snapshot when the log outgrows the state" shows its amortised
// cost; segments written ahead for the first time are behind it.
func writeAmplification(b *bench) error {
	half := b.pickInt(400_000, 30_000)
	s, err := b.startOurs("")
	if err != nil {
		return err
	}
	if err := b.putContexts(s, appendPrefix, appendContexts, appendConfig); err != nil {
		return err
	}
	b.stepOf(0.15, "the first %d messages, in batches", half)
	per := 100
	if err := b.fill(s, appendPrefix, appendContexts, per, max(half/per/appendContexts, 1), 16); err != nil {
		return err
	}
	if err := settle(s.PID(), 10*time.Second); err != nil {
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
			return w.single(buf, s.Addr, contextID(appendPrefix, int(i)%appendContexts))
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
	if err := settle(s.PID(), 10*time.Second); err != nil {
		return err
	}
	after, err := b.writeState(s)
	if err != nil {
		return err
	}
	payload := float64(res.Requests * messageBytes)
	b.rep.Rounds = append(b.rep.Rounds, report.Round{
		Scenario: b.cur.name, Case: "single appends over 64 connections", Server: kindOurs, Conns: 64, Requests: res.Requests,
		Seconds: res.Elapsed.Seconds(), PerSecond: res.PerSecond(), BodyBytes: uint64(after.io.WriteDisk - before.io.WriteDisk),
		P50: float64(res.Latency.Quantile(0.5)) / 1e3, P99: float64(res.Latency.Quantile(0.99)) / 1e3,
		P999: float64(res.Latency.Quantile(0.999)) / 1e3, Max: float64(res.Latency.Max()) / 1e3,
	})
	b.claim("writes.total", "bytes written to disk per byte of message, 64 connections, snapshots included",
		[]float64{float64(after.io.WriteDisk-before.io.WriteDisk) / payload}, "x", atMost(3))
	b.rep.Fact("writes.calls", "the same, by write system calls (pages not rounded up)", float64(after.io.WriteChars-before.io.WriteChars)/payload, "x")
	for _, name := range walSeries {
		if a, ok := sampleSum(after.metrics, name); ok {
			f, _ := sampleSum(before.metrics, name)
			b.rep.Fact("writes."+strings.TrimPrefix(name, "fastpaca_"), name+" meanwhile, per byte of message or counted", perPayload(name, a-f, payload), "")
		}
	}
	return nil
}

// walSeries are counters that explain the total, where the server has them.
var walSeries = []string{
	"fastpaca_wal_written_bytes_total", "fastpaca_wal_bytes_total", "fastpaca_wal_padding_bytes_total", "fastpaca_wal_zeroed_bytes_total",
	"fastpaca_wal_rewritten_bytes_total", "fastpaca_wal_fsyncs_total", "fastpaca_snapshot_bytes_total", "fastpaca_snapshots_total",
}

// perPayload makes a counter of bytes a ratio; other counters stay counts.
func perPayload(name string, v, payload float64) float64 {
	if strings.Contains(name, "bytes") {
		return v / payload
	}
	return v
}

type writeState struct {
	io      proc.IO
	metrics string
}

func (b *bench) writeState(s *server) (writeState, error) {
	io, err := proc.Disk(s.PID())
	if err != nil {
		return writeState{}, err
	}
	m, err := b.call(s, http.MethodGet, "/metrics", nil, http.StatusOK)
	return writeState{io, string(m)}, err
}
