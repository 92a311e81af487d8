package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Nearly all that lives in the heap is message bytes without pointers. They cost a collection nothing to
// keep, but with Go's default of 100 % garbage they would cost memory twice. A fixed lower percentage would
// make a small heap collect all the time. So: garbage may gather up to garbageFloor or garbagePercent of
// what lives, whichever is more. Chosen by measurement: PERF.md, "Memory".
const (
	garbageFloor   = 64 << 20
	garbagePercent = 20
	percentMax     = 800
)

// gcPercent is the GOGC that allows the garbage described above when live bytes are live.
func gcPercent(live uint64) int {
	if live == 0 {
		return percentMax
	}
	return max(garbagePercent, min(percentMax, int(garbageFloor*100/live)))
}

// paceEvery is short enough that the heap of a recovery, which grows by a gigabyte a second, is not far off.
const paceEvery = 200 * time.Millisecond

// paceCollector sets GOGC from the live heap every paceEvery, unless the operator has set GOGC or GOMEMLIMIT.
// Setting it stops the world for some microseconds, so that small changes are left alone.
func paceCollector(ctx context.Context) (stop func()) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := os.LookupEnv(name); set {
			return func() {}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	current := 100 // Go's default
	go func() {
		defer close(done)
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		tick := time.NewTicker(paceEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				debug.SetGCPercent(100)
				return
			}
			metrics.Read(sample)
			if want := gcPercent(sample[0].Value.Uint64()); want*5 < current*4 || want*4 > current*5 {
				debug.SetGCPercent(want)
				current = want
			}
		}
	}()
	return func() { cancel(); <-done }
}
