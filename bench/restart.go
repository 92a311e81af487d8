package main

import (
	"fmt"
	"net/http"
	"syscall"
	"time"

	"fastpaca/bench/hist"
	"fastpaca/bench/load"
	"fastpaca/bench/proc"
	"fastpaca/bench/report"
)

const (
	manyPrefix   = "many"
	manyPerBatch = 100
)

// restart: what a million messages cost in memory, and how fast a killed node is back from a cold disk.
func restart(b *bench) error {
	contexts := b.pickInt(10_000, 1_000)
	messages := contexts * manyPerBatch
	payload := float64(messages * messageBytes)

	b.stepOf(0.05, "an empty node")
	s, err := b.startOurs("")
	if err != nil {
		return err
	}
	empty, err := proc.Mem(s.PID())
	if err != nil {
		return err
	}
	b.rep.Fact("restart.empty.ready", "time to ready, empty data directory", s.took.Seconds()*1e3, "ms")
	b.rep.Fact("restart.empty.rss", "resident memory of an empty node", float64(empty.RSS)/1e6, "MB")

	b.stepOf(0.3, "%d messages in %d contexts", messages, contexts)
	if err := b.putContexts(s, manyPrefix, contexts, `{}`); err != nil {
		return err
	}
	if err := b.fill(s, manyPrefix, contexts, manyPerBatch, 1, 16); err != nil {
		return err
	}
	full, err := proc.Mem(s.PID())
	if err != nil {
		return err
	}
	b.rep.Table(fmt.Sprintf("Memory with %s messages of %d bytes (%s MB) in %s contexts (MB)", report.Number(float64(messages), ""), messageBytes,
		report.Number(payload/1e6, ""), report.Number(float64(contexts), "")), "", "resident", "at most")
	row := func(name string, m proc.Memory) {
		b.rep.Row(name, report.Number(float64(m.RSS)/1e6, ""), report.Number(float64(m.HWM)/1e6, ""))
	}
	row("empty node", empty)
	row("filled", full)
	b.claimAtScale("restart.rss", "resident memory / bytes of messages, after filling", []float64{float64(full.RSS) / payload}, "x", atMost(3))
	b.rep.Fact("restart.message", "memory per message of 200 bytes, empty node subtracted", float64(full.RSS-empty.RSS)/float64(messages), "bytes")

	type pass struct{ readMBs, readyMBs, share, seconds, replay float64 }
	var passes []pass
	var after proc.Memory
	rounds := b.pickInt(3, 1)
	for round := range rounds {
		b.stepOf(0.6/float64(rounds), "kill -9 and cold start, round %d", round+1)
		s.Kill()
		how, err := proc.DropCaches(s.data)
		if err != nil {
			return err
		}
		if round == 0 && how != "drop_caches" {
			b.note("page cache dropped by %s, not by the kernel's switch (not root): cold figures may be too good", how)
		}
		size, took, err := proc.ReadAll(s.data)
		if err != nil {
			return err
		}
		if _, err := proc.DropCaches(s.data); err != nil {
			return err
		}
		if s, err = b.startOurs(s.data); err != nil {
			return err
		}
		// What recovery really read: the empty segments that are written ahead do not count in its favour.
		io, err := proc.Disk(s.PID())
		if err != nil {
			return err
		}
		read := min(io.ReadChars, size)
		p := pass{
			readMBs:  float64(size) / took.Seconds() / 1e6,
			readyMBs: float64(read) / s.took.Seconds() / 1e6,
			seconds:  s.took.Seconds(),
		}
		p.share = p.readyMBs / p.readMBs
		m, err := b.call(s, http.MethodGet, "/metrics", nil, http.StatusOK)
		if err != nil {
			return err
		}
		if replay, ok := sampleSum(string(m), "fastpaca_shard_replay_seconds"); ok && replay > 0 {
			p.replay = float64(read) / replay / 1e6 / p.readMBs
		}
		passes = append(passes, p)
		b.rep.Rounds = append(b.rep.Rounds,
			report.Round{Scenario: b.cur.name, Case: "sequential cold read of all files", Server: "device", Round: round, Seconds: took.Seconds(), BodyBytes: uint64(size)},
			report.Round{Scenario: b.cur.name, Case: "cold start until ready", Server: kindOurs, Round: round, Seconds: s.took.Seconds(), BodyBytes: uint64(read)})
		if after, err = proc.Mem(s.PID()); err != nil {
			return err
		}
		if round == 0 || round == rounds-1 {
			if err := b.checkMany(s, contexts, messages); err != nil {
				return err
			}
		}
	}
	row("after the last cold start", after)
	b.claimAtScale("restart.rss.after", "resident memory / bytes of messages, after a restart", []float64{float64(after.RSS) / payload}, "x", atMost(3))
	pick := func(f func(pass) float64) []float64 {
		var out []float64
		for _, p := range passes {
			out = append(out, f(p))
		}
		return out
	}
	b.claimAtScale("restart.speed", "cold replay until ready, of the speed of reading the same bytes cold",
		scale(pick(func(p pass) float64 { return p.share }), 100), "%", atLeast(50))
	b.claimAtScale("restart.seconds", "time to ready after kill -9, page cache cold", pick(func(p pass) float64 { return p.seconds }), "s", atMost(3))
	b.rep.Fact("restart.read", "cold sequential read of the data directory", hist.Median(pick(func(p pass) float64 { return p.readMBs })), "MB/s")
	b.rep.Fact("restart.replay", "cold replay, bytes read until ready", hist.Median(pick(func(p pass) float64 { return p.readyMBs })), "MB/s")
	b.rep.Fact("restart.replay.own", "  the same by the server's own clock (without process start and tables), of the cold read",
		100*hist.Median(pick(func(p pass) float64 { return p.replay })), "%")
	return nil
}

// checkMany reads every context's configuration once and fails unless each answers and a sample of them is complete.
func (b *bench) checkMany(s *server, contexts, messages int) error {
	if err := b.send(s, &load.Plan{
		Conns: 16, Status: http.StatusOK, Count: uint64(contexts),
		Build: func(i uint64, buf []byte) []byte {
			return requestHead(buf, s.Addr, http.MethodGet, contextPath(contextID(manyPrefix, int(i))), 0)
		},
	}); err != nil {
		return err
	}
	per := messages / contexts
	for i := 0; i < contexts; i += max(contexts/50, 1) {
		id := contextID(manyPrefix, i)
		body, err := b.call(s, http.MethodGet, messagesPath(id)+fmt.Sprintf("?from_seq=1&limit=%d", per+1), nil, http.StatusOK)
		if err != nil {
			return err
		}
		if err := checkRun(body, 1, per); err != nil {
			return fmt.Errorf("context %s after the restart: %w", id, err)
		}
	}
	return nil
}

// settle waits until s takes no snapshot and writes no log for half a second, at most limit; then all dirty pages go to
// the device.
func (b *bench) settle(s *server, limit time.Duration) error {
	last, quiet := -1.0, 0
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && quiet < 5; time.Sleep(100 * time.Millisecond) {
		m, err := b.call(s, http.MethodGet, "/metrics", nil, http.StatusOK)
		if err != nil {
			return err
		}
		log, _ := sampleSum(string(m), "fastpaca_wal_bytes_total")
		snaps, _ := sampleSum(string(m), "fastpaca_shard_snapshot_bytes_total")
		if quiet++; log+snaps != last {
			last, quiet = log+snaps, 0
		}
	}
	syscall.Sync()
	return nil
}
