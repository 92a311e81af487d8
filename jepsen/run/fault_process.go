package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

func kill(count func(size int) int) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		vs := n.victims(ctx, count(len(n.c.nodes)))
		defer hold(vs...)()
		for _, v := range vs {
			v.kill()
		}
		wait(ctx, held/2)
		return "kill -9 " + names(vs), startAll(vs)
	}
}

func startAll(vs []*node) error {
	var errs []error
	for _, v := range vs {
		errs = append(errs, v.start())
	}
	return errors.Join(errs...)
}

// loseDeath bounds how long a process that was told to die may live, on a machine that schedules it late.
const loseDeath = 2 * time.Minute

// losePower takes the power from count machines: what they did not sync is lost, kept or torn.
func losePower(count func(size int) int) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		vs := n.victims(ctx, count(len(n.c.nodes)))
		defer hold(vs...)()
		for _, v := range vs {
			if !v.alive() {
				continue
			}
			seed := n.dice.Uint64()
			go func() { _, _ = v.tell("power %d", seed) }() // it does not live to answer
		}
		for _, v := range vs {
			if !v.gone(loseDeath) {
				return "", fmt.Errorf("%s did not lose its power", v.name)
			}
		}
		wait(ctx, held/2)
		return "no power on " + names(vs), startAll(vs)
	}
}

// terminate ends one process as an operator does, and demands that it goes by itself.
func terminate(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	v := n.victims(ctx, 1)[0]
	defer hold(v)()
	if !v.alive() {
		return v.name + " was not running", v.start()
	}
	began := time.Now()
	err := v.process().Terminate(terminateWithin)
	took := time.Since(began)
	v.http.CloseIdleConnections()
	wait(ctx, held/4)
	return fmt.Sprintf("SIGTERM %s, gone after %.1fs", v.name, took.Seconds()), errors.Join(err, v.start())
}

// terminateWithin is twice the product's own bound (FASTPACA_SHUTDOWN_TIMEOUT_MS, 30 s), for busy machines.
const terminateWithin = 60 * time.Second

// pause stops a process for d (0: the hold) and lets it go on, or kills it as it stands.
func pause(d time.Duration, thenKill bool) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		if d != 0 {
			held = d
		}
		v := n.victims(ctx, 1)[0]
		defer hold(v)()
		if !v.alive() {
			return v.name + " was not running", v.start()
		}
		if err := v.signal(syscall.SIGSTOP); err != nil {
			return "", err
		}
		wait(ctx, held)
		if !thenKill {
			return fmt.Sprintf("SIGSTOP %s for %s", v.name, held), v.signal(syscall.SIGCONT)
		}
		v.kill()
		return fmt.Sprintf("SIGSTOP %s for %s, then kill -9", v.name, held), v.start()
	}
}
