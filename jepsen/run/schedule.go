package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// period is one fault of the timeline, in ns since the run began.
type period struct {
	Kind    string `json:"kind"`
	Detail  string `json:"detail"`
	Start   int64  `json:"start"`
	End     int64  `json:"end"`     // of the fault itself
	Settled int64  `json:"settled"` // all nodes ready, every shard led, nothing moving
	// Blind: for a while, until BlindEnd, there were shards that nobody could write to.
	Blind    bool   `json:"blind"`
	BlindEnd int64  `json:"blind_end,omitempty"`
	harmful  int64  // the end of the last fault that takes something away from clients
	Hiccup   int64  `json:"hiccup,omitempty"` // that the harness itself did not run meanwhile: the machine is overloaded
	Error    string `json:"error,omitempty"`
}

const (
	quietMin, quietMore = 1500 * time.Millisecond, 2500 * time.Millisecond
	holdMin, holdMore   = 2500 * time.Millisecond, 4 * time.Second
	// settleWithin bounds how long the cluster may need to be whole again after a fault, wiped nodes included.
	settleWithin = 90 * time.Second
)

// shortKinds is the fixed mixture of make jepsen-short: each way to lose a process, its disk, or its neighbours.
var shortKinds = []string{"kill-one", "isolate-leader", "power-all", "pause-long", "one-way-out", "fail-sync", "loss", "kill-all", "hang-disk", "pause-kill", "flip-bit"}

const (
	shortQuiet, shortHold = time.Second, 2 * time.Second
	// shortPatience is for machines that run other tests as well: bounds of a minute, but bounds.
	shortPatience = 6
)

// deck returns the faults that can be brought about here: all, or those that only names, in that order.
func (n *nemesis) deck(only []string) (deck []fault, err error) {
	has := n.has()
	if len(only) == 0 {
		for _, f := range kinds {
			only = append(only, f.kind)
		}
	}
	for _, k := range only {
		i := slices.IndexFunc(kinds, func(f fault) bool { return f.kind == k })
		if i < 0 {
			return nil, fmt.Errorf("there is no fault %q", k)
		}
		if lacks := kinds[i].needs &^ has; lacks != 0 {
			n.logf("LEFT OUT: %s, which needs %s", k, lacks)
			continue
		}
		deck = append(deck, kinds[i])
	}
	if len(deck) == 0 {
		return nil, errors.New("no fault is left")
	}
	return deck, nil
}

// String says what it is that a run lacks.
func (s needs) String() string {
	var out []string
	for i, name := range [...]string{"a server built with the tag faults", "an archive (-archive)", "five nodes (-nodes 5)", "a file system of its own for a node"} {
		if s>>i&1 != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, " and ")
}

// has is what this cluster can offer to faults.
func (n *nemesis) has() (h needs) {
	if len(n.c.nodes) >= 5 {
		h |= links5
	}
	if n.pg != nil {
		h |= postgres
	}
	if n.c.nodes[len(n.c.nodes)-1].small {
		h |= ownDisk
	}
	if _, err := os.Stat(n.c.nodes[0].socket); err == nil {
		h |= layer
	}
	return h
}

// mixture draws one fault of each of two or three classes.
func (n *nemesis) mixture(deck []fault) (mix []fault) {
	var by [alone][]fault
	for _, f := range deck {
		if f.class < alone {
			by[f.class] = append(by[f.class], f)
		}
	}
	left := n.dice.IntN(int(alone) + 2) // the class that stays away; none, if it is no class
	for c, of := range by {
		if c != left && len(of) > 0 {
			mix = append(mix, of[n.dice.IntN(len(of))])
		}
	}
	if len(mix) == 0 {
		return deck[:1]
	}
	return mix
}

// schedule runs faults until ctx ends: first each kind once in an order of the seed's, then mixtures and single ones by the dice. The
// next one begins when the cluster is whole and has had a quiet time. Once: each kind, and no more, in the order given.
func (n *nemesis) schedule(ctx context.Context, deck []fault, once bool) (done []period) {
	if !once {
		n.dice.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	}
	for turn := 0; ; turn++ {
		if once && turn == len(deck) {
			return done
		}
		quiet := quietMin + time.Duration(n.dice.Int64N(int64(quietMore)))
		held := holdMin + time.Duration(n.dice.Int64N(int64(holdMore)))
		if once {
			quiet, held = shortQuiet, shortHold
		}
		if !wait(ctx, quiet) {
			return done
		}
		mix := deck[turn%len(deck) : turn%len(deck)+1]
		if (turn >= len(deck) || n.mixed) && !once && n.dice.IntN(2) == 0 {
			mix = n.mixture(deck)
		}
		p := n.inflict(ctx, mix, held)
		done = append(done, p)
		n.logf("%6.1fs %-28s %s; whole again after %.1fs %s", float64(p.Start)/1e9, p.Kind, p.Detail, float64(p.Settled-p.End)/1e9, p.Error)
		if p.Error != "" {
			return done // what follows would say nothing
		}
	}
}

// settleWithin is how long the cluster may need to be whole again.
func (n *nemesis) settleWithin() time.Duration {
	return time.Duration(n.patience * float64(settleWithin))
}

// inflict brings about all faults of mix at once and waits until the cluster is whole again.
func (n *nemesis) inflict(ctx context.Context, mix []fault, held time.Duration) period {
	p := period{Start: n.cl.now()}
	details, errs, ends := make([]string, len(mix)), make([]error, len(mix)), make([]int64, len(mix))
	var wg sync.WaitGroup
	for i, f := range mix {
		own := *n
		own.dice = split(n.dice)
		wg.Add(1)
		go func() {
			defer wg.Done()
			details[i], errs[i] = f.do(&own, ctx, held)
			ends[i] = n.cl.now()
		}()
	}
	wg.Wait()
	p.End = n.cl.now()
	harmful := 0
	for i, f := range mix {
		if i > 0 {
			p.Kind, p.Detail = p.Kind+" + ", p.Detail+" + "
		}
		p.Kind, p.Detail = p.Kind+f.kind, p.Detail+details[i]
		if f.class != aside {
			harmful++
			p.blinds(f.blind || harmful > 1, ends[i])
		}
		if errs[i] != nil {
			p.Error += fmt.Sprintf("%s: %s. ", f.kind, errs[i])
		}
	}
	if p.Error == "" { // not ctx: what has begun is seen through
		if err := n.c.settled(context.Background(), n.settleWithin()); err != nil {
			p.Error = "not whole again " + err.Error()
		}
	}
	p.Settled = n.cl.now()
	return p
}

// blinds notes that a fault which ended then may have, or has, left shards without a majority.
func (p *period) blinds(yes bool, end int64) {
	p.harmful = max(p.harmful, end)
	if p.Blind = p.Blind || yes; p.Blind {
		p.BlindEnd = p.harmful
	}
}
