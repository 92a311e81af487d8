package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"fastpaca/cluster/peer"
	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
)

// Node is one node of a cluster: its identity, its connections to the others, its shards, and the part it
// takes in keeping the cluster in shape. It implements httpd.Store and httpd.Router. All methods may be called
// from many goroutines.
type Node struct {
	opt       Options
	self      Seen
	transport *peer.Transport
	hand      atomic.Pointer[handlers]
	member    atomic.Pointer[member] // nil until the node belongs to a cluster
	removed   atomic.Bool            // the cluster said that this node's id is void
	leaving   atomic.Bool            // HandOver was called
	hints     hints
	moves     moves
	turn      atomic.Uint32 // spreads what any replica can serve

	mu   sync.Mutex // guards disc, and with it what is on disk of the identity
	disc *discovery

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	poke   chan struct{} // the map changed; capacity 1
	joined chan struct{} // closed when member is set
	closed atomic.Bool
}

// member is what a node has once it belongs to a cluster. Immutable.
type member struct {
	id        uint64
	clusterID string
	genesis   *place.Genesis
	contacts  []place.Node // the members that were named at the join; the map knows better as soon as it names this node
	store     *shard.Node
	machine   *machine
}

// handlers are the other end of what Forward and Remote send.
type handlers struct {
	forwarded func(req, dst []byte) []byte
	stream    func(open []byte, c net.Conn)
	take      func(calls []Incoming) // nil: forwarded has them all
}

