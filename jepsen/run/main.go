package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"fastpaca/jepsen/run/check"
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

func split(dice *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64())) }

// result is what a run leaves, and what the report is drawn from.
type result struct {
	Command  string
	Began    time.Time
	Git      string
	Nodes    int
	Seed     uint64
	Ended    int64
	Shed     int64
	Other    map[string]int
	Periods  []period
	Longest  []int64
	Verdicts []*check.Verdict
	Packets  lan.Stats
	Events   int
	Conns    int
	Lived    int   // operations on contexts that come and go
	Hiccups  int64 // ns that the harness did not run though it was due, in all
	Trouble  string
	history  []*check.Op
}

func (o *options) run() int {
	began := time.Now()
	r := &result{Began: began, Nodes: o.nodes, Seed: o.seed}
	r.Command = fmt.Sprintf("go run ./jepsen/run -nodes %d -rate %d -duration %s -seed %d", o.nodes, o.rate, o.duration, o.seed)
	if o.faults != "" {
		r.Command += " -faults " + o.faults
	}
	if o.short {
		r.Command += " -short"
	}
	if o.archive {
		r.Command += " -archive"
	}
	if o.mixed {
		r.Command += " -mixed"
	}
	r.Command += " -network " + o.network
	if o.patience != 1 && !o.short {
		r.Command += fmt.Sprint(" -patience ", o.patience)
	}
	if rev, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		r.Git = strings.TrimSpace(string(rev))
	}
	dir := filepath.Join(o.out, fmt.Sprintf("%s-n%d-seed%d", began.UTC().Format("20060102-150405"), o.nodes, o.seed))
	alive, err := claim(o.out, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "jepsen:", err)
		return exitTrouble
	}
	defer alive()
	fmt.Println("network:", o.network)
	if err := o.play(r, dir); err != nil {
		r.Trouble = err.Error()
	}
	bad := 0
	for _, v := range r.Verdicts {
		bad += v.Count
		state := "ok  "
		if v.Count > 0 {
			state = "FAIL"
		}
		fmt.Printf("%s %-70s %8d checked %4d violations %s\n", state, v.Name, v.Checked, v.Count, v.Note)
		for _, s := range v.Violations {
			fmt.Println("     ", s)
		}
	}
	fmt.Println(r.summary())
	for _, line := range r.kinds() {
		fmt.Println("    ", line)
	}
	if err := errors.Join(r.draw(filepath.Join(dir, "report.html")), o.keep(r, dir, bad > 0 || r.Trouble != "")); err != nil {
		fmt.Fprintln(os.Stderr, "jepsen:", err)
	}
	fmt.Println("report:", filepath.Join(dir, "report.html"), "\nagain: ", r.Command)
	switch {
	case bad > 0:
		return exitViolation
	case r.Trouble != "":
		fmt.Fprintln(os.Stderr, "jepsen:", r.Trouble)
		return exitTrouble
	}
	return exitGood
}

// play is the run itself: found a cluster, load it, break it, let it rest, judge.
func (o *options) play(r *result, dir string) error {
	bin, err := filepath.Abs(o.bin)
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("the server's binary (make build): %w", err)
	}
	n := &nemesis{dice: rand.New(rand.NewPCG(o.seed, 2)), patience: o.patience, mixed: o.mixed, stalled: &stalls{},
		logf: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	build := inNamespaces
	if o.network == loopback {
		build = onLoopback
	}
	at, err := build(o.nodes, o.seed)
	if err != nil {
		return err
	}
	var env []string
	if o.archive {
		if n.pg, err = startArchive(at); err != nil {
			return err
		}
		defer n.pg.close()
		env = n.pg.env()
	}
	c, err := newCluster(at, bin, dir, env)
	if err != nil {
		return err
	}
	defer c.close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	if err := c.settled(ctx, n.settleWithin()); err != nil {
		return fmt.Errorf("the cluster is not founded: %w", err)
	}
	cl := newClients(c, time.Now())
	r.Began = cl.began
	if err := cl.create(ctx); err != nil {
		return err
	}
	followCtx, stopFollow := context.WithCancel(context.Background())
	var follow sync.WaitGroup
	var subs []*subscriber
	dice := rand.New(rand.NewPCG(o.seed, 1))
	for i := range contexts {
		s := &subscriber{c: c, context: i, dice: split(dice)}
		subs = append(subs, s)
		follow.Add(1)
		go func() { defer follow.Done(); s.run(followCtx) }()
	}
	defer follow.Wait()
	defer stopFollow()

	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var load sync.WaitGroup
	load.Add(1)
	go func() { defer load.Done(); cl.run(loadCtx, o.rate, o.seed) }()

	n.c, n.cl = c, cl
	stopWatch := cl.watch()
	defer stopWatch()
	faultCtx, done := context.WithTimeout(ctx, o.duration)
	defer done()
	var only []string
	if o.short {
		only = shortKinds
	}
	if o.faults != "" {
		only = strings.Split(o.faults, ",")
	}
	deck, err := n.deck(only)
	if err != nil {
		return err
	}
	r.Periods = n.schedule(faultCtx, deck, o.short)
	c.net.Heal()
	wait(ctx, 2*time.Second)
	r.Ended = cl.now()
	stopLoad()
	load.Wait()
	stopWatch()
	r.Hiccups = cl.blame(r.Periods)
	r.history, r.Other, r.Shed, r.Lived = cl.history, cl.other, cl.shed.Load(), len(cl.lived)
	if len(r.Periods) == 0 {
		return errors.New("no fault was brought about")
	}
	if last := r.Periods[len(r.Periods)-1]; last.Error != "" {
		r.Verdicts = append(r.Verdicts, &check.Verdict{Name: "the cluster is whole again after every fault", Count: 1, Violations: []string{last.Kind + ": " + last.Detail + " " + last.Error}})
	}
	verdicts, err := cl.judge(context.Background(), n, subs, r.Periods, r.Ended)
	r.Verdicts = append(r.Verdicts, verdicts...)
	byContext := make([][]*check.Op, contexts)
	for _, op := range r.history {
		byContext[op.Context] = append(byContext[op.Context], op)
	}
	r.Longest, r.Packets = longestSilences(byContext, r.Periods, r.Ended), c.net.Stats()
	stopFollow()
	follow.Wait()
	for _, s := range subs {
		r.Events, r.Conns = r.Events+len(s.events), r.Conns+s.conns
	}
	if len(cl.other) > 0 {
		r.Verdicts = append(r.Verdicts, &check.Verdict{Name: "answers are those of the API", Count: len(cl.other), Violations: []string{fmt.Sprint(cl.other)}})
	}
	return err
}

// keep writes the figures, and of a bad run all that is known of it; of a good one the data directories go.
func (o *options) keep(r *result, dir string, bad bool) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "result.json"), raw, 0o644); err != nil {
		return err
	}
	if !bad {
		for id := 1; id <= o.nodes; id++ {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, fmt.Sprint("n", id))))
		}
		return err
	}
	f, err := os.Create(filepath.Join(dir, "history.jsonl.gz"))
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	enc := json.NewEncoder(z)
	for _, op := range r.history {
		err = errors.Join(err, enc.Encode(op))
	}
	return errors.Join(err, z.Close(), f.Close())
}
