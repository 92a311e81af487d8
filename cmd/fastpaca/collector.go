package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"fastpaca/shard/pulse"
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

const (
	// recoveryPercent turns the collector off while the state is rebuilt: most of what is allocated then stays, and
	// buffers are used again, so that there is little to find.
	recoveryPercent = -1
	// recoveryShare of the memory is where the collector works normally even so.
	recoveryShare = 0.7
	// settleTime is how long the collector stays off behind it. A node that has its state still elects itself in all
	// groups; its first collection, of everything, should not compete with that for the processors.
	settleTime = 500 * time.Millisecond
)

// operatorPaces says that the operator has taken the collector into his own hands.
func operatorPaces() bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := os.LookupEnv(name); set {
			return true
		}
	}
	return false
}

// collectForRecovery sets the collector for the time of a recovery. settleTime after done, it collects as usual again, and what
// recovery used beyond the state goes back to the system.
func collectForRecovery() (done func()) {
	if operatorPaces() {
		return func() {}
	}
	percent := debug.SetGCPercent(recoveryPercent)
	limit := debug.SetMemoryLimit(-1)
	if total := memoryTotal(); total > 0 {
		debug.SetMemoryLimit(int64(float64(total) * recoveryShare))
	}
	return func() {
		time.AfterFunc(settleTime, func() {
			debug.SetGCPercent(percent)
			debug.SetMemoryLimit(limit)
			debug.FreeOSMemory()
		})
	}
}

// paceEvery is how often the pace is looked at.
const paceEvery = 200 * time.Millisecond

// paceCollector sets GOGC from the live heap every paceEvery, unless the operator has set GOGC or GOMEMLIMIT. It begins
// when what collectForRecovery leaves to do must be done.
// Setting it stops the world for some microseconds, so that small changes are left alone.
func paceCollector(ctx context.Context) (stop func()) {
	if operatorPaces() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	current := 100 // Go's default
	go func() {
		defer close(done)
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		tick := time.NewTimer(2 * settleTime)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tick.Reset(pulse.Until(paceEvery))
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
