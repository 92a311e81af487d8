package main

import (
	"fmt"
	"net/http"
	"time"

	"fastpaca/bench/floor"
	"fastpaca/bench/hist"
	"fastpaca/bench/load"
	"fastpaca/bench/report"
)

const (
	appendContexts = 256
	appendPrefix   = "append"
	appendVariants = 4 // prebuilt requests per context, each with a text of its own
	appendConfig   = `{}`
)

// appendAnswer has the size of ours, for the floors.
var appendAnswer = []byte(`{"seq":1000,"version":1000,"token_estimate":30}`)

// appendRequests are the prebuilt requests: context by context in turn, so that any number of connections works on as
// many different contexts. addr is only the Host header; every server gets the same number of bytes.
func appendRequests(s *server) [][]byte {
	w := newWriter(1)
	var reqs [][]byte
	for range appendVariants {
		for i := range appendContexts {
			reqs = append(reqs, w.single(nil, s.Addr, contextID(appendPrefix, i)))
		}
	}
	return reqs
}

func appendPlan(s *server, conns int, warmup, window time.Duration) load.Plan {
	return load.Plan{
		Conns: conns, Status: http.StatusCreated, Requests: appendRequests(s), Warmup: warmup, Duration: window,
	}
}

// durableFloor starts the durable floor in the form that is faster here and now: with or without the yield.
func (b *bench) durableFloor() (*server, error) {
	if b.calibrated {
		return b.readyDurable(b.gosched)
	}
	b.stepOf(0.06, "choosing the faster durable floor")
	plain, err := b.readyDurable(false)
	if err != nil {
		return nil, err
	}
	yields, err := b.readyDurable(true)
	if err != nil {
		return nil, err
	}
	window := b.pickTime(500*time.Millisecond, 200*time.Millisecond)
	plans := map[*server]load.Plan{
		plain:  appendPlan(plain, 64, window/5, window),
		yields: appendPlan(yields, 64, window/5, window),
	}
	got, err := b.duel("choose: plain, then yielding", b.pickInt(4, 2), plans, plain, yields)
	if err != nil {
		return nil, err
	}
	b.calibrated = true
	b.gosched = hist.Median(rates(got[yields])) >= hist.Median(rates(got[plain]))
	best, other := plain, yields
	if b.gosched {
		best, other = yields, plain
	}
	b.stop(other)
	b.rep.Fact("appends.gosched", "durable floor: with a yield / without", hist.Median(hist.Ratios(rates(got[yields]), rates(got[plain]))), "x")
	return best, nil
}

func (b *bench) readyDurable(gosched bool) (*server, error) {
	s, err := b.startDurable(gosched)
	if err != nil {
		return nil, err
	}
	return s, b.answerWith(s, http.StatusCreated, appendAnswer)
}

