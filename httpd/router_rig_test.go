package httpd

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/cluster"
	"fastpaca/shard"
)

// testCluster is servers that share one state, as replicas that never lag: what they differ in is who leads.
type testCluster struct {
	state  *memoryStore
	nodes  []*rig
	routes []*testRouter
	leader atomic.Int32 // of every shard; -1: none
}

// newTestCluster starts n servers, of which the first leads.
func newTestCluster(t *testing.T, n int, change ...func(*Config)) *testCluster {
	c := &testCluster{state: newMemoryStore()}
	for i := range c.state.shards {
		c.state.shards[i].machine.OnPublish((*shard.Context).WakeSubscribers)
	}
	for i := range n {
		router := &testRouter{cluster: c, self: int32(i)}
		c.routes = append(c.routes, router)
		c.nodes = append(c.nodes, newRig(t, append([]func(*Config){func(cfg *Config) {
			cfg.Store, cfg.Router = &replicaStore{memoryStore: c.state, router: router}, router
		}}, change...)...))
	}
	return c
}

// replicaStore takes writes and reads where its node leads.
type replicaStore struct {
	*memoryStore
	router *testRouter
}

func (s *replicaStore) leads() bool { return s.router.cluster.leader.Load() == s.router.self }

func (s *replicaStore) Do(n uint32, r *shard.Request) {
	if !s.leads() {
		r.Result = shard.Result{Code: shard.CodeNotLeader}
		return
	}
	s.memoryStore.Do(n, r)
}

func (s *replicaStore) Read(id []byte, v *shard.View) shard.Code {
	if !s.leads() {
		return shard.CodeNotLeader
	}
	return s.memoryStore.Read(id, v)
}

// testRouter is a Router that knows the leader, unless told otherwise.
type testRouter struct {
	cluster *testCluster
	self    int32

	believes  atomic.Int32 // who it takes for the leader, plus one; 0: the truth
	forwarded atomic.Int64
	awaited   atomic.Int64
	answer    atomic.Int32 // the code that Forward gives instead of doing anything, plus one
	await     func() bool  // nil: true

	streams streamRoutes

	mu    sync.Mutex
	again []bool // of each Forward
}

func (r *testRouter) leader() int32 {
	if b := r.believes.Load(); b != 0 {
		return b - 1
	}
	return r.cluster.leader.Load()
}

func (r *testRouter) Local(uint32) bool { return r.leader() == r.self }

func (r *testRouter) Forward(_ uint32, req, dst []byte, again bool) ([]byte, shard.Code) {
	r.forwarded.Add(1)
	r.mu.Lock()
	r.again = append(r.again, again)
	r.mu.Unlock()
	if c := r.answer.Load(); c != 0 {
		return dst, shard.Code(c - 1)
	}
	for range 3 {
		leader := r.leader()
		switch leader {
		case r.self:
			return dst, shard.CodeNotLeader
		case -1:
			return dst, shard.CodeUnavailable
		}
		answer := r.cluster.nodes[leader].s.ServeForwarded(req, nil)
		if answer[0] == cluster.AnswerDone {
			return append(dst, answer[1:]...), shard.CodeOK
		}
		r.believes.Store(0)
	}
	return dst, shard.CodeUnavailable
}

func (r *testRouter) Await(uint32, time.Time) bool {
	r.awaited.Add(1)
	r.believes.Store(0)
	return r.await == nil || r.await()
}

func (r *testRouter) Stream(id []byte) (*shard.Context, shard.Code) { return r.streams.local(r, id) }

func (r *testRouter) Remote(id, open []byte) (net.Conn, shard.Code) {
	return r.streams.remote(r, id, open)
}

func (r *testRouter) AppendStatus(dst []byte) []byte { return append(dst, `{"node":"n1"}`...) }

func (r *testRouter) Drain(name string) error   { return drainError(name) }
func (r *testRouter) Undrain(name string) error { return drainError(name) }

// drainError names the errors of a cluster by the node that is drained.
func drainError(name string) error {
	switch name {
	case "n1":
		return nil
	case "alone":
		return cluster.ErrTooFew
	case "leaderless":
		return cluster.ErrUnavailable
	}
	return cluster.ErrNoSuchNode
}

// streamRoutes says where streams are served from. The zero value: here.
type streamRoutes struct{}

func (streamRoutes) local(r *testRouter, id []byte) (*shard.Context, shard.Code) {
	return r.cluster.state.Context(id)
}

func (streamRoutes) remote(*testRouter, []byte, []byte) (net.Conn, shard.Code) {
	return nil, shard.CodeUnavailable
}
