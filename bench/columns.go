package main

import (
	"fastpaca/bench/hist"
	"fastpaca/bench/report"
)

// col is one figure of each round.
func col(rs []report.Round, f func(report.Round) float64) []float64 {
	out := make([]float64, len(rs))
	for i, r := range rs {
		out[i] = f(r)
	}
	return out
}

func rates(rs []report.Round) []float64 {
	return col(rs, func(r report.Round) float64 { return r.PerSecond })
}
func p50s(rs []report.Round) []float64 { return col(rs, func(r report.Round) float64 { return r.P50 }) }
func p99s(rs []report.Round) []float64 { return col(rs, func(r report.Round) float64 { return r.P99 }) }
func p999s(rs []report.Round) []float64 {
	return col(rs, func(r report.Round) float64 { return r.P999 })
}
func cpus(rs []report.Round) []float64 {
	return col(rs, func(r report.Round) float64 { return r.ServerCPU })
}
func clientCPUs(rs []report.Round) []float64 {
	return col(rs, func(r report.Round) float64 { return r.ClientCPU })
}
func bytesPerSecond(rs []report.Round) []float64 {
	return col(rs, func(r report.Round) float64 { return float64(r.BodyBytes) / r.Seconds })
}

func scale(xs []float64, by float64) []float64 {
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = x * by
	}
	return out
}

// num is the median of xs for a table.
func num(xs []float64) string { return report.Number(hist.Median(xs), "") }

// target of a claim.
type target struct {
	value float64
	most  bool
}

func atLeast(v float64) target { return target{v, false} }
func atMost(v float64) target  { return target{v, true} }

// claim adds the median of the rounds as a claim.
func (b *bench) claim(id, what string, rounds []float64, unit string, t target) {
	lo, hi := hist.Spread(rounds)
	b.rep.Claim(report.Claim{
		ID: id, What: what, Value: hist.Median(rounds), Lo: lo, Hi: hi, Unit: unit, Target: t.value, AtMost: t.most,
	})
}

// claimAtScale is claim in a full run; a quick one has too little data for the figure to mean what the claim says, and
// shows it as a fact.
func (b *bench) claimAtScale(id, what string, rounds []float64, unit string, t target) {
	if b.opt.quick {
		b.rep.Fact(id, what+" (too little data for the claim)", hist.Median(rounds), unit)
		return
	}
	b.claim(id, what, rounds, unit, t)
}

// byProcessor is the ratio of throughputs that processor time alone allows where the cores are the limit: what a
// request costs server and client with the floor, over what it costs with ours. A noisy neighbour that takes the cores
// away for a while changes the rates, but hardly this.
func byProcessor(floor, ours []report.Round) float64 {
	o := hist.Median(cpus(ours)) + hist.Median(clientCPUs(ours))
	if o == 0 {
		return 0
	}
	return (hist.Median(cpus(floor)) + hist.Median(clientCPUs(floor))) / o
}
