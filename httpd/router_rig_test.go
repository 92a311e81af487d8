package httpd

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/cluster"
	"fastpaca/cluster/peer"
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
			cfg.Submit = submitTo(cfg)
		}}, change...)...))
	}
	return c
}

// submitTo is a Config.Submit that blocks in cfg's Store.
func submitTo(cfg *Config) func([]shard.Submission) {
	return func(subs []shard.Submission) {
		for _, x := range subs {
			cfg.Store.Do(x.Group, x.Request)
			x.Request.Done(x.Request)
		}
	}
}

// answerForwarded has s answer a forwarded request as cluster.Node does.
func answerForwarded(s *Server, req []byte) (answer []byte) {
	calls := []cluster.Incoming{{Kind: cluster.KindHTTP, Request: bytes.Clone(req), Caller: peer.CallerFunc(func(b []byte) { answer = bytes.Clone(b) })}}
	s.TakeForwarded(calls)
	if !calls[0].Taken {
		return s.ServeForwarded(req, nil)
	}
	return answer
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

func (s *replicaStore) List(group, from uint32, limit int, dst []*shard.Context) ([]*shard.Context, bool, shard.Code) {
	if !s.leads() {
		return dst, false, shard.CodeNotLeader
	}
	return s.memoryStore.List(group, from, limit, dst)
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
	unsure    atomic.Bool  // what Forward says besides

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

func (r *testRouter) Forward(_ uint32, req, dst []byte, again bool) (_ []byte, _ shard.Code, unsure bool) {
	r.forwarded.Add(1)
	r.mu.Lock()
	r.again = append(r.again, again)
	r.mu.Unlock()
	if c := r.answer.Load(); c != 0 {
		return dst, shard.Code(c - 1), r.unsure.Load()
	}
	for range 3 {
		leader := r.leader()
		switch leader {
		case r.self:
			return dst, shard.CodeNotLeader, r.unsure.Load()
		case -1:
			return dst, shard.CodeUnavailable, r.unsure.Load()
		}
		answer := answerForwarded(r.cluster.nodes[leader].s, req)
		if answer[0] == cluster.AnswerDone {
			return append(dst, answer[1:]...), shard.CodeOK, r.unsure.Load()
		}
		r.believes.Store(0)
	}
	return dst, shard.CodeUnavailable, r.unsure.Load()
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
type streamRoutes struct {
	from atomic.Int32 // 0: here; n: node n-1; -1: nowhere

	mu    sync.Mutex
	conns []net.Conn // of remote streams, as long as they are not cut
	opens int
}

func (s *streamRoutes) local(r *testRouter, id []byte) (*shard.Context, shard.Code) {
	switch s.from.Load() {
	case 0:
		return r.cluster.state.Context(id)
	case -1:
		return nil, shard.CodeUnavailable
	}
	return nil, shard.CodeNotLeader
}

func (s *streamRoutes) remote(r *testRouter, _, open []byte) (net.Conn, shard.Code) {
	from := s.from.Load()
	if from <= 0 {
		return nil, shard.CodeUnavailable
	}
	near, far, err := tcpPair()
	if err != nil {
		return nil, shard.CodeUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	s.conns = append(s.conns, near)
	open = append([]byte(nil), open...)
	go r.cluster.nodes[from-1].s.ServeRemoteStream(open, far)
	return near, shard.CodeOK
}

// cut breaks all remote streams that this node has.
func (s *streamRoutes) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// tcpPair is two ends of a connection.
func tcpPair() (a, b net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = ln.Accept()
	return a, b, err
}

// streams is node i for the stream clients of stream_client_test.go.
func (c *testCluster) streams(i int) *streamServer {
	return &streamServer{Server: c.nodes[i].s, store: &streamStore{c.state}, addr: c.nodes[i].addr}
}
