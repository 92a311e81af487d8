package main

import (
	"fmt"
	"slices"
	"time"

	"fastpaca/bench/hist"
	"fastpaca/bench/load"
	"fastpaca/bench/report"
)

// clusterAppends: appends to three nodes on this machine, connections spread evenly over the nodes, each append synced
// by two of the three before its answer. The floor is the durable floor of one node, and the client, the three nodes
// and their three logs share the processors and the disk that the floor has for itself.
//
// Nodes that share a machine take their share of its processors (docs/operations.md, "Several nodes on one machine"):
// with two cores, one each. What three nodes do that are told to take two each is measured, too.
func clusterAppends(b *bench) error {
	durable, err := b.durableFloor()
	if err != nil {
		return err
	}
	share := b.share()
	for _, procs := range slices.Compact([]int{share, b.opt.maxprocs}) {
		ours, err := b.startCluster(procs)
		if err != nil {
			return err
		}
		if procs == share {
			b.rep.Fact("cluster.ready", "three nodes, from the start of the processes to ready", ours.rest[len(ours.rest)-1].took.Seconds(), "s")
		}
		if err := b.putContexts(ours, appendPrefix, appendContexts, appendConfig); err != nil {
			return err
		}
		if err := clusterRounds(b, durable, ours, procs, procs == share); err != nil {
			return err
		}
		b.stop(ours)
	}
	return nil
}

// clusterRounds measures three nodes of so many processors each in turn with the floor. claimed: the targets are about these.
func clusterRounds(b *bench, durable, ours *server, procs int, claimed bool) error {
	b.rep.Table(fmt.Sprintf("Appends of %d-byte messages to %d contexts on %d nodes, GOMAXPROCS=%d (medians of rounds; latency in us; cpu: servers, us a request)",
		messageBytes, appendContexts, clusterNodes, procs),
		"connections", "floor/s", "ours/s", "ratio", "p50 floor", "ours", "p99 floor", "ours", "cpu floor", "ours", "client")
	for _, conns := range []int{3, 64, 256} {
		b.stepOf(0.15, "%d connections, GOMAXPROCS=%d", conns, procs)
		window := b.pickTime(600*time.Millisecond, 350*time.Millisecond)
		plans := map[*server]load.Plan{
			durable: appendPlan(durable, conns, window/5, window),
			ours:    appendPlan(ours, conns, window/5, window),
		}
		got, err := b.duel(fmt.Sprintf("three nodes, %d connections", conns), b.pickInt(11, 3), plans, durable, ours)
		if err != nil {
			return err
		}
		if err := b.checkAppends(ours); err != nil {
			return err
		}
		f, o := got[durable], got[ours]
		ratios := hist.Ratios(rates(o), rates(f))
		b.rep.Row(fmt.Sprint(conns), num(rates(f)), num(rates(o)), report.Number(100*hist.Median(ratios), "%"),
			num(p50s(f)), num(p50s(o)), num(p99s(f)), num(p99s(o)), num(cpus(f)), num(cpus(o)), num(clientCPUs(o)))
		id, what := fmt.Sprintf("cluster.%d.rate", conns), fmt.Sprintf("appends on three nodes, %d connections, of the durable floor", conns)
		switch {
		case !claimed:
			b.rep.Fact(fmt.Sprintf("%s.procs%d", id, procs), fmt.Sprintf("%s, GOMAXPROCS=%d each", what, procs), 100*hist.Median(ratios), "%")
		case conns == 64:
			b.claim(id, what, scale(ratios, 100), "%", atLeast(40))
		case conns == 256:
			b.claim(id, what, scale(ratios, 100), "%", atLeast(50))
		default:
			b.rep.Fact(id, what, 100*hist.Median(ratios), "%")
		}
	}
	return nil
}
