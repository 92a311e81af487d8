// Package httpd is the HTTP face of a node: REST, WebSocket and Server-Sent Events on fasthttp.
// Bytes in, bytes out: it parses, validates, counts and encodes, and keeps no state of its own.
//
// Files, and who they belong to:
//
//	server.go    Server, Config, life cycle            route.go    path -> route, methods
//	handler.go   one request from bytes to answer      errors.go   every error the API can give
//	append.go    the write path                        read.go     the read path
//	listen.go    connections: limits, linger           query.go    query parameters
//	stream*.go ws*.go sse*.go   streams                metrics*.go log*.go openapi*.go health*.go cluster*.go
package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/shard"
	"fastpaca/tokenize"

	"github.com/valyala/fasthttp"
)

// Store is what the server needs of a node. *shard.Node is one; tests bring their own.
// All methods are called from many goroutines.
type Store interface {
	// Do carries r.Cmd through the shard's log and blocks until the outcome is in r.Result. It keeps
	// no reference to r after it returns.
	Do(shard uint32, r *shard.Request)
	// Read fills v with a linearizable view of the context: CodeOK, CodeNotFound, or a code of the
	// runtime's. id is not kept.
	Read(id []byte, v *shard.View) shard.Code
	// AppendHistory appends messages of a context that have left memory, from .. to, as JSON separated by commas, up to
	// about maxBytes (at least one, if there is one); next is the first that was not appended. id is not kept.
	AppendHistory(dst, id []byte, from, to uint64, maxBytes int) (out []byte, next uint64, err error)
	// List appends contexts of one shard to dst, in the order of their creation, from the one with place from on, at most
	// limit; more says that others follow. CodeNotLeader where this node does not lead the shard.
	List(group, from uint32, limit int, dst []*shard.Context) (out []*shard.Context, more bool, code shard.Code)
	// Context finds a context for a stream.
	Context(id []byte) (*shard.Context, shard.Code)
	// Ready says whether all shards can serve, and if not, why, in one snake_case word.
	Ready() (ok bool, reason string)
	Status() shard.Status
	Stats(*shard.Stats)
}

// Defaults of Config. The durations bound what a slow or dead client can hold: one connection, its
// goroutine and its buffers.
const (
	DefaultMaxBodyBytes = 8 << 20
	DefaultStreamMax    = 512
	DefaultMaxConns     = 16384
	// DefaultReadTimeout is for one whole request, first byte to last: 8 MiB in it are 2.2 Mbit/s.
	DefaultReadTimeout  = 30 * time.Second
	DefaultWriteTimeout = 30 * time.Second
	DefaultIdleTimeout  = 120 * time.Second
)

// Config is what a Server is built from. Zero values mean the defaults above.
type Config struct {
	Store   Store
	Counter *tokenize.Counter // counts what clients send without token_count

	NodeName  string // for /v1/cluster and the metrics
	Advertise string // address that others reach this node at, for /v1/cluster
	Version   string // of the build

	APIKey       string // empty: no authentication
	MaxBodyBytes int
	StreamMax    int // WebSocket and SSE connections of this node
	MaxConns     int // TCP connections of this node; one more gets 503 overloaded

	ReadTimeout  time.Duration
	WriteTimeout time.Duration
	IdleTimeout  time.Duration

	Logger *Logger // nil: no logs

	// Submit is Store.Do of several requests without waiting: Done of each is called once, by any goroutine. It is what
	// TakeForwarded needs; nil: that takes nothing.
	Submit func(subs []shard.Submission)
	// Router finds the leader of a shard in a cluster. nil: this node serves every shard.
	Router Router
	// Archive reads messages that this node does not have any more from the archive, as Store.AppendHistory does. nil: none.
	Archive func(dst, id []byte, from, to uint64, maxBytes int) (out []byte, next uint64, err error)
	// Peer takes over connections of other nodes (GET /internal/peer, after the 101): c is the connection, with
	// whatever was read of it already, and is closed when Peer returns. nil: that path is a 404.
	Peer func(c net.Conn)

	Streams StreamOptions   // times and bounds of streams; for tests
	Metrics func(io.Writer) // appends the series of WAL, raft and shards to /metrics; see MetricsWriter
}

