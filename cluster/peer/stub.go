package peer

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"fastpaca/raft"
)

// Transport is this node's end of all its connections to other nodes. All methods may be called by several goroutines at once.
type Transport struct{ cfg Config }

// New makes a transport that answers and makes exchanges only, until Start.
func New(cfg Config) *Transport { return &Transport{cfg: cfg} }

// Start opens the transport for raft once the cluster id and this node's raft id are known.
func (t *Transport) Start(self Hello, node Node) { t.cfg.Self, t.cfg.Node = self, node }

// SetPeers says who the other nodes are. Connections of nodes that are no longer among them are closed.
func (t *Transport) SetPeers(peers []Peer) {}

// ServeConn serves a connection of the HTTP port after the answer 101 to the upgrade. It owns c and returns when c is closed.
func (t *Transport) ServeConn(c net.Conn) { _ = c.Close() }

// Send sends what can be sent and drops the rest. msgs and their Entries slices are used during the call only.
func (t *Transport) Send(msgs []raft.Message) {}

// SendSnapshot streams a snapshot to m.To in the background. Exactly one Node.ReportSnapshot follows.
func (t *Transport) SendSnapshot(m raft.Message) {}

// Call sends req to node to, waits for the answer and appends it to dst. Errors: ErrNotSent (and what wraps it), ErrUnknown, ErrTimeout; dst is then returned as it was.
func (t *Transport) Call(to uint64, kind uint8, req, dst []byte, timeout time.Duration) ([]byte, error) {
	return dst, ErrNotSent
}

// OpenStream opens a stream to node to, which gets open. The connection is the caller's, raw bytes both ways.
func (t *Transport) OpenStream(to uint64, open []byte) (net.Conn, error) { return nil, ErrNotSent }

// Ask makes one exchange with whoever listens at addr and proves the secret: its Hello and its answer.
func (t *Transport) Ask(ctx context.Context, addr string, req []byte) (Hello, []byte, error) {
	return Hello{}, nil, ErrNotSent
}

// Alive reports whether id is connected and was heard of lately.
func (t *Transport) Alive(id uint64) bool { return false }

// Stats fills dst with what was counted since New.
func (t *Transport) Stats(dst *Stats) {}

// Stats is what metrics need.
type Stats struct{}

// Close ends all connections and goroutines and waits for them.
func (t *Transport) Close() error { return nil }

// SniffTLS serves TLS and plain connections on one listener, told apart by the first byte.
func SniffTLS(ln net.Listener, cfg *tls.Config) net.Listener { return ln }

// AppendMessages appends the encoding of msgs, whose From and To are not part of it, to dst.
func AppendMessages(dst []byte, msgs []raft.Message) []byte { return dst }

// DecodeMessages appends the messages of b to msgs, reusing the Entries slices that lie between its length and capacity.
// Entries' data refers to b.
func DecodeMessages(b []byte, from, to uint64, msgs []raft.Message) ([]raft.Message, error) {
	return msgs, nil
}
