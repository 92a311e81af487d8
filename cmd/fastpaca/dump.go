package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fastpaca/shard"
	"fastpaca/wal"
)

// walDump prints a log for people. It only reads, and works on a directory whose node does not start.
func walDump(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("fastpaca wal dump", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: fastpaca wal dump [flags] DIR\n\nDIR is a data directory or the wal directory in it. The node should not be running.\n\n")
		fs.PrintDefaults()
	}
	group := fs.Int64("shard", -1, "only this shard's records")
	from := fs.Uint64("from", 0, "first segment to print")
	records := fs.Bool("records", false, "print every record, not only a summary of each segment")
	data := fs.Int("data", 0, "bytes of each entry's command to print (they hold message contents)")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if fs.NArg() != 1 {
		fs.Usage()
		return 2
	}
	if *group >= shard.Shards {
		fmt.Fprintf(stderr, "fastpaca wal dump: -shard %d: shards are numbered from 0 to %d\n", *group, shard.Shards-1)
		return 2
	}
	dir := fs.Arg(0)
	if st, err := os.Stat(filepath.Join(dir, "wal")); err == nil && st.IsDir() {
		dir = filepath.Join(dir, "wal")
	}
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(stderr, "fastpaca wal dump: %v\n", err)
		return 1
	}
	err := wal.Dump(stdout, wal.OS(), dir, wal.DumpOptions{Group: *group, From: *from, Records: *records || *data > 0, Data: *data})
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca wal dump: %v\n", err)
		return 1
	}
	return 0
}
