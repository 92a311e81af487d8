package peer

import (
	"context"
	"crypto/rand"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Transport is this node's end of all its connections to other nodes. All methods may be called by several
// goroutines at once.
type Transport struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	view      atomic.Pointer[view]
	pool      pool
	refusals  refusals
	counters  counters
	pace      pace
	snapshots snapshots

	mu          sync.Mutex
	closed      bool
	peers       []Peer                // as last set
	conns       map[net.Conn]struct{} // all that Close must cut
	handshaking []net.Conn            // from outside, and have proved nothing yet; oldest first
	asking      int                   // exchanges that are being answered
	streams     streams
	group       sync.WaitGroup // every goroutine that the transport started or runs on
}

// view is what the hot paths know: replaced as a whole, never changed.
type view struct {
	self  Hello
	node  Node // nil until Start
	peers []*peer
}

// find returns the peer with that id, or nil.
func (v *view) find(id uint64) *peer {
	// A handful of nodes: faster than a map.
	for _, p := range v.peers {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// defaults fills in what may be left out of a Config.
func (cfg *Config) defaults() {
	if cfg.Dial == nil {
		dialer := &net.Dialer{}
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Now = steady(cfg.Now)
	if cfg.Entropy == nil {
		cfg.Entropy = rand.Reader
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	if cfg.Serve == nil {
		cfg.Serve = func(_ uint64, _ uint8, _, dst []byte) []byte { return dst }
	}
	if cfg.ServeStream == nil {
		cfg.ServeStream = func(uint64, []byte, net.Conn) {}
	}
	if cfg.Exchange == nil {
		cfg.Exchange = func(Hello, []byte) []byte { return nil }
	}
	if cfg.SnapshotBytesPerSecond == 0 {
		cfg.SnapshotBytesPerSecond = DefaultSnapshotRate
	}
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = DefaultMaxStreams
	}
}

// steady is now without the jumps of the wall clock: the time at which it was made, and what the monotonic clock says has gone by
// since. Deadlines and silences are kept as UnixNano of it, which of a plain time.Now somebody can turn: back by an hour, and no call would
// end for an hour.
func steady(now func() time.Time) func() time.Time {
	began := now()
	return func() time.Time { return began.Add(now().Sub(began)) }
}

// New makes a transport that answers and makes exchanges only, until Start.
func New(cfg Config) *Transport {
	cfg.defaults()
	t := &Transport{cfg: cfg, conns: make(map[net.Conn]struct{})}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.view.Store(&view{self: cfg.Self})
	t.pool.t = t
	t.snapshots.in = make(chan struct{}, snapshotsInMax)
	t.pace.init(cfg.SnapshotBytesPerSecond)
	t.group.Add(1)
	go t.housekeep()
	if cfg.Node != nil && cfg.Self.ID != 0 {
		t.Start(cfg.Self, cfg.Node)
	}
	return t
}

// Start opens the transport for raft, once the cluster id and this node's raft id are known. A second call changes what
// this node says of itself in the handshakes to come.
func (t *Transport) Start(self Hello, node Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish(self, node)
}

// SetPeers says who the other nodes are (this node itself among them is ignored). Connections of nodes that are no
// longer among them are closed; an address that changed counts from the next dial.
func (t *Transport) SetPeers(peers []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = slices.Clone(peers)
	v := t.view.Load()
	t.publish(v.self, v.node)
}

// publish makes the view of self, node and t.peers: what stays keeps its connections. t.mu is held.
func (t *Transport) publish(self Hello, node Node) {
	if t.closed {
		return
	}
	old := t.view.Load()
	next := &view{self: self, node: node}
	if node != nil {
		for _, p := range t.peers {
			if p.ID == self.ID {
				continue
			}
			if known := old.find(p.ID); known != nil && known.Incarnation == p.Incarnation {
				known.addr.Store(&p.Addr)
				next.peers = append(next.peers, known)
				continue
			}
			next.peers = append(next.peers, newPeer(t, p))
		}
	}
	t.view.Store(next)
	for _, p := range old.peers {
		if !slices.Contains(next.peers, p) {
			p.stop()
		}
	}
	for _, p := range next.peers {
		p.start()
	}
}

func (t *Transport) self() Hello { return t.view.Load().self }

func (t *Transport) party() *party {
	return &party{self: t.self(), secret: t.cfg.Secret, entropy: t.cfg.Entropy}
}

// goDo runs f on a goroutine that Close waits for. It reports false after Close.
func (t *Transport) goDo(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.goLocked(f)
}

// goLocked is goDo for callers that hold t.mu.
func (t *Transport) goLocked(f func()) bool {
	if t.closed {
		return false
	}
	t.group.Add(1)
	go func() {
		defer t.group.Done()
		f()
	}()
	return true
}

// remember makes Close cut c. It reports false after Close.
func (t *Transport) remember(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.conns[c] = struct{}{}
	}
	return !t.closed
}

func (t *Transport) forget(c net.Conn) {
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
}

// Close ends all connections and goroutines, and waits for them: for the Serve, ServeStream, Exchange and Node calls that
// are under way, too. Calls that wait get an error.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	if first {
		t.closed = true
		t.cancel()
		for c := range t.conns {
			_ = c.Close()
		}
		for _, p := range t.view.Load().peers {
			p.stop()
		}
	}
	t.mu.Unlock()
	t.pool.close()
	t.group.Wait()
	if first {
		t.snapshots.report(t)
	}
	return nil
}
