// Package delay is what jepsen/perturb puts between the statements of a copy of the product: a pause, now and then.
// No product code in the repository imports it.
package delay

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Sites is how many places a copy may have.
const Sites = 1 << 16

// longest is the longest pause: well above a switch of threads or a sync, well below the second and more
// after which the product gives something up.
const longest = 25 * time.Millisecond

var (
	odds  = fromEnvironment()
	calls [Sites]atomic.Uint32
)

// fromEnvironment reads PERTURB: one pass in so many pauses at a place that is passed for the first time.
// 0, or nothing: never.
func fromEnvironment() uint64 {
	v := os.Getenv("PERTURB")
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		panic("PERTURB must be a whole number, but is " + strconv.Quote(v))
	}
	return n
}

// P pauses for up to longest, at odds. They fall with every pass of a place, so that a loop's sum of pauses
// grows like a logarithm and what runs a million times still ends.
//
// It is the thread that sleeps, by a system call, and not the goroutine: a timer would stand still, or end a
// wait, in the bubbles of testing/synctest.
func P(site int) {
	if odds == 0 {
		return
	}
	passes := uint64(calls[site].Add(1))
	if rand.Uint64N(odds+passes/2) != 0 {
		return
	}
	ts := syscall.NsecToTimespec(int64(time.Millisecond + rand.N(longest-time.Millisecond)))
	_ = syscall.Nanosleep(&ts, nil) // a signal may end it early: shorter is a pause, too
}
