package jepsen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fastpaca/bench/proc"

	"github.com/stretchr/testify/require"
)

// cluster is a set of server processes that know one another by their seeds.
type cluster struct {
	t     *testing.T
	nodes []*node
	open  atomic.Pointer[[]*node] // where load goes
	pause time.Duration           // of a writer between two appends, where load lasts as long as something else does
}

// smallEnv makes what is rare happen often: segments, snapshots, and transfers of them.
var smallEnv = []string{
	"FASTPACA_WAL_SEGMENT_BYTES=4194304", "FASTPACA_MAX_BODY_BYTES=65536", "FASTPACA_SNAPSHOT_LOG_BYTES=65536",
	"FASTPACA_WAL_SOFT_LIMIT_BYTES=16777216", "FASTPACA_CLUSTER_SECRET=jepsen",
}

// newCluster prepares size nodes whose seeds are all of them; start runs them.
func newCluster(t *testing.T, size int, env ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var seeds []string
	for range size {
		addr, err := proc.FreeAddr()
		require.NoError(t, err)
		seeds = append(seeds, addr.String())
	}
	for i, seed := range seeds {
		c.add(fmt.Sprintf("n%d", i+1), seed, strings.Join(seeds, ","), env...)
	}
	return c
}

// add prepares one more node. Empty seeds make it found a cluster of its own.
func (c *cluster) add(name, addr, seeds string, env ...string) *node {
	c.t.Helper()
	e := append([]string{"FASTPACA_NODE_NAME=" + name}, smallEnv...)
	if seeds != "" {
		e = append(e, "FASTPACA_CLUSTER_SEED="+seeds)
	}
	n := newNode(c.t, filepath.Join(c.t.TempDir(), name), append(e, env...)...)
	n.addr = netip.MustParseAddrPort(addr)
	c.nodes = append(c.nodes, n)
	c.serve(c.nodes...)
	return n
}

// serve names the nodes that load may use from now on.
func (c *cluster) serve(nodes ...*node) {
	list := slices.Clone(nodes)
	c.open.Store(&list)
}

// start runs all nodes and waits until each is ready; it returns how long the slowest took.
func (c *cluster) start() time.Duration {
	c.t.Helper()
	began := time.Now()
	for _, n := range c.nodes {
		n.spawn()
	}
	for _, n := range c.nodes {
		c.ready(n)
	}
	return time.Since(began)
}

// ready waits until n says that it is ready.
func (c *cluster) ready(n *node) {
	c.t.Helper()
	_, err := n.proc.WaitReady(context.Background(), "/health/ready", time.Now(), 60*time.Second)
	require.NoError(c.t, err)
}

// rounds is how often a fault is repeated: few in make test, more with JEPSEN_ROUNDS.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("JEPSEN_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return few
}

// clusterWriter appends to its own context through changing nodes, and remembers what was acknowledged.
type clusterWriter struct {
	id      string
	sent    int
	acked   map[uint64]string
	unknown int
	lastAck atomic.Int64 // ns since start
	silence time.Duration
}

// load runs one goroutine per writer until stop is closed. The outcome of an append that was not answered, or
// answered raft_timeout, is unknown; it is not repeated. Any other failure but a 503 fails the test.
func (c *cluster) load(writers []*clusterWriter, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w.lastAck.Store(time.Now().UnixNano())
			for turn := i; ; turn++ {
				select {
				case <-stop:
					return
				default:
				}
				open := *c.open.Load()
				n := open[turn%len(open)]
				w.sent++
				txt := fmt.Sprintf("%s message %d %s", w.id, w.sent, strings.Repeat("x", w.sent%300))
				var got appended
				code, err := n.call("POST", "/v1/contexts/"+w.id+"/messages", appendBody{text(txt)}, &got)
				switch {
				case err != nil:
					if !errors.Is(err, syscall.ECONNREFUSED) {
						w.unknown++
					}
					time.Sleep(5 * time.Millisecond) // the process may be gone: do not spin on refused connections
				case code == http.StatusServiceUnavailable:
					if got.Error == "raft_timeout" {
						w.unknown++
					}
				case code != http.StatusCreated:
					c.t.Errorf("append answered %d %s", code, got.Error)
					return
				default:
					if before, twice := w.acked[got.Seq]; twice {
						c.t.Errorf("%s: seq %d was acknowledged for %q and for %q", w.id, got.Seq, before, txt)
					}
					w.acked[got.Seq] = txt
					now := time.Now().UnixNano()
					w.silence = max(w.silence, time.Duration(now-w.lastAck.Swap(now)))
					time.Sleep(c.pause)
				}
			}
		}()
	}
	return &wg
}

