package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"fastpaca/raft"
)

// UpgradePath and UpgradeProtocol are how a connection of the HTTP port becomes one between nodes.
const (
	UpgradePath     = "/internal/peer"
	UpgradeProtocol = "fastpaca-peer"
)

// Hello says who a node is. ClusterID is empty and ID is 0 while it belongs to no cluster.
type Hello struct {
	ClusterID   string
	ID          uint64
	Name        string
	Incarnation string
	Address     string // host:port under which others reach it
}

// Peer is another node of the cluster, as the placement map has it.
type Peer struct {
	ID          uint64
	Name        string
	Incarnation string
	Addr        string // host:port
}

// Node is what the transport drives. All methods are called from goroutines of the transport, several at
// once; none after Close has returned. Deliver, Unreachable, PeerDown and ReportSnapshot must not block.
type Node interface {
	// Deliver hands over messages that came from node from. msgs and their Entries slices are valid during the call
	// only; the entries' Data is immutable and may be kept.
	Deliver(from uint64, msgs []raft.Message)
	// Unreachable: a connection that carried appends or acknowledgements of id, either way, was lost with what it held.
	Unreachable(id uint64)
	// PeerDown: id was connected, and now nothing listens at its address: its process is gone. Once per loss.
	PeerDown(id uint64)
	// OpenSnapshot opens the newest durable snapshot of group that covers at least index, and nothing of a term later than
	// term. size is in bytes.
	OpenSnapshot(group uint32, index, term uint64) (meta raft.SnapshotMeta, size int64, r io.ReadCloser, err error)
	// ReceiveSnapshot reads the snapshot that m.Snapshot names until io.EOF and installs it. Only at io.EOF has the
	// whole of it been verified; a transfer that breaks ends with another error. It may block.
	ReceiveSnapshot(m raft.Message, r io.Reader) error
	// ReportSnapshot says how a SendSnapshot ended: exactly once each.
	ReportSnapshot(group uint32, to uint64, ok bool)
}

// Config is what a Transport is made of.
type Config struct {
	Self   Hello       // ClusterID and ID may be empty until Start
	Secret []byte      // shared by all nodes; empty is allowed if it is empty everywhere
	TLS    *tls.Config // for dialing; nil: plain TCP. Accepting TLS is the listener's business (SniffTLS)
	Node   Node        // may be nil until Start

	// Serve answers a Call of node from: it appends the answer to dst. req is valid during the call only. It may
	// block; at most serveMax run at once. Left out, these three answer nothing.
	Serve func(from uint64, kind uint8, req, dst []byte) []byte
	// Take is offered the small calls (of up to takeMax bytes) that came together, on their connection's reader: those that it
	// sets Taken of are answered through their Caller, by any goroutine, now or later; the others are Serve's. It must
	// not block, and bounds itself what it has taken and not answered. Left out, all calls are Serve's.
	Take func(from uint64, calls []Incoming)
	// ServeStream runs a stream that node from opened with OpenStream. open and c are its own; c is closed when it returns.
	ServeStream func(from uint64, open []byte, c net.Conn)
	// Exchange answers an Ask of a node that proved the secret, and that may belong to no cluster or to another one.
	Exchange func(h Hello, req []byte) []byte

	Dial    func(ctx context.Context, addr string) (net.Conn, error) // default: TCP
	Now     func() time.Time                                         // default: time.Now
	Entropy io.Reader                                                // nonces and jitter; default: crypto/rand
	Logf    func(event string, kv ...any)                            // events for operators; default: none. Must not block

	// SnapshotBytesPerSecond paces what all outgoing snapshots together send. 0: DefaultSnapshotRate.
	SnapshotBytesPerSecond int64
	// MaxStreams bounds the streams opened here and, separately, those served here. 0: DefaultMaxStreams.
	MaxStreams int
}

const (
	// DefaultSnapshotRate leaves half of a gigabit link to appends.
	DefaultSnapshotRate = 64 << 20
	// DefaultMaxStreams is twice what a node lets in by default (FASTPACA_STREAM_MAX_CONNECTIONS).
	DefaultMaxStreams = 1024
)

// Errors of Call, OpenStream and Ask.
var (
	// ErrNotSent: nothing has left this node, or the other node refused it unread. It surely was not carried out.
	ErrNotSent = errors.New("peer: not sent")
	// ErrOverloaded is an ErrNotSent: a queue, here or there, is full.
	ErrOverloaded = fmt.Errorf("%w: overloaded", ErrNotSent)
	// ErrTooLarge is an ErrNotSent: the request does not fit a frame.
	ErrTooLarge = fmt.Errorf("%w: too large for a frame", ErrNotSent)
	// ErrUnknown: the connection was lost after the request may have been sent, or the answer could not be. It may
	// have been carried out.
	ErrUnknown = errors.New("peer: connection lost, outcome unknown")
	// ErrTimeout: no answer in time. It may have been, or may yet be, carried out.
	ErrTimeout = errors.New("peer: no answer in time, outcome unknown")
	// ErrSelf is Ask's answer when the address is this node's own.
	ErrSelf = errors.New("peer: the address is this node's own")
	// ErrClosed: the transport was closed. It is an ErrNotSent.
	ErrClosed = fmt.Errorf("%w: transport closed", ErrNotSent)
)
