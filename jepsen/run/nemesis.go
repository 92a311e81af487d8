package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"fastpaca/jepsen/run/lan"
)

// action brings a fault about, keeps it for about held, and takes it back; it says what it did. An error is a promise that the
// product broke, or that the harness could not do it.
type action func(n *nemesis, ctx context.Context, held time.Duration) (string, error)

// class says what a fault can be mixed with: any with one of each other class, but for those that want to be alone.
type class uint8

const (
	onProcess class = iota // of one or more nodes, or the machine below them
	onNetwork
	aside // from outside: memberships, clocks, Postgres, clients
	alone // touches files, or needs all else to be well
)

// needs is what a fault cannot do without.
type needs uint8

const (
	layer    needs = 1 << iota // a server built with the tag faults
	postgres                   // an archive
	links5                     // five nodes
	ownDisk                    // a node with a file system of its own
)

// fault is one kind of trouble.
type fault struct {
	kind  string
	class class
	needs needs
	// blind: while it lasts, some shards have no majority, or a leader without a disk, so that nobody can write there.
	blind bool
	do    action
}

type nemesis struct {
	c        *cluster
	dice     *rand.Rand
	logf     func(format string, args ...any)
	cl       *clients
	pg       *archive // nil: none
	patience float64
	mixed    bool // mixtures from the start
	stalled  *stalls
}

func one(int) int           { return 1 }
func majority(size int) int { return size/2 + 1 }
func all(size int) int      { return size }

var kinds = []fault{
	{kind: "kill-one", do: kill(one)},
	{kind: "kill-majority", blind: true, do: kill(majority)},
	{kind: "kill-all", blind: true, do: kill(all)},
	{kind: "power-one", needs: layer, do: losePower(one)},
	{kind: "power-all", needs: layer, blind: true, do: losePower(all)},
	{kind: "terminate", do: terminate},
	{kind: "pause-short", do: pause(300*time.Millisecond, false)},
	{kind: "pause-long", do: pause(0, false)},
	{kind: "pause-kill", do: pause(0, true)},
	{kind: "slow-disk", needs: layer, do: disk(slow)},
	{kind: "hang-disk", needs: layer, do: disk(hang)},
	{kind: "no-room", needs: layer, blind: true, do: noRoom},
	{kind: "fail-sync", needs: layer, do: failSync},

	{kind: "isolate-leader", class: onNetwork, do: isolate(true, true)},
	{kind: "one-way-in", class: onNetwork, do: isolate(true, false)},
	{kind: "one-way-out", class: onNetwork, do: isolate(false, true)},
	{kind: "halves", class: onNetwork, do: links(func(a, b, size int) bool { return (a <= size/2) != (b <= size/2) })},
	// Everybody hears its two neighbours only: majorities overlap, but no two are the same.
	{kind: "ring", class: onNetwork, needs: links5, do: links(func(a, b, size int) bool { d := (a - b + size) % size; return d != 1 && d != size-1 })},
	// Two halves that have one node in common.
	{kind: "bridge", class: onNetwork, do: links(func(a, b, size int) bool {
		mid := size/2 + 1
		return a != mid && b != mid && (a < mid) != (b < mid)
	})},
	{kind: "behind", class: onNetwork, do: behind},
	{kind: "loss", class: onNetwork, do: packets(lan.Link{Loss: 0.15})},
	{kind: "delay", class: onNetwork, do: packets(lan.Link{Delay: 60 * time.Millisecond, Jitter: 60 * time.Millisecond})},
	{kind: "duplicate-reorder", class: onNetwork, do: packets(lan.Link{Duplicate: 0.2, Delay: time.Millisecond, Jitter: 30 * time.Millisecond})},

	{kind: "clock-jump", class: aside, needs: layer, do: clocks(2*time.Hour, 0, 0)},
	{kind: "clock-strobe", class: aside, needs: layer, do: clocks(20*time.Second, 0, 100*time.Millisecond)},
	{kind: "clock-drift", class: aside, needs: layer, do: clocks(time.Second, 200*time.Millisecond, 0)},
	{kind: "churn", class: aside, needs: links5, do: churn},
	{kind: "stalled-streams", class: aside, do: stallStreams},
	{kind: "pg-kill", class: aside, needs: postgres, do: killPostgres},
	{kind: "pg-slow", class: aside, needs: postgres, do: slowPostgres},
	{kind: "pg-cut", class: aside, needs: postgres, do: cutPostgres},

	{kind: "wipe", class: alone, do: damage(nil)},
	{kind: "truncate-file", class: alone, do: damage(truncate)},
	{kind: "flip-bit", class: alone, do: damage(flip)},
	{kind: "old-disk", class: alone, do: restoreOld},
	{kind: "full-disk", class: alone, needs: ownDisk, blind: true, do: fullDisk},
}

// wait sleeps for d; false means that the run is over.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// victims are count nodes: half of the time, the one that leads most is among them.
func (n *nemesis) victims(ctx context.Context, count int) []*node {
	all := slices.Clone(n.c.nodes)
	n.dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if n.dice.IntN(2) == 0 {
		l := n.c.leader(ctx)
		i := slices.Index(all, l)
		all[0], all[i] = all[i], all[0]
	}
	return all[:count]
}

func names(nodes []*node) string {
	var s []string
	for _, n := range nodes {
		s = append(s, n.name)
	}
	return strings.Join(s, " ")
}