func (c *cluster) writers(prefix string, count int) []*clusterWriter {
	c.t.Helper()
	ws := make([]*clusterWriter, count)
	for i := range ws {
		ws[i] = &clusterWriter{id: fmt.Sprintf("%s-%d", prefix, i), acked: map[uint64]string{}}
		c.nodes[i%len(c.nodes)].must(http.StatusCreated, "PUT", "/v1/contexts/"+ws[i].id, map[string]any{}, nil)
	}
	return ws
}

// check demands of every node that it gives the same histories, and that nothing acknowledged is missing from them.
func (c *cluster) check(writers []*clusterWriter, nodes ...*node) {
	c.t.Helper()
	if len(nodes) == 0 {
		nodes = c.nodes
	}
	for _, w := range writers {
		for _, n := range nodes {
			n.checkHistory(w.id, w.acked)
		}
	}
}

func (c *cluster) closeIdle() {
	for _, n := range c.nodes {
		n.http.CloseIdleConnections()
	}
}

func totals(ws []*clusterWriter) (acked, unknown int, silence time.Duration) {
	for _, w := range ws {
		acked += len(w.acked)
		unknown += w.unknown
		silence = max(silence, w.silence)
	}
	return acked, unknown, silence
}

// TestClusterColdStart: three processes with the seeds' variables find one another; what is written through one node is
// read at once through another.
func TestClusterColdStart(t *testing.T) {
	c := newCluster(t, 3)
	t.Logf("ready after %s", c.start().Round(time.Millisecond))
	const contexts = 20
	for i := range contexts {
		c.nodes[i%3].must(http.StatusCreated, "PUT", fmt.Sprintf("/v1/contexts/c%d", i), map[string]any{}, nil)
	}
	for i := range 600 {
		id := fmt.Sprintf("/v1/contexts/c%d", i%contexts)
		txt := fmt.Sprint("message ", i)
		var got appended
		c.nodes[i%3].must(http.StatusCreated, "POST", id+"/messages", appendBody{text(txt)}, &got)
		require.EqualValues(t, i/contexts+1, got.Seq)
		var page struct{ Messages []message }
		c.nodes[(i+1+i/3%2)%3].must(http.StatusOK, "GET", id+"/tail?limit=1", nil, &page)
		require.Len(t, page.Messages, 1)
		require.Equal(t, txt, page.Messages[0].Parts[0].Text, "read at once through another node")
	}
}

// TestClusterKillNine kills one node after the other under load and brings it back.
func TestClusterKillNine(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ws := c.writers("w", 16)
	n := rounds(4)
	for round := range n {
		stop := make(chan struct{})
		wg := c.load(ws, stop)
		victim := c.nodes[round%3]
		time.Sleep(time.Duration(300+71*round%500) * time.Millisecond)
		victim.proc.Kill()
		time.Sleep(1500 * time.Millisecond) // twice and more what the others need to elect their leaders
		victim.spawn()
		c.ready(victim)
		time.Sleep(300 * time.Millisecond)
		close(stop)
		wg.Wait()
		c.closeIdle()
		if round%5 == 4 || round == n-1 { // reading everything back takes longer every time
			c.check(ws)
		}
		if t.Failed() {
			return
		}
	}
	acked, unknown, silence := totals(ws)
	t.Logf("%d kills: %d acknowledged, %d unknown, longest silence of a context %s", n, acked, unknown, silence.Round(time.Millisecond))
	require.Less(t, silence, 5*time.Second, "writes to every context resume")
}

// TestClusterFullStop: all three stop, politely and by kill -9, and everything is there again.
func TestClusterFullStop(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ws := c.writers("w", 8)
	for _, polite := range []bool{true, false} {
		stop := make(chan struct{})
		wg := c.load(ws, stop)
		time.Sleep(500 * time.Millisecond)
		var stopping sync.WaitGroup
		for _, n := range c.nodes {
			stopping.Add(1)
			go func() {
				defer stopping.Done()
				if polite {
					if err := n.proc.Terminate(30 * time.Second); err != nil {
						t.Errorf("SIGTERM: %v", err)
					}
				} else {
					n.proc.Kill()
				}
			}()
		}
		stopping.Wait()
		close(stop)
		wg.Wait()
		c.closeIdle()
		t.Logf("polite=%v: all ready again after %s", polite, c.start().Round(time.Millisecond))
		c.check(ws)
	}
}

