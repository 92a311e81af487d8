package shard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/raft"
	"fastpaca/wal"
	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// testCluster is some nodes in one process and the network between them. Messages arrive at once, in order, unless
// their way is cut.
type testCluster struct {
	t        *testing.T
	ids      []uint64
	founders []uint64
	tune     func(id uint64, o *Options)
	disks    map[uint64]*walfs.Mem

	mu    sync.Mutex
	links map[uint64]*link
	nodes map[uint64]*Node         // nil: down
	cut   map[[2]uint64]bool       // from, to
	lose  func(*raft.Message) bool // nil: nothing
	sends sync.WaitGroup           // snapshots on their way
	keys  atomic.Uint64            // of mustAppend
}

// link is the Transport of one node.
type link struct {
	c    *testCluster
	from uint64
	over bool // this life of the node is; under c.mu
}

func (l *link) Send(msgs []raft.Message) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.over {
		return
	}
	for i := range msgs {
		m := &msgs[i]
		n := l.c.nodes[m.To]
		if n == nil || l.c.cut[[2]uint64{l.from, m.To}] || l.c.lose != nil && l.c.lose(m) {
			continue
		}
		n.Deliver(l.from, msgs[i:i+1])
	}
}

func (l *link) SendSnapshot(m raft.Message) {
	l.c.sends.Add(1)
	go func() {
		defer l.c.sends.Done()
		l.c.mu.Lock()
		from, to := l.c.nodes[l.from], l.c.nodes[m.To]
		cut := l.c.cut[[2]uint64{l.from, m.To}]
		over := l.over
		l.c.mu.Unlock()
		if from == nil || over {
			return
		}
		ok := false
		if meta, _, r, err := from.OpenSnapshot(m.Group, m.Snapshot.Index, m.Term); err == nil {
			if to != nil && !cut {
				m.Snapshot = &meta
				ok = to.ReceiveSnapshot(m, r) == nil
			}
			_ = r.Close()
		}
		from.ReportSnapshot(m.Group, m.To, ok)
	}()
}

// newTestCluster founds a cluster of voters nodes, 1 to voters, every one of them a voter of every group.
func newTestCluster(t *testing.T, voters int, tune func(id uint64, o *Options)) *testCluster {
	c := &testCluster{
		t: t, tune: tune, nodes: map[uint64]*Node{}, disks: map[uint64]*walfs.Mem{}, links: map[uint64]*link{}, cut: map[[2]uint64]bool{},
	}
	for id := uint64(1); id <= uint64(voters); id++ {
		c.ids = append(c.ids, id)
	}
	c.founders = slices.Clone(c.ids)
	for _, id := range c.ids {
		c.disks[id] = walfs.NewMem()
		c.start(id)
	}
	t.Cleanup(c.close)
	return c
}

func (c *testCluster) options(id uint64, disk wal.FS) Options {
	o := testOptions(disk)
	o.ID = id
	o.Genesis = func(uint32) raft.Conf { return raft.Conf{Voters: slices.Clone(c.founders)} }
	o.RequestTimeout = 2 * time.Second
	c.mu.Lock()
	c.links[id] = &link{c: c, from: id}
	o.Transport = c.links[id]
	c.mu.Unlock()
	o.Fatal = func(err error) { c.t.Errorf("node %d: fatal: %v", id, err) }
	if c.tune != nil {
		c.tune(id, &o)
	}
	return o
}

func (c *testCluster) start(id uint64) *Node {
	c.t.Helper()
	n, err := Open(c.options(id, c.disks[id]))
	require.NoError(c.t, err)
	c.mu.Lock()
	c.nodes[id] = n
	c.mu.Unlock()
	return n
}

// take ends a node's life on the network.
func (c *testCluster) take(id uint64) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	c.nodes[id], c.links[id].over = nil, true
	return n
}

// kill takes the power from a node: its disk is what a crash leaves.
func (c *testCluster) kill(id uint64, rng *rand.Rand, keep int) {
	c.t.Helper()
	n := c.take(id)
	c.disks[id] = c.disks[id].Crash(rng, walfs.CrashOptions{Keep: keep, Tear: 50})
	n.inflight.Store(0) // nobody waits for the dead
	require.NoError(c.t, n.Close())
}

// stop ends a node in order.
func (c *testCluster) stop(id uint64) {
	c.t.Helper()
	require.NoError(c.t, c.take(id).Close())
}

func (c *testCluster) close() {
	for _, id := range c.ids {
		if c.node(id) == nil {
			continue
		}
		n := c.take(id)
		n.inflight.Store(0)
		if err := n.Close(); err != nil {
			c.t.Errorf("close: %v", err)
		}
	}
	c.sends.Wait()
}

// isolate cuts a node off from the others, or joins it again.
func (c *testCluster) isolate(id uint64, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.ids {
		c.cut[[2]uint64{id, other}] = off
		c.cut[[2]uint64{other, id}] = off
	}
}

