package main

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"fastpaca/httpd"
)

// shareProcessors takes this node's share of the processors where the seeds name other nodes on the same machine:
// each would else take all of them to be its own, and three on two cores do a tenth to a third less (PERF.md, "Three
// nodes"). Who set GOMAXPROCS knows better, and so does whoever gave this process a part of the machine (a container's
// limit, which Go follows, or an affinity): nothing is changed then. It is for the whole process, and comes before
// anything is sized by GOMAXPROCS.
func shareProcessors(cfg *settings, say httpd.LogFunc) {
	all, nodes := machineProcessors(), nodesHere(cfg.listen, cfg.seeds, ownAddresses())
	share := processorShare(all, runtime.GOMAXPROCS(0), nodes, os.Getenv("GOMAXPROCS") != "")
	if share == 0 {
		return
	}
	runtime.GOMAXPROCS(share)
	say(httpd.LevelInfo, "processors_shared", "seeds are on this machine: this node takes its share of the processors; GOMAXPROCS sets another",
		"nodes", nodes, "processors", all, "gomaxprocs", share)
}

// processorShare is what one of so many nodes on a machine with all processors takes, given that it has now of them
// (chosen: because somebody said so); 0: what it has.
func processorShare(all, now, nodes int, chosen bool) int {
	if chosen || now != all || nodes < 2 {
		return 0
	}
	return max(1, all/nodes)
}

// nodesHere counts the nodes on this machine, as far as its addresses own, the seeds and this node's own listen address
// tell: different ports of addresses of this machine. Names are not looked up, but for localhost: what they stand for
// may change, and a count that is too low costs less than one that is too high.
func nodesHere(listen string, seeds []string, own []netip.Addr) int {
	_, port, _ := net.SplitHostPort(listen) // checked when it was read, like the seeds
	ports := []string{port}
	for _, seed := range seeds {
		host, port, _ := net.SplitHostPort(seed)
		ip, err := netip.ParseAddr(host)
		if host != "localhost" && (err != nil || !ip.IsLoopback() && !slices.Contains(own, ip.Unmap())) {
			continue
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return len(ports)
}