// TestClusterMajorityGone: with two of three dead every request ends in a 503 with Retry-After, soon, and nothing is
// written; with one of them back it goes on.
func TestClusterMajorityGone(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ws := c.writers("w", 6)
	stop := make(chan struct{})
	wg := c.load(ws, stop)
	time.Sleep(300 * time.Millisecond)
	c.nodes[0].proc.Kill()
	c.nodes[1].proc.Kill()
	time.Sleep(4 * time.Second)
	close(stop)
	wg.Wait()
	c.closeIdle()
	n := c.nodes[2]
	took := make(chan time.Duration, 2*len(ws))
	for i, w := range ws {
		for _, method := range []string{"GET", "POST"} {
			var body any
			path := "/v1/contexts/" + w.id
			if method == "POST" {
				path, body = path+"/messages", appendBody{text("nobody may take this " + strconv.Itoa(i))}
			}
			go func() {
				began := time.Now()
				resp, err := n.raw(method, path, body)
				took <- time.Since(began)
				if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
					t.Errorf("%s %s: %v, %v", method, path, resp, err)
				}
			}()
		}
	}
	var slowest time.Duration
	for range cap(took) {
		slowest = max(slowest, <-took)
	}
	t.Logf("slowest 503 after %s", slowest.Round(time.Millisecond))
	require.Less(t, slowest, 3*time.Second)
	c.nodes[0].spawn()
	c.ready(c.nodes[0])
	c.check(ws, n, c.nodes[0])
	for _, w := range ws {
		for _, m := range n.history(w.id) {
			require.NotContains(t, m.Parts[0].Text, "nobody may take this")
		}
	}
}

// TestClusterWipedDisk: a node that lost its disk comes back under its old name, catches up, and then another may die.
func TestClusterWipedDisk(t *testing.T) {
	c := newCluster(t, 3)
	c.pause = 10 * time.Millisecond
	c.start()
	ws := c.writers("w", 8)
	stop := make(chan struct{})
	wg := c.load(ws, stop)
	time.Sleep(500 * time.Millisecond)
	wiped := c.nodes[1]
	wiped.proc.Kill()
	require.NoError(t, os.RemoveAll(wiped.dir))
	wiped.spawn()
	c.ready(wiped)
	c.settled(3)
	close(stop)
	wg.Wait()
	c.closeIdle()
	c.check(ws)
	c.nodes[0].proc.Kill() // the wiped one has to be half of the quorum now
	stop = make(chan struct{})
	wg = c.load(ws, stop)
	time.Sleep(2 * time.Second)
	close(stop)
	wg.Wait()
	c.closeIdle()
	c.check(ws, c.nodes[1], c.nodes[2])
}

// TestClusterGrowsAndShrinks: one node with data becomes three, then five, then three again by drains, under load.
func TestClusterGrowsAndShrinks(t *testing.T) {
	c := &cluster{t: t, pause: 20 * time.Millisecond} // everything is read back from every node
	addr, err := proc.FreeAddr()
	require.NoError(t, err)
	seed := addr.String()
	c.add("n1", seed, "")
	c.start()
	old := c.writers("old", 20)
	fill(t, c.nodes[0], old, rounds(20))
	ws := c.writers("w", 8)
	stop := make(chan struct{})
	wg := c.load(ws, stop)
	for size := 2; size <= 5; size++ {
		addr, err := proc.FreeAddr()
		require.NoError(t, err)
		c.serve(c.nodes...)
		known := c.nodes
		n := c.add(fmt.Sprintf("n%d", size), addr.String(), seed)
		c.serve(known...) // not yet
		n.spawn()
		c.ready(n)
		c.serve(c.nodes...)
		if size == 3 || size == 5 {
			c.settled(size)
		}
	}
	for size := 5; size > 3; size-- {
		n := c.nodes[size-1]
		c.nodes[0].must(http.StatusAccepted, "POST", "/v1/cluster/nodes/"+fmt.Sprintf("n%d", size)+"/drain", nil, nil)
		c.settled(size - 1)
		c.nodes = c.nodes[:size-1]
		c.serve(c.nodes...)
		time.Sleep(50 * time.Millisecond) // requests under way end
		require.NoError(t, n.proc.Terminate(30*time.Second))
	}
	close(stop)
	wg.Wait()
	c.closeIdle()
	c.check(ws)
	c.check(old)
	acked, unknown, silence := totals(ws)
	t.Logf("%d acknowledged meanwhile, %d unknown, longest silence %s", acked, unknown, silence.Round(time.Millisecond))
}
