package main

import (
	"flag"
	"fmt"
	"io"
	"net/url"
)

// drain empties a node, undrain takes that back. verb is which.
func drain(verb string, args []string, stdout, stderr io.Writer) int {
	about := "Has the node give its replicas and leaderships to others, to be stopped for good then. It goes on serving meanwhile."
	done := "%s is being drained; `fastpaca status` shows when it holds no replica any more and can be stopped\n"
	if verb == "undrain" {
		about = "Takes a drain back: the node may hold replicas again."
		done = "%s is active again\n"
	}
	fs := flag.NewFlagSet("fastpaca "+verb, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, "usage: fastpaca %s [flags] NAME\n\n%s\nAny node can be asked.\n\n", verb, about)
		fs.PrintDefaults()
	}
	flags := newClientFlags(fs)
	names, code, over := parseArgs(fs, args, 1)
	if over {
		return code
	}
	c, err := flags.client()
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca %s: %v\n", verb, err)
		return 2
	}
	if _, err := c.do("POST", "/v1/cluster/nodes/"+url.PathEscape(names[0])+"/"+verb); err != nil {
		fmt.Fprintf(stderr, "fastpaca %s: %s: %v\n", verb, names[0], err)
		return 1
	}
	fmt.Fprintf(stdout, done, names[0])
	return 0
}
