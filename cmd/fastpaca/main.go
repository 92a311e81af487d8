// Command fastpaca is the Fastpaca Context Store: the server, and the tools of its operator.
package main

import (
	"fmt"
	"io"
	"os"
)

// version is set by the Makefile (-ldflags -X).
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const help = `fastpaca keeps every message of every LLM conversation, and hands out the part that fits the budget.

usage:
  fastpaca server [flags]       run a node (fastpaca server -h lists the flags)
  fastpaca status [flags]       show the cluster: nodes, leaders, lag, moves; --check for health checks
  fastpaca drain [flags] NAME   have a node give all it holds to others
  fastpaca undrain [flags] NAME take that back
  fastpaca rescue [--yes] DIR   make what one node has a cluster of its own, after the majority is lost for good
  fastpaca export [flags]       write contexts with their histories to a file of JSON lines
  fastpaca import [flags]       read them back, into this store or another
  fastpaca wal dump [flags] DIR print the log of a stopped node, for people
  fastpaca version              print the version
`

// run is main without the process, for tests. Exit codes: 0 fine, 1 failed, 2 used wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, help)
		return 2
	}
	switch args[0] {
	case "server":
		return server(args[1:], stdout, stderr)
	case "status":
		return status(args[1:], stdout, stderr)
	case "drain", "undrain":
		return drain(args[0], args[1:], stdout, stderr)
	case "rescue":
		return rescue(args[1:], stdout, stderr)
	case "export":
		return export(args[1:], stdout, stderr)
	case "import":
		return importFile(args[1:], stdout, stderr)
	case "wal":
		if len(args) > 1 && args[1] == "dump" {
			return walDump(args[2:], stdout, stderr)
		}
		fmt.Fprintln(stderr, "usage: fastpaca wal dump [flags] DIR")
		return 2
	case "version", "--version", "-v":
		fmt.Fprintf(stdout, "fastpaca %s\n", version)
		return 0
	case "help", "--help", "-h":
		fmt.Fprint(stdout, help)
		return 0
	default:
		fmt.Fprintf(stderr, "fastpaca: unknown command %q\n\n%s", args[0], help)
		return 2
	}
}