// Server answers HTTP on any number of listeners. Build it with New; after Shutdown it is used up.
type Server struct {
	cfg   Config
	store Store
	fast  *fasthttp.Server
	auth  []byte // the API key; nil without one

	router Router // nil outside of a cluster

	maxAnswer int // bytes of messages in one page; tests lower it

	streams *streamSet // newStreamSet(s)
	metrics *Metrics   // newMetrics(s)
	log     *Logger    // nil-safe

	work     sync.Pool    // *work
	frames   sync.Pool    // *frames, of requests that are forwarded
	contexts sync.Pool    // *fasthttp.RequestCtx, of requests that were forwarded to this node
	takings  sync.Pool    // *taking
	taken    atomic.Int64 // of them under way

	submissions sync.Pool   // *submissions
	leaving     atomic.Bool // set once, by Leave: not ready any more
	draining    atomic.Bool // set once, by Shutdown

	mu        sync.Mutex
	listeners []*listener
}

// New builds a server. It panics without a Store or a Counter: that is a bug in the caller.
func New(cfg Config) *Server {
	if cfg.Store == nil || cfg.Counter == nil {
		panic("httpd.New: Config.Store and Config.Counter must be set")
	}
	orInt := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	orDuration := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	orInt(&cfg.MaxBodyBytes, DefaultMaxBodyBytes)
	orInt(&cfg.StreamMax, DefaultStreamMax)
	orInt(&cfg.MaxConns, DefaultMaxConns)
	orDuration(&cfg.ReadTimeout, DefaultReadTimeout)
	orDuration(&cfg.WriteTimeout, DefaultWriteTimeout)
	orDuration(&cfg.IdleTimeout, DefaultIdleTimeout)

	s := &Server{cfg: cfg, store: cfg.Store, router: cfg.Router, log: cfg.Logger, maxAnswer: maxAnswer}
	if cfg.APIKey != "" {
		s.auth = []byte(cfg.APIKey)
	}
	s.work.New = func() any {
		return &work{parser: parser{counter: cfg.Counter}, tally: &s.metrics.tallies[s.metrics.handed.Add(1)%tallies]}
	}
	s.frames.New = func() any { return &frames{} }
	s.contexts.New = s.newForwardedContext
	s.takings.New = s.newTaking
	s.submissions.New = func() any { return &submissions{} }
	s.metrics = newMetrics(s)
	s.streams = newStreamSet(s)
	s.fast = s.newFast()
	return s
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("httpd: server closed")

// Serve accepts on ln until Shutdown (ErrServerClosed) or until accepting fails for good.
// It takes over ln and closes it.
func (s *Server) Serve(ln net.Listener) error {
	l := newListener(s, ln)
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		l.Close()
		l.closeConns()
		return ErrServerClosed
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()

	err := s.fast.Serve(l)
	if s.draining.Load() {
		return ErrServerClosed
	}
	return err
}

// Leave makes /health/ready answer 503 from now on, while everything else goes on: load balancers turn away, and
// the node has time to hand over what it leads before Shutdown.
func (s *Server) Leave() { s.leaving.Store(true) }

// Shutdown stops accepting, closes streams with a close frame (1001), lets requests under way finish,
// and closes what is left when ctx ends. The Store must stay open until it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	listeners := s.listeners
	s.mu.Unlock()

	for _, l := range listeners {
		l.Close()
		l.closeQuick()
	}
	s.streams.shutdown(ctx)
	err := s.fast.ShutdownWithContext(ctx)
	for _, l := range listeners {
		l.closeConns()
	}
	return err
}
