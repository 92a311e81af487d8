package httpd

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"fastpaca/shard"

	"github.com/fasthttp/websocket"
)

// Streams are pulled, not pushed. A stream is a cursor and a one-slot wake channel; its goroutine takes a View
// of the context, sends the events after the cursor until there are none, and sleeps until the shard says that
// something changed. So there is no queue that could overflow, a writer never waits for a reader, and replay
// and live are the same thing: there is no seam between them at which an event could be lost or doubled.
//
//	shard loop ── publish ──> hub ── wake (1 slot, never blocks) ──> stream goroutine ── View, NextEvent ──> socket
//	                                                                 reader goroutine <── pong, close, EOF ── socket
//
// A stream costs two goroutines and the kernel's buffers; its own buffers are pooled and held only while it
// sends.
//
// In a cluster a stream is served from the replica of the node that its client is connected to, whoever leads the
// shard: a change of leaders does not concern it. A node without a replica relays from one that has it, with one
// goroutine more (relay_feed.go). When either is lost, another takes its place (feed.go).

// StreamOptions are the times and bounds of streams. Zero values mean the defaults. The intervals are API
// (API.md, Stream) and are options for the sake of tests.
type StreamOptions struct {
	// PingInterval is how often a ping is sent. Default 30 s.
	PingInterval time.Duration
	// IdleTimeout is how long a WebSocket client may stay silent before it is closed with 1001. Default 90 s.
	// For SSE, whose clients never speak, it is how long sent bytes may stay unacknowledged by TCP (Linux).
	IdleTimeout time.Duration
	// StallTimeout is how long a stream may take to write while the client takes nothing, before it is
	// closed as a slow consumer (1008). A client that takes something, but less than 32 KiB in six times
	// that, is slow too. Default 10 s.
	StallTimeout time.Duration
	// MaxLag is how many new versions may appear while one write is blocked before the client is a slow
	// consumer. A stream holds nothing for a slow client, so this only tells it earlier. Default 65536.
	MaxLag uint64
	// Linger is how long the connection of a slow consumer is kept after its close frame was handed to the
	// kernel, for the client to come back and read it. It counts towards StreamMax. Default 30 s.
	Linger time.Duration
	// Reattach is how long a stream may be without a replica to read from before it is closed with 1001, in a
	// cluster. Default 10 s.
	Reattach time.Duration
	// SendBuffer is SO_SNDBUF of a stream, in bytes (Linux doubles it): what a client may lag behind before
	// the stream blocks. Default 64 KiB.
	SendBuffer int
}

func (o *StreamOptions) setDefaults() {
	orDuration := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	orDuration(&o.PingInterval, 30*time.Second)
	orDuration(&o.IdleTimeout, 90*time.Second)
	orDuration(&o.StallTimeout, 10*time.Second)
	orDuration(&o.Linger, 30*time.Second)
	orDuration(&o.Reattach, 10*time.Second)
	if o.MaxLag == 0 {
		o.MaxLag = 65536
	}
	if o.SendBuffer <= 0 {
		o.SendBuffer = 64 << 10
	}
}

const (
	// streamBatch is how many bytes of events are gathered for one write while catching up.
	streamBatch = 32 << 10
	// streamBufferRetain is the largest buffer that goes back to the pool.
	streamBufferRetain = 256 << 10
	// streamOpenGrace is how long a stream may take from its request to its first byte. fasthttp does not
	// tell when it drops a connection in between, so that a slot is taken back after that.
	streamOpenGrace = 10 * time.Second
	// streamFarewell bounds the write of the last bytes, and the wait for the client to close its side.
	streamFarewell = time.Second
)

// streamSet is the streams of a server: at most max of clients at a time, and relayShare times as many for other
// nodes.
type streamSet struct {
	opt      StreamOptions // of streams to clients
	relay    StreamOptions // of streams to other nodes
	max      int
	find     feedFinder // for a client's stream: here or on another node
	findHere feedFinder // for a stream to another node
	metrics  *streamMetrics
	log      *Logger
	bufs     sync.Pool // *[]byte
	upgrader *websocket.FastHTTPUpgrader
	stop     chan struct{} // closed by shutdown

	mu       sync.Mutex
	all      map[*stream]struct{}
	draining bool
}

func newStreamSet(s *Server) *streamSet {
	set := &streamSet{
		opt: s.cfg.Streams, max: s.cfg.StreamMax, metrics: &s.metrics.streams, log: s.log,
		upgrader: newUpgrader(), stop: make(chan struct{}), all: map[*stream]struct{}{},
		find: s.findFeed, findHere: s.findFeedHere,
	}
	set.opt.setDefaults()
	set.relay = set.opt
	set.relay.PingInterval, set.relay.StallTimeout = relayPingInterval, relayPatience*set.opt.StallTimeout
	set.bufs.New = func() any { b := make([]byte, 0, streamBatch+4096); return &b }
	return set
}

