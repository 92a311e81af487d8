package main

import (
	"context"
	"fmt"
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
	Blind   bool   `json:"blind"`
	Error   string `json:"error,omitempty"`
}

const (
	quietMin, quietMore = 1500 * time.Millisecond, 2500 * time.Millisecond
	holdMin, holdMore   = 2500 * time.Millisecond, 4 * time.Second
	// settleWithin bounds how long the cluster may need to be whole again after a fault, wiped nodes included.
	settleWithin = 90 * time.Second
)

// shortKinds is the fixed mixture of make jepsen-short.
var shortKinds = []string{"kill-one", "isolate-leader", "pause-long", "one-way-out", "loss", "kill-all", "bridge", "wipe", "pause-kill", "flip-bit"}

// schedule runs faults until ctx ends: first each kind once in an order of the seed's, then mixtures and single ones by the dice. The
// next one begins when the cluster is whole and has had a quiet time.
func (n *nemesis) schedule(ctx context.Context, only []string, short bool) (done []period) {
	var deck []fault
	byKind := map[string]fault{}
	for _, f := range faults {
		if len(n.c.nodes) >= f.size {
			byKind[f.kind] = f
			deck = append(deck, f)
		}
	}
	if len(only) > 0 {
		deck = deck[:0]
		for _, k := range only {
			if f, ok := byKind[k]; ok {
				deck = append(deck, f)
			}
		}
	}
	if !short {
		n.dice.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	}
	var nets, procs []fault
	for _, f := range deck {
		switch {
		case f.alone:
		case f.net:
			nets = append(nets, f)
		default:
			procs = append(procs, f)
		}
	}
	for turn := 0; ; turn++ {
		if short && turn == len(deck) {
			return done
		}
		if !wait(ctx, quietMin+time.Duration(n.dice.Int64N(int64(quietMore)))) {
			return done
		}
		hold := holdMin + time.Duration(n.dice.Int64N(int64(holdMore)))
		if short {
			hold = holdMin
		}
		mix := deck[turn%len(deck) : turn%len(deck)+1]
		if turn >= len(deck) && len(nets) > 0 && len(procs) > 0 && n.dice.IntN(2) == 0 {
			mix = []fault{nets[n.dice.IntN(len(nets))], procs[n.dice.IntN(len(procs))]}
		}
		p := n.inflict(ctx, mix, hold)
		done = append(done, p)
		n.logf("%6.1fs %-28s %s; whole again after %.1fs %s", float64(p.Start)/1e9, p.Kind, p.Detail, float64(p.Settled-p.End)/1e9, p.Error)
		if p.Error != "" {
			return done // what follows would say nothing
		}
	}
}

// inflict brings about all faults of mix at once and waits until the cluster is whole again.
func (n *nemesis) inflict(ctx context.Context, mix []fault, hold time.Duration) period {
	p := period{Start: n.cl.now()}
	details, errs := make([]string, len(mix)), make([]error, len(mix))
	var wg sync.WaitGroup
	for i, f := range mix {
		own := *n
		own.dice = split(n.dice)
		wg.Add(1)
		go func() {
			defer wg.Done()
			details[i], errs[i] = f.do(&own, ctx, hold)
		}()
	}
	wg.Wait()
	for i, f := range mix {
		if i > 0 {
			p.Kind, p.Detail = p.Kind+" + ", p.Detail+" + "
		}
		p.Kind, p.Detail, p.Blind = p.Kind+f.kind, p.Detail+details[i], p.Blind || f.blind || len(mix) > 1
		if errs[i] != nil {
			p.Error += fmt.Sprintf("%s: %s. ", f.kind, errs[i])
		}
	}
	p.End = n.cl.now()
	if p.Error == "" { // not ctx: what has begun is seen through
		if err := n.c.settled(context.Background(), settleWithin); err != nil {
			p.Error = "not whole again " + err.Error()
		}
	}
	p.Settled = n.cl.now()
	return p
}
