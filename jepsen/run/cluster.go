package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fastpaca/bench/proc"
	"fastpaca/jepsen/faults"
	"fastpaca/jepsen/run/lan"
)

const (
	port = 4000
	// tmpfsSize bounds the disk of the last node, which is a file system of its own so that it can be filled.
	tmpfsSize = "1g"
	// clientTimeout is longer than the product's own bound of 2.5 s, shorter than a pause.
	clientTimeout = 4 * time.Second
)

// node is one server: a namespace, a directory, and a process now and then.
type node struct {
	id     int
	name   string
	at     netip.AddrPort // where it listens
	host   *lan.Host
	dir    string
	log    string
	socket string // of the machine below it (jepsen/faults)
	env    []string
	bin    string
	http   *http.Client
	small  bool // its directory is on a file system of its own

	own sync.Mutex // of the fault that stops, starts or harms it: no two at once

	mu     sync.Mutex // for these
	child  *proc.Child
	starts int
}

type cluster struct {
	place *place
	net   network
	nodes []*node
}

// newCluster makes nodes at p, with their directories below dir. env is what their servers get besides.
func newCluster(p *place, bin, dir string, env []string) (*cluster, error) {
	c := &cluster{net: p.net, place: p}
	var seeds []string
	for _, at := range p.front {
		seeds = append(seeds, at.String())
	}
	for i, at := range p.listen {
		n := &node{id: i + 1, name: fmt.Sprint("n", i+1), host: p.hosts[i], at: at, bin: bin}
		n.dir, n.log, n.socket = filepath.Join(dir, n.name, "data"), filepath.Join(dir, n.name+".log"), shorter(filepath.Join(dir, n.name+".sock"))
		if err := os.MkdirAll(filepath.Dir(n.dir), 0o755); err != nil {
			return nil, err
		}
		if p.isolated && n.id == len(p.listen) {
			n.small = syscall.Mount("tmpfs", filepath.Dir(n.dir), "tmpfs", 0, "size="+tmpfsSize) == nil
		}
		n.http = &http.Client{Timeout: clientTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
		n.env = []string{
			"FASTPACA_LISTEN=" + at.String(), "FASTPACA_ADVERTISE=" + seeds[i], "FASTPACA_RAFT_DATA_DIR=" + n.dir, "FASTPACA_NODE_NAME=" + n.name,
			"FASTPACA_CLUSTER_SEED=" + strings.Join(seeds, ","), fmt.Sprint("FASTPACA_CLUSTER_SIZE=", len(seeds)), "FASTPACA_CLUSTER_SECRET=jepsen",
			// What is rare shall be frequent: segments, snapshots, transfers of them, contexts and messages that leave memory.
			"FASTPACA_WAL_SEGMENT_BYTES=4194304", "FASTPACA_MAX_BODY_BYTES=65536", "FASTPACA_SNAPSHOT_LOG_BYTES=8192",
			"FASTPACA_WAL_SOFT_LIMIT_BYTES=16777216", "FASTPACA_TAIL_KEEP=100", "FASTPACA_PARK_AFTER_MS=3000",
			faults.SocketVar + "=" + n.socket, faults.SourceVar + "=" + at.Addr().String(),
		}
		n.env = append(n.env, env...)
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// shorter is path, or the way to it from here: the name of a socket has 107 bytes at most.
func shorter(path string) string {
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}

// start runs the node's process, in its namespace, unless it runs. Its log is written in one of the two ways that there are
// (faults.BlocksVar), at the next start in the other one, each of them by some nodes at any time.
func (n *node) start() (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.child != nil && n.child.Alive() {
		return nil
	}
	env := append(slices.Clip(n.env), fmt.Sprintf("%s=%d", faults.BlocksVar, (n.id+n.starts)%2))
	n.starts++
	n.host.Do(func() {
		n.child, err = proc.Start(proc.Spec{Name: n.name, Args: []string{n.bin, "server"}, Log: n.log,
			Addr: n.at, Env: env})
	})
	return err
}

func (n *node) process() *proc.Child {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.child
}

func (n *node) alive() bool {
	p := n.process()
	return p != nil && p.Alive()
}

// gone waits until the process has ended; false: it has not within d.
func (n *node) gone(d time.Duration) bool {
	for deadline := time.Now().Add(d); n.alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	n.http.CloseIdleConnections()
	return true
}

// kill ends the process, also one that is stopped.
func (n *node) kill() {
	if n.alive() {
		n.process().Kill()
	}
	n.http.CloseIdleConnections()
}

func (n *node) signal(sig syscall.Signal) error { return n.process().Signal(sig) }

// tellTimeout bounds a command to a machine; what it says comes from memory.
const tellTimeout = time.Minute

// tell gives the machine below the node a command (faults.Machine) and returns what it says. A process that has just been started
// does not listen yet.
func (n *node) tell(format string, args ...any) (string, error) {
	command := fmt.Sprintf(format, args...) + "\n"
	deadline := time.Now().Add(tellTimeout)
	for {
		said, err := n.say(command, deadline)
		if err == nil || !n.alive() || time.Now().After(deadline) {
			return said, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (n *node) say(command string, deadline time.Time) (string, error) {
	c, err := net.DialTimeout("unix", n.socket, tellTimeout)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(deadline) // a closed connection says so below
		_, err = io.WriteString(c, command)
	}
	var said []byte
	if err == nil {
		said, err = io.ReadAll(c)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %.30q: %w", n.name, command, err)
	}
	return string(said), nil
}

// obey is tell, of a command that has no answer but ok.
func (n *node) obey(format string, args ...any) error {
	said, err := n.tell(format, args...)
	if err == nil && said != "ok\n" {
		err = fmt.Errorf("%s: "+format+": %s", append(append([]any{n.name}, args...), said)...)
	}
	return err
}

// hold makes the nodes the caller's, until the function that it returns is called. In the order of their ids, so that two who
// want the same nodes do not wait for one another.
func hold(nodes ...*node) (release func()) {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b *node) int { return a.id - b.id })
	for _, n := range nodes {
		n.own.Lock()
	}
	return func() {
		for _, n := range nodes {
			n.own.Unlock()
		}
	}
}

// wipe empties the data directory of a stopped node.
func (n *node) wipe() error { return os.RemoveAll(n.dir) }

func (n *node) addr() string { return n.at.String() }

func (n *node) url(path string) string { return "http://" + n.addr() + path }

// get decodes what path answers with status 200.
func (n *node) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url(path), nil)
	if err != nil {
		return err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: GET %s: %s", n.name, path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// status is what the harness needs of GET /v1/cluster.
type status struct {
	Nodes []struct {
		Name, State  string
		Alive        bool
		Leading, Lag int
		Replicas     int
		ID           uint64
	}
	Shards struct {
		Count, Moving int
		WithLeader    int `json:"with_leader"`
		MaxLag        int `json:"max_lag"`
	}
}

// settled waits until every node is ready and, by the word of all, every shard has a leader, nothing moves, and all
// nodes are active and heard of.
func (c *cluster) settled(ctx context.Context, timeout time.Duration) error {
	last := "nothing was asked yet"
	for deadline := time.Now().Add(timeout); ; {
		if last = c.unsettled(ctx); last == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %s", timeout, last)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *cluster) unsettled(ctx context.Context) string {
	for _, n := range c.nodes {
		var ready struct{ Status string }
		if err := n.get(ctx, "/health/ready", &ready); err != nil {
			return n.name + " is not ready: " + err.Error()
		}
		var st status
		if err := n.get(ctx, "/v1/cluster", &st); err != nil {
			return err.Error()
		}
		if st.Shards.WithLeader != st.Shards.Count || st.Shards.Moving > 0 {
			return fmt.Sprintf("%s: %d of %d shards have a leader, %d move", n.name, st.Shards.WithLeader, st.Shards.Count, st.Shards.Moving)
		}
		active := 0
		for _, m := range st.Nodes {
			if m.State == "active" && m.Alive {
				active++
			}
		}
		if active != len(c.nodes) {
			return fmt.Sprintf("%s: %d nodes are active and heard of", n.name, active)
		}
	}
	return ""
}

// leader is the node that leads most shards, by the word of any that answers.
func (c *cluster) leader(ctx context.Context) *node {
	best, most := c.nodes[0], -1
	for _, n := range c.nodes {
		var st status
		if n.get(ctx, "/v1/cluster", &st) != nil {
			continue
		}
		for _, m := range st.Nodes {
			for _, of := range c.nodes {
				if of.name == m.Name && m.Leading > most && of.alive() {
					best, most = of, m.Leading
				}
			}
		}
		break
	}
	return best
}

// close ends everything. What it cannot end ends with this process: see lan.Sandbox.
func (c *cluster) close() {
	for _, n := range c.nodes {
		n.kill()
		_ = os.Remove(n.socket)
		n.host.Close()
		if n.small {
			_ = syscall.Unmount(filepath.Dir(n.dir), syscall.MNT_DETACH)
		}
	}
	c.place.close()
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
