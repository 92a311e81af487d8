package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"fastpaca/jepsen/run/lan"
)

type options struct {
	nodes, rate int
	duration    time.Duration
	seed        uint64
	out, bin    string
	faults      string
	short       bool
	archive     bool
	mixed       bool
	patience    float64
	plant       string
	network     string
}

// Exit codes.
const (
	exitGood      = 0
	exitViolation = 1 // the product broke a promise: the report says which
	exitTrouble   = 2 // the harness could not do its work: nothing is shown
)

func main() {
	var o options
	flag.IntVar(&o.nodes, "nodes", 3, "servers")
	flag.IntVar(&o.rate, "rate", 120, "operations begun a second")
	flag.DurationVar(&o.duration, "duration", 5*time.Minute, "how long faults are brought about")
	flag.Uint64Var(&o.seed, "seed", 0, "of load and faults; 0: one of the clock's")
	flag.StringVar(&o.out, "out", "jepsen/out", "where the report goes, in a directory per run")
	flag.StringVar(&o.bin, "bin", "bin/fastpaca-faults", "the server; without the tag faults some faults are left out")
	flag.StringVar(&o.faults, "faults", "", "comma-separated kinds; all by default")
	flag.BoolVar(&o.short, "short", false, "the fixed mixture of make jepsen-short, each fault once")
	flag.BoolVar(&o.mixed, "mixed", false, "mixtures from the start, not only when each fault was alone once")
	flag.BoolVar(&o.archive, "archive", false, "archive to a Postgres, and break that, too")
	flag.Float64Var(&o.patience, "patience", 1, "stretches the bounds of availability, for machines that others use as well")
	flag.StringVar(&o.network, "network", auto, "namespaces (packets), loopback (proxies), or auto: namespaces where the machine allows them")
	flag.StringVar(&o.plant, "plant", "", "hunt for a bug of jepsen/planted, that bin must have (tags faults and planted), until it is found")
	flag.Parse()
	if o.short {
		o.patience = max(o.patience, shortPatience)
	}
	if o.plant != "" {
		os.Exit(o.hunt())
	}
	switch {
	case o.network != auto:
	case lan.Inside():
		o.network = namespaces
	default:
		o.network = probe()
	}
	if o.network != loopback {
		inside, code, err := lan.Sandbox()
		switch {
		case err != nil:
			fmt.Fprintln(os.Stderr, "jepsen: namespaces:", err)
			os.Exit(exitTrouble)
		case !inside:
			os.Exit(code)
		}
	}
	if o.network == probing {
		if _, err := inNamespaces(1, 1); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitTrouble)
		}
		os.Exit(exitGood)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	os.Exit(o.run())
}

// Values of -network.
const (
	auto       = "auto"
	namespaces = "namespaces"
	loopback   = "loopback"
	probing    = "probe" // sees whether there are namespaces, and ends
)

// probe says which network this machine allows, by trying.
func probe() string {
	self, err := os.Executable()
	if err == nil {
		var out []byte
		if out, err = exec.Command(self, "-network", probing).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "jepsen: NO NAMESPACES HERE, loopback proxies instead: packets are neither doubled nor out of order, no disk is really full:", err)
		return loopback
	}
	return namespaces
}