func (c *testCluster) node(id uint64) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// leader waits until some node leads group, other than the one in not, and returns its id.
func (c *testCluster) leader(group uint32, not ...uint64) uint64 {
	c.t.Helper()
	var found uint64
	require.Eventually(c.t, func() bool {
		for _, id := range c.ids {
			n := c.node(id)
			if n == nil || slices.Contains(not, id) {
				continue
			}
			if g := n.groups[group]; g.leads.Load() {
				if _, code := n.Barrier(group); code == CodeOK {
					found = id
					return true
				}
			}
		}
		return false
	}, 40*time.Second, 5*time.Millisecond, "no leader of group %d", group)
	return found
}

// do sends a command to whoever leads, until it is decided, for a while. CodeTimeout: unknown.
func (c *testCluster) do(id string, encode func(dst []byte) []byte) (uint64, Code) {
	group := Of([]byte(id))
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		for _, node := range c.ids {
			n := c.node(node)
			if n == nil || !n.groups[group].leads.Load() {
				continue
			}
			r := AcquireRequest()
			r.Cmd = encode(r.Cmd)
			n.Do(group, r)
			code, seq := r.Result.Code, r.Result.FirstSeq
			ReleaseRequest(r)
			if code != CodeNotLeader && code != CodeShuttingDown {
				return seq, code
			}
		}
		if time.Now().After(deadline) {
			return 0, CodeUnavailable
		}
	}
}

func (c *testCluster) put(id string) {
	c.t.Helper()
	_, code := c.do(id, func(dst []byte) []byte { return EncodePut(dst, &Put{ID: []byte(id)}) })
	require.Equal(c.t, CodeOK, code)
}

func (c *testCluster) append(id, text string) (uint64, Code) {
	return c.do(id, func(dst []byte) []byte { return encodeText(dst, id, text) })
}

// mustAppend appends a message as a client does that does not give up: what nobody can tell is sent again. Its key keeps it from
// being there twice.
func (c *testCluster) mustAppend(id, text string) {
	c.t.Helper()
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:], c.keys.Add(1))
	code := CodeTimeout
	for deadline := time.Now().Add(time.Minute); code == CodeTimeout || code == CodeUnavailable; {
		require.True(c.t, time.Now().Before(deadline), "nobody takes a message: %v", code)
		_, code = c.do(id, func(dst []byte) []byte {
			return encodeTexts(dst, AppendHeader{ID: []byte(id), HasKey: true, Key: key}, text)
		})
	}
	require.Equal(c.t, CodeOK, code)
}

// converge waits until all running nodes have applied the same index of group, and compares their states.
func (c *testCluster) converge(group uint32) {
	c.t.Helper()
	var lead, index uint64
	require.Eventually(c.t, func() bool { // it may move once more
		var code Code
		lead = c.leader(group)
		index, code = c.node(lead).Barrier(group)
		return code == CodeOK
	}, 40*time.Second, time.Millisecond)
	var want []byte
	var st MemberStatus // who was removed does not hear of it
	c.node(lead).Member(group, &st)
	for _, id := range c.ids {
		n := c.node(id)
		if n == nil || !st.Conf.Member(id) {
			continue
		}
		require.Equal(c.t, CodeOK, n.WaitApplied(group, index, 40*time.Second), "node %d", id)
		got := groupBytes(c.t, n, group)
		if want == nil {
			want = got
		}
		require.True(c.t, bytes.Equal(want, got), "node %d has another state of group %d", id, group)
	}
}

// groupBytes is the snapshot of a group's state, at a nominal index.
func groupBytes(t *testing.T, n *Node, group uint32) []byte {
	var b bytes.Buffer
	require.Eventually(t, func() bool {
		b.Reset()
		done := false
		require.NoError(t, n.groups[group].loop.call(func() {
			g := n.groups[group]
			switch {
			case g.place != nil:
				b.Write(g.place.AppendSnapshot(nil))
				done = true
			case g.machine.capture == nil: // else a snapshot is under way
				g.machine.BeginSnapshot(1, 1)
				_, err := g.machine.CaptureSome(1 << 30).WriteTo(&b)
				done = err == nil
			}
		}))
		return done
	}, 40*time.Second, time.Millisecond)
	return b.Bytes()
}

// TestThreeNodes: a leader is elected, appends through it are on all three, in the same state; the leader dies by power
// loss, another one goes on, the dead one comes back and catches up.
func TestThreeNodes(t *testing.T) {
	c := newTestCluster(t, 3, noSnapshots)
	rng := rand.New(rand.NewPCG(1, 1))
	c.put("x")
	group := Of([]byte("x"))
	for i := range 100 {
		c.mustAppend("x", fmt.Sprint("message ", i))
	}
	c.converge(group)

	lead := c.leader(group)
	c.kill(lead, rng, 0)
	for i := range 100 {
		c.mustAppend("x", fmt.Sprint("more ", i))
	}
	require.NotEqual(t, lead, c.leader(group))
	c.start(lead)
	c.converge(group)
	require.Len(t, texts(t, c.node(c.leader(group)), "x"), 200)
}

func noSnapshots(_ uint64, o *Options) { o.SnapshotBytes = 1 << 30 }
