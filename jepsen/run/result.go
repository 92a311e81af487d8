package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fastpaca/jepsen/run/check"
	"fastpaca/jepsen/run/lan"
)

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

// run is one run, from its directory to its exit code.
func (o *options) run() int {
	began := time.Now()
	r := &result{Began: began, Nodes: o.nodes, Seed: o.seed}
	r.Command = o.command()
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
	bad := r.print()
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

// command is what repeats the run.
func (o *options) command() string {
	c := fmt.Sprintf("go run ./jepsen/run -nodes %d -rate %d -duration %s -seed %d", o.nodes, o.rate, o.duration, o.seed)
	if o.faults != "" {
		c += " -faults " + o.faults
	}
	if o.short {
		c += " -short"
	}
	if o.archive {
		c += " -archive"
	}
	if o.mixed {
		c += " -mixed"
	}
	c += " -network " + o.network
	if o.patience != 1 && !o.short {
		c += fmt.Sprint(" -patience ", o.patience)
	}
	return c
}

// print writes the verdicts and the figures for people, and returns the number of violations.
func (r *result) print() (bad int) {
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
	return bad
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