// appends: throughput and latency of single appends, ours against the durable floor.
func appends(b *bench) error {
	durable, err := b.durableFloor()
	if err != nil {
		return err
	}
	b.rep.Table(fmt.Sprintf("Appends of %d-byte messages to %d contexts (medians of rounds; latency in us; cpu: server, us a request)", messageBytes, appendContexts),
		"connections", "floor/s", "ours/s", "ratio", "p50 floor", "ours", "p99 floor", "ours", "p99.9 floor", "ours", "cpu floor", "ours", "client")
	for _, conns := range []int{1, 16, 64, 256} {
		if err := b.appendsAt(durable, conns); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) appendsAt(durable *server, conns int) error {
	b.stepOf(0.235, "%d connections", conns)
	ours, err := b.startOurs("")
	if err != nil {
		return err
	}
	defer b.stop(ours)
	if err := b.putContexts(ours, appendPrefix, appendContexts, appendConfig); err != nil {
		return err
	}
	rounds := b.pickInt(5, 3)
	window := b.pickTime(1200*time.Millisecond, 350*time.Millisecond)
	plans := map[*server]load.Plan{
		durable: appendPlan(durable, conns, window/5, window),
		ours:    appendPlan(ours, conns, window/5, window),
	}
	got, err := b.duel(fmt.Sprintf("%d connections", conns), rounds, plans, durable, ours)
	if err != nil {
		return err
	}
	if err := b.checkAppends(ours); err != nil {
		return err
	}
	f, o := got[durable], got[ours]
	ratios := hist.Ratios(rates(o), rates(f))
	tails := hist.Ratios(p99s(o), p99s(f))
	if conns == 64 {
		b.appendsAt64 = hist.Median(rates(o))
	}
	b.rep.Row(fmt.Sprint(conns), num(rates(f)), num(rates(o)), report.Number(100*hist.Median(ratios), "%"),
		num(p50s(f)), num(p50s(o)), num(p99s(f)), num(p99s(o)), num(p999s(f)), num(p999s(o)), num(cpus(f)), num(cpus(o)), num(clientCPUs(o)))
	id := fmt.Sprintf("appends.%d", conns)
	what := fmt.Sprintf("appends, %d connections, of the durable floor", conns)
	switch conns {
	case 1:
		b.claim(id+".rate", what, scale(ratios, 100), "%", atLeast(70))
	case 64, 256:
		b.claim(id+".rate", what, scale(ratios, 100), "%", atLeast(75))
		b.rep.Fact(id+".cpu", what+", by processor time alone", 100*byProcessor(f, o), "%")
		b.claim(id+".p99", fmt.Sprintf("appends, %d connections, p99 against the durable floor's", conns), tails, "x", atMost(2))
	default:
		b.rep.Fact(id+".rate", what, 100*hist.Median(ratios), "%")
	}
	return nil
}

// checkAppends compares what ours holds with every request that it acknowledged in this scenario so far.
func (b *bench) checkAppends(ours *server) error {
	return b.checkSeqs(ours, appendPrefix, appendContexts, b.acked[ours])
}

// halfLoad: latency at half of what ours can do, from the moment at which each request should have been sent.
func halfLoad(b *bench) error {
	durable, err := b.durableFloor()
	if err != nil {
		return err
	}
	plain, err := b.startFloor()
	if err != nil {
		return err
	}
	if err := b.answerWith(plain, http.StatusCreated, appendAnswer); err != nil {
		return err
	}
	ours, err := b.startOurs("")
	if err != nil {
		return err
	}
	if err := b.putContexts(ours, appendPrefix, appendContexts, appendConfig); err != nil {
		return err
	}
	const conns = 64
	if b.appendsAt64 == 0 {
		b.stepOf(0.1, "finding the full load")
		got, err := b.duel("full load", 1, map[*server]load.Plan{ours: appendPlan(ours, conns, 200*time.Millisecond, time.Second)}, ours)
		if err != nil {
			return err
		}
		b.appendsAt64 = hist.Median(rates(got[ours]))
	}
	rate := b.appendsAt64 / 2
	window := b.pickTime(1800*time.Millisecond, 500*time.Millisecond)
	open := func(s *server) load.Plan {
		p := appendPlan(s, conns, window/5, window)
		p.Rate = rate
		return p
	}
	var fd, floors, durables, mine []report.Round
	var allowed []float64
	for round := range b.pickInt(3, 2) {
		b.stepOf(0.9/float64(b.pickInt(3, 2)), "%s requests a second, round %d", report.Number(rate, ""), round+1)
		var h hist.H
		if err := floor.BareFdatasync(b.path("fdatasync"), 4096, window/2, &h); err != nil {
			return err
		}
		r := report.Round{
			Scenario: b.cur.name, Case: "bare fdatasync of 4 KiB", Server: "device", Round: round, Conns: 1, Requests: h.Count(),
			Seconds: (window / 2).Seconds(), PerSecond: float64(h.Count()) / (window / 2).Seconds(),
			P50: float64(h.Quantile(0.5)) / 1e3, P99: float64(h.Quantile(0.99)) / 1e3, P999: float64(h.Quantile(0.999)) / 1e3,
			Max: float64(h.Max()) / 1e3,
		}
		b.rep.Rounds = append(b.rep.Rounds, r)
		fd = append(fd, r)
		for _, s := range []struct {
			srv *server
			to  *[]report.Round
		}{{plain, &floors}, {durable, &durables}, {ours, &mine}} {
			r, err := b.measure(s.srv, open(s.srv), "half load", round)
			if err != nil {
				return err
			}
			*s.to = append(*s.to, r)
		}
		allowed = append(allowed, 2*fd[round].P99+floors[round].P99)
	}
	if err := b.checkAppends(ours); err != nil {
		return err
	}
	b.rep.Table(fmt.Sprintf("Appends at half load: %s a second over %d connections, open loop (us, from the intended time of sending)", report.Number(rate, ""), conns),
		"", "p50", "p99", "p99.9", "max")
	for _, x := range []struct {
		name string
		r    []report.Round
	}{{"bare fdatasync of 4 KiB", fd}, {"floor", floors}, {"durable floor", durables}, {"ours", mine}} {
		b.rep.Row(x.name, num(p50s(x.r)), num(p99s(x.r)), num(p999s(x.r)), num(col(x.r, func(r report.Round) float64 { return r.Max })))
	}
	b.claim("halfload.p99", "appends at half load, p99 / (2 x fdatasync p99 + floor p99)", hist.Ratios(p99s(mine), allowed), "x", atMost(1))
	b.rep.Fact("halfload.durable", "appends at half load, p99 against the durable floor's", hist.Median(hist.Ratios(p99s(mine), p99s(durables))), "x")
	return nil
}
