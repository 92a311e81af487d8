package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// clusterStatus is what GET /v1/cluster answers, as far as people want to see it.
type clusterStatus struct {
	Node        string
	Version     string
	Ready       bool
	Reason      string
	ClusterID   string `json:"cluster_id"`
	Coordinator *string
	MapVersion  uint64 `json:"map_version"`
	Nodes       []struct {
		Name     string
		ID       uint64
		Address  string
		Self     bool
		State    string
		Alive    bool
		Replicas int
		Leading  int
		Lag      uint64
	}
	Shards struct {
		Count      int
		WithLeader int `json:"with_leader"`
		Moving     int
		MaxLag     uint64 `json:"max_lag"`
	}
	Moves []struct {
		Shard    uint32
		From, To []string
	}
	Leaders []struct {
		Shard  uint32
		Leader *string
	}
}

// status shows the cluster as a node sees it.
func status(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("fastpaca status", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: fastpaca status [flags]\n\nShows the nodes of the cluster, who leads how many shards, who is behind, and what moves where.\n\n")
		fs.PrintDefaults()
	}
	flags := newClientFlags(fs)
	raw := fs.Bool("json", false, "print the node's answer as it is")
	check := fs.Bool("check", false, "print nothing but a reason, and exit 0 if the node is ready, 1 if not: for health checks")
	if _, code, done := parseArgs(fs, args, 0); done {
		return code
	}
	c, err := flags.client()
	if err != nil {
		fmt.Fprintf(stderr, "fastpaca status: %v\n", err)
		return 2
	}
	if *check {
		if _, err := c.do("GET", "/health/ready"); err != nil {
			fmt.Fprintf(stderr, "fastpaca status: %v\n", err)
			return 1
		}
		return 0
	}
	body, err := c.do("GET", "/v1/cluster")
	var st clusterStatus
	if err == nil && !*raw {
		err = json.Unmarshal(body, &st)
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "fastpaca status: %v\n", err)
		return 1
	case *raw:
		fmt.Fprintf(stdout, "%s\n", body)
	default:
		st.print(stdout)
	}
	return 0
}

// shownMax bounds lists of shards: a table is to fit on a screen.
const shownMax = 16

func (st *clusterStatus) print(w io.Writer) {
	coordinator := "none"
	if st.Coordinator != nil {
		coordinator = *st.Coordinator
	}
	ready := "ready"
	if !st.Ready {
		ready = "not ready (" + st.Reason + ")"
	}
	id := st.ClusterID
	if id == "" {
		id = "none yet"
	}
	fmt.Fprintf(w, "cluster      %s\ncoordinator  %s\nasked        %s, version %s: %s\n\n", id, coordinator, st.Node, st.Version, ready)

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tID\tADDRESS\tSTATE\tREPLICAS\tLEADS\tLAG")
	for i := range st.Nodes {
		n := &st.Nodes[i]
		state := n.State
		if !n.Alive && state != "removed" {
			state += ", down"
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%d\n", n.Name, n.ID, n.Address, state, n.Replicas, n.Leading, n.Lag)
	}
	_ = t.Flush() // an error is the terminal's

	fmt.Fprintf(w, "\n%d shards, %d with a leader, %d moving; the slowest replica is %d entries behind\n",
		st.Shards.Count, st.Shards.WithLeader, st.Shards.Moving, st.Shards.MaxLag)
	var leaderless []string
	for i := range st.Leaders {
		if st.Leaders[i].Leader == nil {
			leaderless = append(leaderless, strconv.Itoa(int(st.Leaders[i].Shard)))
		}
	}
	if len(leaderless) > 0 {
		fmt.Fprintf(w, "without a leader: %s\n", some(leaderless, " "))
	}
	var moves []string
	for i := range st.Moves {
		m := &st.Moves[i]
		moves = append(moves, fmt.Sprintf("  shard %d: %s", m.Shard, difference(m.From, m.To)))
	}
	if len(moves) > 0 {
		fmt.Fprintf(w, "moving:\n%s\n", some(moves, "\n"))
	}
}

// some joins the first of a list, and says how many more there are.
func some(list []string, separator string) string {
	if len(list) <= shownMax {
		return strings.Join(list, separator)
	}
	return strings.Join(list[:shownMax], separator) + separator + fmt.Sprintf("and %d more", len(list)-shownMax)
}

// difference says who goes and who comes.
func difference(from, to []string) string {
	missing := func(of, in []string) []string {
		var out []string
		for _, name := range of {
			found := false
			for _, other := range in {
				found = found || name == other
			}
			if !found {
				out = append(out, name)
			}
		}
		return out
	}
	gone, come := missing(from, to), missing(to, from)
	switch {
	case len(gone) == 0 && len(come) == 0:
		return "settling on " + strings.Join(to, ", ")
	case len(gone) == 0:
		return "to " + strings.Join(come, ", ")
	case len(come) == 0:
		return "away from " + strings.Join(gone, ", ")
	}
	return strings.Join(gone, ", ") + " -> " + strings.Join(come, ", ")
}
