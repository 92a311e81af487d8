package cluster

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"time"

	"fastpaca/shard"
)

// Defaults of Options.
const (
	// DefaultSize is the number of nodes that found a cluster together, where nothing else is said: the
	// smallest that survives the loss of one.
	DefaultSize = 3
	// DefaultGrace is how long a node may be away before its replicas move elsewhere: longer than a restart or the
	// reboot of a machine, so that no data is copied for what comes back by itself.
	DefaultGrace = 5 * time.Minute
)

// Options are what a Node is built from.
type Options struct {
	// Dir is the data directory, with its identity and its lock. The caller closes it, after the Node.
	Dir *Directory
	// Shard is the template of the shard runtime's options. ID, Genesis, Transport and Placement are filled in here;
	// Dir, if empty, becomes Dir.Path.
	Shard shard.Options

	Advertise string   // host:port at which the other nodes reach this one; required
	Seeds     []string // host:port, names may have several addresses; none: a new directory is a cluster of one
	Size      int      // nodes that found a cluster together; default DefaultSize
	Secret    []byte   // proved to and by every peer; empty: no proof is asked for
	TLS       *tls.Config
	Grace     time.Duration // see DefaultGrace
	Version   string        // of the build, for GET /v1/cluster
	// Streams is how many streams of clients this node takes. Twice as many may be carried to other nodes, and for them; never
	// less than peer.DefaultMaxStreams.
	Streams int

	Resolve func(ctx context.Context, host string) ([]string, error) // addresses of a name; default: the system's resolver
	Dial    func(ctx context.Context, addr string) (net.Conn, error) // default: TCP
	Now     func() time.Time                                         // default: time.Now
	Rand    func() uint64                                            // default: math/rand/v2
	Logf    func(event string, kv ...any)                            // default: silent

	pace pace // of the orchestrator; for tests
}

func (o *Options) setDefaults() {
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	if o.Resolve == nil {
		o.Resolve = net.DefaultResolver.LookupHost
	}
	if o.Dial == nil {
		var d net.Dialer
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.pace == (pace{}) {
		o.pace = defaultPace()
	}
	if o.Shard.Dir == "" {
		o.Shard.Dir = o.Dir.Path
	}
}
