// Command bench measures fastpaca against what the machine can do at all, in one go on one machine, and prints every
// claim of PERF.md with its target.
//
//	go run ./bench                     all of it, about five minutes
//	go run ./bench -quick              a minute; rougher, same shape
//	go run ./bench -only appends,reads
//
// Every server is a process of its own with the same GOMAXPROCS: the floors (this program executed again), and ours.
// Floor and ours take turns, round by round, and the claims are medians of the ratios of each round. PERF.md says how
// each figure is obtained and why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"fastpaca/bench/floor"
	"fastpaca/bench/report"
)

// floorCommand is the hidden subcommand that turns this program into a floor server.
const floorCommand = "_floor"

func main() {
	if len(os.Args) > 1 && os.Args[1] == floorCommand {
		if err := floorMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func floorMain(args []string) error {
	fs := flag.NewFlagSet(floorCommand, flag.ContinueOnError)
	log := fs.String("log", "", "file to log POST bodies to; empty: the plain floor")
	size := fs.Int64("size", 64<<20, "bytes of the log written ahead")
	gosched := fs.Bool("gosched", false, "yield before draining the queue")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return floor.Main(os.Stdout, *log, floor.LogOptions{Size: *size, Gosched: *gosched})
}

// options are the flags.
type options struct {
	quick    bool
	strict   bool
	only     string
	bin      string
	dir      string
	out      string
	maxprocs int
	list     bool
	keep     bool
	longer   int
}

// scenario is one part of the benchmark.
type scenario struct {
	name    string
	about   string
	seconds float64 // expected, of a full run and of a quick one, for the progress bar
	quick   float64
	run     func(*bench) error
}

// scenarios in the order they run.
func scenarios() []scenario {
	return []scenario{
		{"appends", "appends at 1, 16, 64, 256 connections against the durable floor", 72, 16, appends},
		{"cluster", "the same on three nodes, round-robin over them, replicated and synced on a quorum", 75, 17, clusterAppends},
		{"halfload", "latency of appends at half load (open loop) against a bare fdatasync and the floor", 24, 6, halfLoad},
		{"reads", "window and tail reads of 50 messages against the floor, replay of a whole history", 70, 14, reads},
		{"restart", "1 million messages in 10,000 contexts: memory, kill -9, cold replay", 35, 6, restart},
		{"gc", "cost of a garbage collection at 10 thousand and at 1 million messages", 20, 4, gcCycles},
		{"writes", "bytes written to disk per byte of message, snapshots included", 35, 6, writeAmplification},
		{"memory", "memory of an empty context", 10, 3, contextMemory},
		{"idle", "1 million contexts that nobody touches: memory, cold start", 150, 30, idle},
		{"tokens", "token counting against the reference library, in process", 8, 3, tokens},
	}
}

func run(ctx context.Context, args []string) int {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.BoolVar(&o.quick, "quick", false, "a short run: fewer rounds, a tenth of the data")
	fs.BoolVar(&o.strict, "strict", false, "exit with status 2 where a target is missed")
	fs.StringVar(&o.only, "only", "", "comma-separated scenarios; default all (see -list)")
	fs.StringVar(&o.bin, "bin", "", "measure this fastpaca binary; default: build ./cmd/fastpaca")
	fs.StringVar(&o.dir, "dir", "bench/out", "where data directories go while it runs; must be on a real disk")
	fs.StringVar(&o.out, "out", "bench/out/result.json", "machine-readable result")
	fs.IntVar(&o.maxprocs, "gomaxprocs", runtime.NumCPU(), "GOMAXPROCS of every server")
	fs.BoolVar(&o.list, "list", false, "list the scenarios and stop")
	fs.BoolVar(&o.keep, "keep", false, "keep data directories and logs")
	fs.IntVar(&o.longer, "longer", 1, "the writes scenario with so many times the messages (some 80 MB each)")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 1
	}
	picked, err := pick(o.only)
	if err == nil && o.longer < 1 {
		err = fmt.Errorf("-longer is %d, want 1 or more", o.longer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	if o.list {
		for _, s := range picked {
			fmt.Printf("%-9s %s\n", s.name, s.about)
		}
		return 0
	}
	rep, err := measureAll(ctx, o, picked)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	if err := rep.Print(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	fmt.Printf("\n%.0f s; raw rounds in %s\n", rep.Meta.Seconds, o.out)
	if o.strict && rep.Missed() > 0 {
		return 2
	}
	return 0
}

// pick resolves -only.
func pick(only string) ([]scenario, error) {
	all := scenarios()
	if only == "" {
		return all, nil
	}
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	want := strings.Split(only, ",")
	for _, w := range want {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("-only: there is no scenario %q; there are %s", w, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(s scenario) bool { return !slices.Contains(want, s.name) }), nil
}

// measureAll runs the picked scenarios and writes the result file. What was measured before an error is not reported:
// a run with an error proves nothing.
func measureAll(ctx context.Context, o options, picked []scenario) (*report.Report, error) {
	start := time.Now()
	total := 0.0
	for i := range picked {
		if o.quick {
			picked[i].seconds = picked[i].quick
		}
		total += picked[i].seconds
	}
	b, err := newBench(ctx, o, total+3)
	if err != nil {
		return nil, err
	}
	defer b.close()
	b.rep.Meta = metadata(o)
	b.step("building fastpaca", 3)
	if err := b.build(); err != nil {
		return nil, err
	}
	for _, s := range picked {
		b.rep.Meta.Scenarios = append(b.rep.Meta.Scenarios, s.name)
		b.begin(s)
		if err := s.run(b); err != nil {
			if ctx.Err() != nil {
				return nil, errors.New("interrupted")
			}
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		b.stopAll()
	}
	b.rep.Meta.Seconds = time.Since(start).Seconds()
	b.rep.Meta.Notes = b.notes
	return b.rep, b.rep.WriteFile(filepath.Clean(o.out))
}
