package main

import (
	"context"
	"fmt"
	"time"
)

// What is wrong with machines whose processes live: their disks and clocks, through jepsen/faults.

// disk has the disk of one machine be as command says, and heals it.
func disk(command func(n *nemesis) string) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		v := n.victims(ctx, 1)[0]
		defer hold(v)()
		what := command(n)
		if err := v.obey("%s", what); err != nil {
			return "", err
		}
		wait(ctx, held)
		if !v.alive() {
			return "", fmt.Errorf("%s died of a disk that was %q (see %s)", v.name, what, v.log)
		}
		return what + " on " + v.name, v.obey("heal")
	}
}

func slow(n *nemesis) string { return fmt.Sprintf("slow %dms", 20<<n.dice.IntN(6)) } // to 640 ms

func hang(*nemesis) string { return "hang" }

// noRoom leaves any node no room, by its file layer (see fullDisk for a real file system).
func noRoom(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	v := n.victims(ctx, 1)[0]
	defer hold(v)()
	if err := v.obey("full"); err != nil {
		return "", err
	}
	told := n.fillLog(ctx, v)
	wait(ctx, held)
	return v.name + " had no room; " + told, v.obey("heal")
}

// failSync lets the syncs of one node fail and demands that its process dies: what the disk has is not known any more, and only a
// new process reads what it really has.
func failSync(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	v := n.victims(ctx, 1)[0]
	defer hold(v)()
	if err := v.obey("eio"); err != nil {
		return "", err
	}
	if !v.gone(loseDeath) {
		return "", fmt.Errorf("%s went on after a sync that failed", v.name)
	}
	wait(ctx, held/2)
	return v.name + " died of a failed sync", v.start()
}

// clocks turns the wall clocks of some machines, every so often anew (0: once), and sets them right at the end.
func clocks(most, rate, every time.Duration) action {
	return func(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
		vs := n.victims(ctx, 1+n.dice.IntN(len(n.c.nodes)))
		said := ""
		turn := func() {
			for _, v := range vs {
				by := time.Duration((2*n.dice.Float64() - 1) * float64(most))
				gain := time.Duration((2*n.dice.Float64() - 1) * float64(rate))
				if v.obey("clock %s %s", by, gain) == nil { // whose process is away has no clock; it starts with a right one
					said += fmt.Sprintf(" %s %+.1fs", v.name, by.Seconds())
				}
			}
		}
		turn()
		told := said
		for end := time.Now().Add(held); every > 0 && time.Now().Before(end) && wait(ctx, every); {
			turn()
		}
		if every == 0 {
			wait(ctx, held)
		}
		for _, v := range vs {
			_ = v.obey("clock 0s 0s")
		}
		return fmt.Sprintf("turned by%s, gaining up to %s a second", told, rate), nil
	}
}