// feedFinder finds a feed for a stream of id, within wait or until stop is closed. version is where it begins.
type feedFinder func(id []byte, p *streamParams, wait time.Duration, stop <-chan struct{}) (f feed, version uint64, code shard.Code)

// stream is one subscriber, from its request to the end of its connection.
type stream struct {
	set    *streamSet
	opt    *StreamOptions
	kind   streamKind
	id     string // of the context
	opened time.Time
	params streamParams // of the request; where to resume is brought up to date for each feed

	// Of the stream's goroutine, once it has begun.
	feed     feed
	attached time.Time // when it got this feed
	lost     time.Time // when it lost the first of those that it lost in a row
	place    streamPlace
	resume   resumer
	skip     resumePoint
	skipped  int // messages left out because of skip

	wake  chan struct{} // one slot
	pong  chan []byte   // one slot: payload of the latest WebSocket ping
	quit  chan struct{} // closed with the first end
	cause atomic.Uint32

	started bool // guarded by set.mu

	// Of the stream's goroutine.
	scratch []byte
	out     outlet
}

// reserve takes a slot for a stream of f, or closes f and returns nil if there is none or the server stops.
func (set *streamSet) reserve(kind streamKind, f feed, id []byte) *stream {
	s := &stream{
		set: set, opt: &set.opt, kind: kind, feed: f, id: string(id), opened: time.Now(),
		wake: make(chan struct{}, 1), pong: make(chan []byte, 1), quit: make(chan struct{}),
	}
	if kind == kindRelay {
		s.opt = &set.relay
	}
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.fullLocked(kind) {
		set.sweepLocked()
	}
	if set.draining || set.fullLocked(kind) {
		f.close()
		return nil
	}
	set.all[s] = struct{}{}
	set.metrics.open[kind].Add(1)
	return s
}

// fullLocked says whether there is no slot for another stream of this kind.
func (set *streamSet) fullLocked(kind streamKind) bool {
	relays := int(set.metrics.open[kindRelay].Load()) // moved under set.mu only
	if kind == kindRelay {
		return relays >= relayShare*set.max
	}
	return len(set.all)-relays >= set.max
}

// sweepLocked takes back the slots of streams whose connection broke before they began.
func (set *streamSet) sweepLocked() {
	for s := range set.all {
		if !s.started && time.Since(s.opened) > streamOpenGrace {
			set.removeLocked(s)
		}
	}
}

func (set *streamSet) removeLocked(s *stream) {
	if _, ok := set.all[s]; ok {
		delete(set.all, s)
		set.metrics.open[s.kind].Add(-1)
		if !s.started { // else its goroutine does it
			s.feed.close()
		}
	}
}

// begin says that the connection is ours. It returns false if the slot was taken back meanwhile.
func (set *streamSet) begin(s *stream) bool {
	set.mu.Lock()
	defer set.mu.Unlock()
	if _, ok := set.all[s]; !ok {
		return false
	}
	s.started = true
	if set.draining {
		s.end(causeShutdown)
	}
	set.metrics.opened[s.kind].Inc()
	return true
}

// release gives the slot back.
func (set *streamSet) release(s *stream) {
	set.mu.Lock()
	set.removeLocked(s)
	set.mu.Unlock()
}

// shutdown ends all streams with 1001 and waits for them, at most until ctx ends.
func (set *streamSet) shutdown(ctx context.Context) {
	set.mu.Lock()
	if !set.draining {
		set.draining = true
		close(set.stop)
	}
	for s := range set.all {
		s.end(causeShutdown)
	}
	set.mu.Unlock()

	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		set.mu.Lock()
		set.sweepLocked()
		n := len(set.all)
		set.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// end asks the stream's goroutine to stop. The first cause counts. Any goroutine.
func (s *stream) end(c cause) {
	if s.cause.CompareAndSwap(uint32(causeNone), uint32(c)) {
		close(s.quit)
	}
}

// ended is the cause given to end, causeNone before.
func (s *stream) ended() cause { return cause(s.cause.Load()) }

func (set *streamSet) buffer() *[]byte { return set.bufs.Get().(*[]byte) }

func (set *streamSet) recycle(b *[]byte) {
	if cap(*b) <= streamBufferRetain {
		*b = (*b)[:0]
		set.bufs.Put(b)
	}
}
