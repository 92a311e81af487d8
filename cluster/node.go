package cluster

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"fastpaca/shard"
)

// Node is one node of a cluster: its identity, its connections to the others, its shards, and the part it
// takes in keeping the cluster in shape. It implements httpd.Store and httpd.Router. All methods may be called
// from many goroutines.
type Node struct {
	opt   Options
	store atomic.Pointer[shard.Node] // nil until the node belongs to a cluster
	hand  atomic.Pointer[handlers]
}

// handlers are the other end of what Forward and Remote send.
type handlers struct {
	forwarded func(req, dst []byte) []byte
	stream    func(open []byte, c net.Conn)
}

// Open starts a node on its data directory. It returns as soon as the node answers its peers: a node that waits for others
// to found a cluster with is open, and Ready says raft_sync.
func Open(opt Options) (*Node, error) {
	opt.setDefaults()
	n := &Node{opt: opt}
	s, err := shard.Open(opt.Shard)
	if err != nil {
		return nil, err
	}
	n.store.Store(s)
	return n, nil
}

// SetHandlers says who serves what other nodes forward to this one: forwarded appends the answer, first byte included,
// to dst; stream owns c until it returns. Before the call such requests are answered AnswerNotLeader.
func (n *Node) SetHandlers(forwarded func(req, dst []byte) []byte, stream func(open []byte, c net.Conn)) {
	n.hand.Store(&handlers{forwarded, stream})
}

// ServePeer serves a connection whose HTTP upgrade to fastpaca-peer was answered with 101. It owns c and returns
// when the connection has ended.
func (n *Node) ServePeer(c net.Conn) { _ = c.Close() }

// HandOver gives the leaderships of this node to others, until ctx ends at most. Call it before the listener closes.
func (n *Node) HandOver(ctx context.Context) {}

// Close stops the node. Every acknowledged write is on disk.
func (n *Node) Close() error {
	if s := n.store.Load(); s != nil {
		return s.Close()
	}
	return nil
}

// Shard returns the shard runtime, or nil while the node has no cluster yet.
func (n *Node) Shard() *shard.Node { return n.store.Load() }

// Name returns the node's name.
func (n *Node) Name() string { return n.opt.Dir.Identity.Name }

// Do is httpd.Store; see shard.Node.
func (n *Node) Do(group uint32, r *shard.Request) {
	if s := n.store.Load(); s != nil {
		s.Do(group, r)
		return
	}
	r.Result = shard.Result{Code: shard.CodeUnavailable}
}

// Read is httpd.Store; see shard.Node.
func (n *Node) Read(id []byte, v *shard.View) shard.Code {
	if s := n.store.Load(); s != nil {
		return s.Read(id, v)
	}
	return shard.CodeUnavailable
}

// Context is httpd.Store; see shard.Node.
func (n *Node) Context(id []byte) (*shard.Context, shard.Code) {
	if s := n.store.Load(); s != nil {
		return s.Context(id)
	}
	return nil, shard.CodeUnavailable
}

// Ready says whether this node can serve every shard, itself or through others, and if not, why.
func (n *Node) Ready() (bool, string) {
	if s := n.store.Load(); s != nil {
		return s.Ready()
	}
	return false, "raft_sync"
}

// Status is httpd.Store; see shard.Node. It has no groups while the node has no cluster.
func (n *Node) Status() shard.Status {
	if s := n.store.Load(); s != nil {
		return s.Status()
	}
	return shard.Status{}
}

// Stats is httpd.Store; see shard.Node.
func (n *Node) Stats(st *shard.Stats) {
	*st = shard.Stats{}
	if s := n.store.Load(); s != nil {
		s.Stats(st)
	}
}

// Local is httpd.Router: whether a request for the group is served here. Without a cluster it is, and gets unavailable.
func (n *Node) Local(group uint32) bool { return true }

// Forward is httpd.Router: it carries req to the leader of the group and appends the answer, without its first byte,
// to dst. CodeNotLeader: this node leads now, serve it here. CodeUnavailable: no leader within the bound,
// nothing was written. CodeTimeout: sent, outcome unknown; with again such a request is sent once more instead.
func (n *Node) Forward(group uint32, req, dst []byte, again bool) ([]byte, shard.Code) {
	return dst, shard.CodeUnavailable
}

// Await is httpd.Router: called after a local CodeNotLeader, it waits for another route, until deadline at most.
// false: time is up.
func (n *Node) Await(group uint32, deadline time.Time) bool { return false }

// Stream is httpd.Router: the context for a stream that is served from the local replica, which by then shows
// every write that was acknowledged before the call. CodeNotLeader: no replica here, use Remote.
func (n *Node) Stream(id []byte) (*shard.Context, shard.Code) { return n.Context(id) }

// Remote is httpd.Router: a connection to a node that has a replica of id's shard and serves the stream that open
// describes. The caller closes it.
func (n *Node) Remote(id []byte, open []byte) (net.Conn, shard.Code) {
	return nil, shard.CodeUnavailable
}

// AppendStatus is httpd.Router: it appends the JSON of GET /v1/cluster to dst.
func (n *Node) AppendStatus(dst []byte) []byte { return append(dst, `{}`...) }

// Drain moves every replica off the node of that name, and then removes it from the cluster. It returns when the
// decision is durable; the move takes its time. Errors: ErrNoSuchNode, ErrTooFew, ErrUnavailable.
func (n *Node) Drain(name string) error { return ErrUnavailable }

// Undrain takes a drain back, as far as the node is not removed yet. Errors as Drain's.
func (n *Node) Undrain(name string) error { return ErrUnavailable }
