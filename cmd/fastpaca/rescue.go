package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"fastpaca/cluster"
	"fastpaca/shard"
)

// rescue makes the directory of a stopped node a cluster of one, after the majority of its cluster was lost for good.
func rescue(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("fastpaca rescue", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: fastpaca rescue [--yes] DIR\n\nFor a cluster that lost the majority of its disks for good: makes the data directory of a stopped node\n"+
			"a cluster of one, with everything that this node has. Without --yes it only says what that is.\ndocs/operations.md says when, and what comes after.\n\n")
		fs.PrintDefaults()
	}
	yes := fs.Bool("yes", false, "do it")
	dirs, code, over := parseArgs(fs, args, 1)
	if over {
		return code
	}
	s, err := rescueDir(dirs[0], *yes)
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca rescue: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "node %s has %d log entries in all (of several nodes' directories take the one with most)\n", s.Name, s.Entries)
	fmt.Fprintf(stdout, "other nodes of its cluster: %s\n", strings.Join(s.Others, ", "))
	if n := len(s.Missing); n > 0 {
		fmt.Fprintf(stdout, "it has no replica of %d of the 257 groups; their contexts would be gone: %s\n", n, numbers(s.Missing))
	}
	if n := len(s.Partial); n > 0 {
		fmt.Fprintf(stdout, "its replica of %d groups may be incomplete: %s\n", n, numbers(s.Partial))
	}
	if !*yes {
		fmt.Fprintln(stdout, "nothing was changed; --yes makes this node a cluster of one. The disks of the other nodes are worthless then.")
		return 0
	}
	fmt.Fprintf(stdout, "it is a cluster of one now, %s: start it, then start the others with empty data directories, or drain them\n", s.ClusterID)
	return 0
}

func rescueDir(path string, yes bool) (s *cluster.Survey, err error) {
	// OpenDirectory would make one.
	if _, err := os.Stat(filepath.Join(path, "node.json")); err != nil {
		return nil, fmt.Errorf("not a data directory: %w", err)
	}
	dir, err := cluster.OpenDirectory(path, "")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only a lock
	if yes {
		return cluster.Rescue(dir, shard.Options{})
	}
	return cluster.Look(dir, shard.Options{})
}

func numbers(groups []uint32) string {
	list := make([]string, len(groups))
	for i, g := range groups {
		list[i] = fmt.Sprint(g)
	}
	return some(list, " ")
}