// Open starts a node on its data directory. A node that belongs to a cluster has recovered its state when Open returns. One
// that does not yet answers its peers, looks for a cluster in the background, and Ready says raft_sync.
func Open(opt Options) (*Node, error) {
	opt.setDefaults()
	if err := checkAddress(opt.Advertise); err != nil {
		return nil, fmt.Errorf("the advertised address: %w", err)
	}
	if err := opt.Dir.upgrade(opt.Advertise); err != nil {
		return nil, err
	}
	id := opt.Dir.Identity
	n := &Node{
		opt: opt, self: Seen{id.Name, id.Incarnation, opt.Advertise},
		poke: make(chan struct{}, 1), joined: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.disc = newDiscovery(n.self, opt.Size, opt.Dir, NewUUID, opt.Rand, opt.Logf)
	n.transport = peer.New(peer.Config{
		Self: peer.Hello{Name: id.Name, Incarnation: id.Incarnation, Address: opt.Advertise}, Secret: opt.Secret, TLS: opt.TLS,
		Serve: n.serve, Take: n.take, ServeStream: n.serveStream, Exchange: n.exchange, Dial: opt.Dial, Now: opt.Now, Logf: opt.Logf,
		MaxStreams: max(peer.DefaultMaxStreams, 2*opt.Streams),
	})
	if err := n.begin(); err != nil {
		n.cancel()
		return nil, errors.Join(err, n.transport.Close())
	}
	n.tasks.Add(2)
	go n.discover()
	go n.orchestrate()
	return n, nil
}

// begin starts the shards if the node has a cluster, or is one.
func (n *Node) begin() error {
	if len(n.opt.Seeds) == 0 {
		if err := n.disc.foundAlone(); err != nil {
			return err
		}
	}
	if n.opt.Dir.Identity.ClusterID == "" {
		return nil
	}
	return n.start(nil)
}

// start starts the shards of a node that is in a cluster now.
func (n *Node) start(contacts []place.Node) error {
	id := n.opt.Dir.Identity
	m := &member{id: id.RaftID, clusterID: id.ClusterID, genesis: id.Genesis, contacts: contacts}
	m.machine = newMachine(id.Genesis, n.wake)
	opt := n.opt.Shard
	opt.ID, opt.Transport, opt.Placement = id.RaftID, n.transport, m.machine
	opt.Genesis = firstConf(&id)
	opt.FetchMessages = func(key []byte, from, to uint64, most int) ([]byte, uint64, error) {
		return n.fetchMessages(m, key, from, to, most)
	}
	var err error
	if m.store, err = shard.Open(opt); err != nil {
		return err
	}
	// Before the others can be told anything that the log has to remember.
	n.mu.Lock()
	if err := n.opt.Dir.begun(); err != nil {
		n.opt.Logf("identity_failed", "error", err.Error()) // a full disk: the next start notes it
	}
	n.mu.Unlock()
	n.transport.Start(peer.Hello{
		ClusterID: id.ClusterID, ID: id.RaftID, Name: id.Name, Incarnation: id.Incarnation, Address: n.opt.Advertise,
	}, m.store)
	n.member.Store(m)
	close(n.joined)
	n.wake()
	return nil
}

// firstConf is the membership that each group begins with: the genesis' on its founders, none on a node that joined later,
// which the leaders add.
func firstConf(id *Identity) func(group uint32) raft.Conf {
	if id.Joined {
		return func(uint32) raft.Conf { return raft.Conf{} }
	}
	m := id.Genesis.Map() // once: it places 256 shards
	return func(group uint32) raft.Conf {
		if group == place.Group {
			voters, learners := place.PlacementMembers(m)
			return raft.Conf{Voters: voters, Learners: learners}
		}
		return raft.Conf{Voters: append([]uint64(nil), m.Set(group)...)}
	}
}

// wake has the orchestrator look at the map. It does not block: shard loops call it.
func (n *Node) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// SetHandlers says who serves what other nodes forward to this one: forwarded appends the answer, first byte included,
// to dst; stream owns c until it returns. Before the call such requests are answered AnswerNotLeader.
func (n *Node) SetHandlers(forwarded func(req, dst []byte) []byte, stream func(open []byte, c net.Conn)) {
	n.hand.Store(&handlers{forwarded: forwarded, stream: stream})
}

// SetTake says who may take calls of other nodes without a goroutine of their own, as peer.Config.Take does, of all kinds.
// Called after SetHandlers, if at all.
func (n *Node) SetTake(take func(calls []Incoming)) {
	h := *n.hand.Load()
	h.take = take
	n.hand.Store(&h)
}

// ServePeer serves a connection whose HTTP upgrade to fastpaca-peer was answered with 101. It owns c and returns
// when the connection has ended.
func (n *Node) ServePeer(c net.Conn) { n.transport.ServeConn(c) }

// Close stops the node, once. Every acknowledged write is on disk.
func (n *Node) Close() error {
	if !n.closed.CompareAndSwap(false, true) {
		return errors.New("cluster: the node is closed already")
	}
	n.cancel()
	n.tasks.Wait()
	// The connections outlive the writes under way, which need their quorum; and their readers call the store, so they end
	// before it does: shard.Node.Close waits for the writes first, but refuses new ones from the first moment.
	var err error
	if m := n.member.Load(); m != nil {
		err = m.store.Close()
	}
	return errors.Join(err, n.transport.Close())
}

// Name returns the node's name.
func (n *Node) Name() string { return n.self.Name }

// ClusterID returns the id of the cluster that the node belongs to; empty while it has none.
func (n *Node) ClusterID() string {
	if m := n.member.Load(); m != nil {
		return m.clusterID
	}
	return ""
}

// Shard returns the shard runtime, or nil while the node has no cluster yet.
func (n *Node) Shard() *shard.Node {
	if m := n.member.Load(); m != nil {
		return m.store
	}
	return nil
}

// PeerStats fills dst with what the connections to other nodes did so far.
func (n *Node) PeerStats(dst *peer.Stats) { n.transport.Stats(dst) }

// Map returns the placement map as applied here, or nil while the node has no cluster yet. Read-only.
func (n *Node) Map() *place.Map {
	if m := n.member.Load(); m != nil {
		return m.machine.picture()
	}
	return nil
}
