package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fastpaca/jepsen/run/check"
)

func split(dice *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64())) }

// play is the run itself: found a cluster, load it, break it, let it rest, judge.
func (o *options) play(r *result, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n, end, err := o.found(ctx, dir)
	if err != nil {
		return err
	}
	defer end()
	only := strings.Split(o.faults, ",")
	switch {
	case o.faults != "":
	case o.short:
		only = shortKinds
	default:
		only = nil
	}
	deck, err := n.deck(only)
	if err != nil {
		return err
	}
	cl := newClients(n.c, time.Now())
	r.Began, n.cl = cl.began, cl
	if err := cl.create(ctx); err != nil {
		return err
	}
	subs, stopFollow := n.c.follow(o.seed)
	defer stopFollow()
	stopWatch := cl.watch()
	defer stopWatch()
	stopLoad := cl.begin(ctx, o.rate, o.seed)
	defer stopLoad()

	faultCtx, done := context.WithTimeout(ctx, o.duration)
	defer done()
	r.Periods = n.schedule(faultCtx, deck, o.short)
	n.c.net.Heal()
	wait(ctx, 2*time.Second)
	r.Ended = cl.now()
	stopLoad()
	stopWatch()
	r.Hiccups = cl.blame(r.Periods)
	r.history, r.Other, r.Shed, r.Lived = cl.history, cl.other, cl.shed.Load(), len(cl.lived)
	if len(r.Periods) == 0 {
		return errors.New("no fault was brought about")
	}
	whole := &check.Verdict{Name: "the cluster is whole again after every fault", Checked: len(r.Periods)}
	if last := r.Periods[len(r.Periods)-1]; last.Error != "" {
		whole.Add("%s: %s %s", last.Kind, last.Detail, last.Error)
	}
	answers := &check.Verdict{Name: "answers are those of the API", Checked: len(r.history) + r.Lived}
	if len(cl.other) > 0 {
		answers.Add("%v", cl.other)
	}
	verdicts, err := cl.judge(context.Background(), n, subs, r.Periods, r.Ended)
	r.Verdicts = append([]*check.Verdict{whole, answers}, verdicts...)
	r.Longest, r.Packets = longestSilences(byContext(r.history), r.Periods, r.Ended), n.c.net.Stats()
	stopFollow()
	for _, s := range subs {
		r.Events, r.Conns = r.Events+len(s.events), r.Conns+s.conns
	}
	return err
}

// found starts a cluster, and the archive if there shall be one, and waits until it is whole. end takes all of it away.
func (o *options) found(ctx context.Context, dir string) (n *nemesis, end func(), err error) {
	bin, err := filepath.Abs(o.bin)
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the server's binary (make build-faults): %w", err)
	}
	n = &nemesis{dice: rand.New(rand.NewPCG(o.seed, 2)), patience: o.patience, mixed: o.mixed, stalled: &stalls{},
		logf: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	var undo []func()
	end = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	build := inNamespaces
	if o.network == loopback {
		build = onLoopback
	}
	at, err := build(o.nodes, o.seed)
	if err != nil {
		return nil, nil, err
	}
	var env []string
	if o.archive {
		if n.pg, err = startArchive(at); err != nil {
			return nil, nil, err
		}
		undo = append(undo, n.pg.close)
		env = n.pg.env()
	}
	if n.c, err = newCluster(at, bin, dir, env); err != nil {
		return nil, nil, err
	}
	undo = append(undo, n.c.close)
	if err := startAll(n.c.nodes); err != nil {
		return nil, nil, err
	}
	if err := n.c.settled(ctx, n.settleWithin()); err != nil {
		return nil, nil, fmt.Errorf("the cluster is not founded: %w", err)
	}
	return n, end, nil
}

// follow starts a subscriber for each context. stop ends them all, and may be called again.
func (c *cluster) follow(seed uint64) (subs []*subscriber, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	dice := rand.New(rand.NewPCG(seed, 1))
	for i := range contexts {
		s := &subscriber{c: c, context: i, dice: split(dice)}
		subs = append(subs, s)
		all.Go(func() { s.run(ctx) })
	}
	return subs, func() { cancel(); all.Wait() }
}

// begin starts the load. stop ends it, waits for what is under way, and may be called again.
func (l *clients) begin(ctx context.Context, rate int, seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() { l.run(ctx, rate, seed) })
	return func() { cancel(); load.Wait() }
}

func byContext(history []*check.Op) [][]*check.Op {
	by := make([][]*check.Op, contexts)
	for _, op := range history {
		by[op.Context] = append(by[op.Context], op)
	}
	return by
}
