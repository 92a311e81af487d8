package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "play only this seed, and say what happens with -v")
	seedsFlag = flag.Uint64("seeds", 200, "play seeds first..first+n-1")
	firstFlag = flag.Uint64("first", 1, "first seed of -seeds")
	nodesFlag = flag.Int("nodes", 0, "founders of the cluster; 0: the seed says")
	traceFlag = flag.Bool("trace", false, "with -seed: every frame and step, too")
)

// TestMain lets garbage lie longer: a world lives for a second or less, and has up to a hundred MiB that are alive.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(1 << 30) // near that, the collector works as ever: a machine may have many processors and little memory
	os.Exit(m.Run())
}

// replay is the line that plays a seed again.
func replay(seed uint64) string {
	return fmt.Sprintf("go test ./jepsen/sim -run TestSeed -seed=%d -nodes=%d -v", seed, *nodesFlag)
}

// TestSeed plays one seed aloud: -seed=N.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("-seed=N plays one seed")
	}
	cfg := Config{Seed: *seedFlag, Nodes: *nodesFlag, Verbose: *traceFlag}
	if testing.Verbose() {
		cfg.Log = os.Stdout
	}
	r := New(cfg).Run()
	t.Logf("world: %s\ncounts: %+v\ntrace %016x", r.Swarm, r.Counts, r.Trace)
	if r.Err != nil {
		t.Fatalf("seed %d: %v", cfg.Seed, r.Err)
	}
}

// TestSeeds plays many seeds, one per processor at a time.
func TestSeeds(t *testing.T) {
	if *seedFlag != 0 {
		t.Skip("-seed plays only that one")
	}
	n := *seedsFlag
	if testing.Short() {
		n = min(n, 20)
	}
	var total Counts
	var mu sync.Mutex
	each(n, func(i uint64) {
		seed := *firstFlag + i
		r := New(Config{Seed: seed, Nodes: *nodesFlag}).Run()
		mu.Lock()
		defer mu.Unlock()
		total.Add(&r.Counts)
		if r.Err != nil {
			t.Errorf("seed %d: %v\nreplay: %s", seed, r.Err, replay(seed))
		}
	})
	t.Logf("%d seeds: %+v", n, total)
}

// each calls f for 0..n-1, as many at a time as there are processors.
func each(n uint64, f func(i uint64)) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				f(i)
			}
		}()
	}
	wg.Wait()
}

// TestSeedsReplay plays seeds twice: without the same trace, a failing seed would be worth nothing.
func TestSeedsReplay(t *testing.T) {
	each(6, func(i uint64) {
		a, b := New(Config{Seed: i + 1}).Run(), New(Config{Seed: i + 1}).Run()
		if a.Trace != b.Trace || a.Counts != b.Counts {
			t.Errorf("seed %d: two runs differ: %016x %+v, %016x %+v", i+1, a.Trace, a.Counts, b.Trace, b.Counts)
		}
	})
}
