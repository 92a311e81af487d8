package main

import (
	"fmt"

	"fastpaca/bench/proc"
	"fastpaca/bench/report"
)

// contextMemory: what a context costs that holds nothing.
func contextMemory(b *bench) error {
	n := b.pickInt(100_000, 20_000)
	b.stepOf(1, "%d empty contexts", n)
	s, err := b.startOurs("")
	if err != nil {
		return err
	}
	before, err := proc.Mem(s.PID())
	if err != nil {
		return err
	}
	if err := b.putContexts(s, manyPrefix, n, `{}`); err != nil {
		return err
	}
	after, err := proc.Mem(s.PID())
	if err != nil {
		return err
	}
	b.rep.Fact("memory.context", fmt.Sprintf("memory of an empty context (resident, garbage included, %s of them)", report.Number(float64(n), "")),
		float64(after.RSS-before.RSS)/float64(n), "bytes")
	return nil
}
