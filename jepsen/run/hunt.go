package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// huntWithin is how long a bug may stay hidden.
	huntWithin = 10 * time.Minute
	// episode is how long each run is. Short ones begin often, which is when empty disks and young groups are about.
	episode = 45 * time.Second
)

// huntKinds are the faults of a hunt, in every second episode also mixed: those that take time and bring none of the planted bugs to light are left out.
const huntKinds = "kill-one,kill-all,power-all,power-one,pause-long,pause-kill,isolate-leader,one-way-in,halves,bridge,loss,wipe,kill-majority,duplicate-reorder,behind"

// hunt runs episodes, each with another seed, against servers that have a bug built in (jepsen/planted), until a checker finds it. bin
// must be built with the tags faults and planted. It runs outside of the namespaces, each episode in its own.
func (o *options) hunt() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "jepsen:", err)
		return exitTrouble
	}
	runtime.LockOSThread() // its death is the parent's, as the kernel sees it: no episode outlives the hunt
	began := time.Now()
	for seed := max(1, o.seed); time.Since(began) < huntWithin; seed++ {
		kinds := o.faults
		if kinds == "" {
			kinds = huntKinds
		}
		cmd := exec.Command(self, "-nodes", fmt.Sprint(o.nodes), "-rate", fmt.Sprint(o.rate), "-duration", episode.String(), "-seed", fmt.Sprint(seed),
			"-out", o.out, "-bin", o.bin, "-faults", kinds, fmt.Sprintf("-mixed=%t", seed%2 == 0), "-patience", fmt.Sprint(o.patience))
		cmd.Env = append(os.Environ(), "FASTPACA_PLANT="+o.plant)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stdout), os.Stderr
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
		case errors.As(err, &exit) && exit.ExitCode() == exitViolation:
			fmt.Printf("FOUND %s within %.0f s, seed %d, by: %s\n", o.plant, time.Since(began).Seconds(), seed, failed(out.String()))
			return exitGood
		default:
			fmt.Fprintf(os.Stderr, "jepsen: seed %d: %v\n", seed, err)
		}
	}
	fmt.Printf("NOT FOUND %s within %s\n", o.plant, huntWithin)
	return exitViolation
}

// failed names the checkers that found something.
func failed(output string) string {
	var by []string
	for line := range strings.Lines(output) {
		if name, ok := strings.CutPrefix(line, "FAIL "); ok {
			name, _, _ = strings.Cut(name, "  ")
			by = append(by, strings.TrimSpace(name))
		}
	}
	return strings.Join(by, "; ")
}
