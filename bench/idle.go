package main

import (
	"fmt"
	"net/http"
	"time"

	"fastpaca/bench/hist"
	"fastpaca/bench/proc"
	"fastpaca/bench/report"
)

const (
	idlePrefix   = "idle"
	idlePerBatch = 5
	// idleParkMs is how soon contexts leave memory here: the scenario need not wait for the five minutes of the default.
	idleParkMs = 4000
	// idleWait bounds the wait until all contexts are on disk only and the node writes no more, and again until the runtime
	// has given the memory back, which it does at its leisure.
	idleWait = 3 * time.Minute
	// idleBytes is what an idle context may cost, resident, garbage and all.
	idleBytes = 300
)

// idle: what a million contexts cost that nobody touches, and how long a node with them takes to start.
func idle(b *bench) error {
	n := b.pickInt(1_000_000, 50_000)
	park := fmt.Sprintf("FASTPACA_PARK_AFTER_MS=%d", idleParkMs)
	b.stepOf(0.05, "an empty node")
	s, err := b.startOurs("", park)
	if err != nil {
		return err
	}
	empty, err := proc.Mem(s.PID())
	if err != nil {
		return err
	}
	b.stepOf(0.6, "%d contexts of %d messages", n, idlePerBatch)
	if err := b.putContexts(s, idlePrefix, n, `{}`); err != nil {
		return err
	}
	if err := b.fill(s, idlePrefix, n, idlePerBatch, 1, 64); err != nil {
		return err
	}
	b.stepOf(0.15, "nobody touches them")
	if err := b.awaitParked(s, n); err != nil {
		return err
	}
	parked, err := b.leastMemory(s, int64(empty.RSS)+int64(n)*idleBytes)
	if err != nil {
		return err
	}
	each := func(m proc.Memory) float64 { return (float64(m.RSS) - float64(empty.RSS)) / float64(n) }
	of := fmt.Sprintf(", %s contexts of %d messages of %d bytes", report.Number(float64(n), ""), idlePerBatch, messageBytes)
	b.claimAtScale("idle.context", "memory of an idle context (resident, empty node subtracted)"+of, []float64{each(parked)}, "bytes", atMost(idleBytes))

	var seconds, after []float64
	for round := range b.pickInt(3, 1) {
		b.stepOf(0.05, "kill -9 and cold start, round %d", round+1)
		s.Kill()
		if _, err := proc.DropCaches(s.data); err != nil {
			return err
		}
		if s, err = b.startOurs(s.data, park); err != nil {
			return err
		}
		seconds = append(seconds, s.took.Seconds())
		m, err := b.leastMemory(s, int64(empty.RSS)+int64(n)*idleBytes)
		if err != nil {
			return err
		}
		after = append(after, each(m))
	}
	b.claimAtScale("idle.restart", "time to ready with them after kill -9, page cache cold", seconds, "s", atMost(5))
	b.claimAtScale("idle.context.after", "memory of an idle context after that start", after, "bytes", atMost(idleBytes))
	touch, err := b.touchIdle(s, n)
	if err != nil {
		return err
	}
	b.rep.Fact("idle.touch", "first window read of an idle context, one client, median", touch, "us")
	return nil
}

// awaitParked waits until n contexts are on disk only and no snapshot is being written.
func (b *bench) awaitParked(s *server, n int) error {
	parked := 0.0
	for deadline := time.Now().Add(idleWait); time.Now().Before(deadline); time.Sleep(time.Second) {
		m, err := b.call(s, http.MethodGet, "/metrics", nil, http.StatusOK)
		if err != nil {
			return err
		}
		if parked, _ = sampleSum(string(m), "fastpaca_shard_contexts_parked"); int(parked) >= n {
			return b.settle(s, idleWait)
		}
		b.prog.Note("%d thousand on disk only", int(parked)/1000)
	}
	return fmt.Errorf("%.0f of %d contexts are on disk only after %v", parked, n, idleWait)
}

// leastMemory waits until s has no more than target bytes resident, or has not had less for so long that the runtime has
// collected its garbage, which it does every two minutes, and given it back.
func (b *bench) leastMemory(s *server, target int64) (least proc.Memory, err error) {
	for quiet := 0; quiet < b.pickInt(150, 5); quiet++ {
		m, err := proc.Mem(s.PID())
		if err != nil {
			return m, err
		}
		if least.RSS == 0 || m.RSS < least.RSS {
			least, quiet = m, 0
		}
		if int64(least.RSS) <= target {
			break
		}
		time.Sleep(time.Second)
	}
	return least, nil
}

// touchIdle reads windows of contexts that nobody has touched since the start, one after the other, and checks them.
func (b *bench) touchIdle(s *server, n int) (us float64, err error) {
	const reads = 200
	var took []float64
	for i := range reads {
		id := contextID(idlePrefix, i*(n/reads))
		began := time.Now()
		body, err := b.call(s, http.MethodGet, messagesPath(id)+fmt.Sprintf("?from_seq=1&limit=%d", idlePerBatch+1), nil, http.StatusOK)
		if err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(began).Microseconds()))
		if err := checkRun(body, 1, idlePerBatch); err != nil {
			return 0, fmt.Errorf("context %s: %w", id, err)
		}
	}
	return hist.Median(took), nil
}
