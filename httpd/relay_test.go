package httpd

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// TestStreamsThroughAnyNode: the node with the replica and the one without give the same streams, byte for byte.
func TestStreamsThroughAnyNode(t *testing.T) {
	checkGoroutines(t)
	c := newTestCluster(t, 2)
	c.routes[1].streams.from.Store(1)
	here, there := c.streams(0), c.streams(1)
	store := here.store
	store.create("c")
	store.append("c", 3, 10)
	store.compact("c")
	store.append("c", 1, 100_000)
	store.append("c", 2, 10)
	const events = 3 + 1 + 2 + 1 + 1 + 2 + 1

	for _, query := range []string{"?cursor=0", "?cursor=0&include_messages=false"} {
		a, b := here.dialWS(t, "c", query), there.dialWS(t, "c", query)
		for range events {
			require.Equal(t, a.must(), b.must(), query)
		}
		x, y := here.dialSSE(t, "c", query, ""), there.dialSSE(t, "c", query, "")
		for range events {
			require.Equal(t, x.must(), y.must(), query)
		}
	}
	require.Equal(t, here.dialSSE(t, "c", "", "1:2").must(), there.dialSSE(t, "c", "", "1:2").must())
	require.Equal(t, here.dialWS(t, "c", "?cursor=9").must(), there.dialWS(t, "c", "?cursor=9").must(), "a reset")

	live := there.dialWS(t, "c", "")
	store.append("c", 1, 10)
	require.Equal(t, uint64(7), live.must().Seq)
	require.Equal(t, "context", live.must().Type)
	store.delete("c")
	require.Equal(t, "tombstoned", live.must().Type)
	code, reason := live.closeCode()
	require.Equal(t, "1000 tombstoned", fmt.Sprint(code, " ", reason))

	_, answer, err := there.tryWS("none", "", 0)
	require.Error(t, err)
	require.Equal(t, 404, answer.StatusCode)
	require.NotZero(t, here.metrics.streams.opened[kindRelay].Get())
	require.Zero(t, there.metrics.streams.reattached.Get())
}

// TestStreamsSurviveLosses: while writers write, the replica that a stream reads from is lost again and again; the
// client sees every event once, in order.
func TestStreamsSurviveLosses(t *testing.T) {
	checkGoroutines(t)
	c := newTestCluster(t, 3)
	route := &c.routes[1].streams
	route.from.Store(1)
	client := c.streams(1)
	store := client.store
	store.create("c")
	sources := &replacedSources{server: client.Server}
	client.Server.streams.find = sources.find

	const versions = 400
	ws, sse := client.dialWS(t, "c", "?cursor=0"), client.dialSSE(t, "c", "?cursor=0", "")
	var group sync.WaitGroup
	read := func(name string, next func() (event, error), got *[]string) {
		for {
			e, err := next()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			// Short, for the sake of whoever reads a failure: the whole event is its sum.
			*got = append(*got, fmt.Sprintf("%s %d %d %s %x", e.Type, e.Version, e.Seq, e.id, crc32.ChecksumIEEE(e.raw)))
			if e.Type == "context" && e.Version == versions {
				return
			}
		}
	}
	var gotWS, gotSSE []string
	group.Go(func() { read("websocket", ws.next, &gotWS) })
	group.Go(func() { read("sse", sse.next, &gotSSE) })

	r := rand.New(rand.NewPCG(5, 6))
	lose := func() {
		route.from.Store([]int32{0, 1, 3}[r.IntN(3)]) // here, or on one of the others
		route.cut()
		sources.replace()
	}
	for v := range versions {
		switch {
		case v == versions-1: // streams that were slow to attach missed most of the losses
			polls, seen := 0, uint64(0)
			require.Eventually(t, func() bool {
				n := client.metrics.streams.reattached.Get()
				if polls++; n > seen || polls%1000 == 1 { // may have hit a stream that was not attached
					lose()
					seen = n
				}
				return n > 20
			}, 40*time.Second, time.Millisecond)
			fallthrough
		case v%10 == 9:
			store.compact("c") // fewer than a context remembers
		default:
			store.append("c", 1+r.IntN(5), r.IntN(3000))
		}
		if r.IntN(8) == 0 {
			lose()
		}
		if r.IntN(3) == 0 {
			time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
		}
	}
	group.Wait()

	var wantWS, wantSSE []string
	route.from.Store(0)
	ws, sse = c.streams(0).dialWS(t, "c", "?cursor=0"), c.streams(0).dialSSE(t, "c", "?cursor=0", "")
	read("websocket", ws.next, &wantWS)
	read("sse", sse.next, &wantSSE)
	require.Equal(t, wantWS, gotWS)
	require.Equal(t, wantSSE, gotSSE)
}

// replacedSources gives a server's streams local feeds whose shard's state can be replaced, as by a snapshot.
type replacedSources struct {
	server *Server

	mu   sync.Mutex
	list []*replacedSource
}

type replacedSource struct {
	streamSource
	wake     atomic.Pointer[chan<- struct{}]
	replaced atomic.Bool
}

func (s *replacedSource) Subscribe(wake chan<- struct{}) {
	s.wake.Store(&wake)
	s.streamSource.Subscribe(wake)
}

func (s *replacedSource) Replaced() bool { return s.replaced.Load() }

func (r *replacedSources) find(id []byte, p *streamParams, wait time.Duration, stop <-chan struct{}) (feed, uint64, shard.Code) {
	f, version, code := r.server.findFeed(id, p, wait, stop)
	if local, ok := f.(*localFeed); ok {
		source := &replacedSource{streamSource: local.source}
		local.source = source
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, source)
	}
	return f, version, code
}

func (r *replacedSources) replace() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.list {
		s.replaced.Store(true)
		if wake := s.wake.Load(); wake != nil {
			select {
			case *wake <- struct{}{}:
			default:
			}
		}
	}
	r.list = nil
}

// TestStreamWithoutAnyReplica is closed with 1001 after a while, and a new one is refused with 503.
func TestStreamWithoutAnyReplica(t *testing.T) {
	checkGoroutines(t)
	c := newTestCluster(t, 2, func(cfg *Config) { cfg.Streams.Reattach = 200 * time.Millisecond })
	route := &c.routes[1].streams
	route.from.Store(1)
	s := c.streams(1)
	s.store.create("c")
	ws, sse := s.dialWS(t, "c", ""), s.dialSSE(t, "c", "", "")
	s.store.append("c", 1, 1)
	ws.must()
	sse.must()
	route.from.Store(-1)
	route.cut()
	code, reason := ws.closeCode()
	require.Equal(t, "1001 unavailable", fmt.Sprint(code, " ", reason))
	for {
		if _, err := sse.next(); err != nil {
			break
		}
	}
	_, answer, err := s.tryWS("c", "", 0)
	require.Error(t, err)
	require.Equal(t, 503, answer.StatusCode)
	require.NotEmpty(t, answer.Header.Get("Retry-After"))
	require.Equal(t, uint64(2), s.metrics.streams.closed[causeLost].Get())
}

// TestReplicaThatShutsDown: its streams go on elsewhere.
func TestReplicaThatShutsDown(t *testing.T) {
	checkGoroutines(t)
	c := newTestCluster(t, 3)
	route := &c.routes[1].streams
	route.from.Store(1)
	s := c.streams(1)
	s.store.create("c")
	ws := s.dialWS(t, "c", "")
	s.store.append("c", 1, 1)
	require.Equal(t, uint64(1), ws.must().Seq)
	route.from.Store(3)
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	require.NoError(t, c.nodes[0].s.Shutdown(ctx))
	require.ErrorIs(t, <-c.nodes[0].done, ErrServerClosed)
	s.store.append("c", 1, 1)
	require.Equal(t, "context", ws.must().Type)
	require.Equal(t, uint64(2), ws.must().Seq)

	near, far, err := tcpPair()
	require.NoError(t, err)
	go c.nodes[0].s.ServeRemoteStream(appendRelayOpen(nil, []byte("c"), &streamParams{}), far)
	_, _, code := newRelayFeed(near, &s.streams.bufs)
	require.Equal(t, shard.CodeShuttingDown, code)
}

// TestRelayedSlowConsumer: a client that takes nothing is told so, whoever has the replica.
func TestRelayedSlowConsumer(t *testing.T) {
	checkGoroutines(t)
	c := newTestCluster(t, 2, func(cfg *Config) {
		cfg.Streams.StallTimeout, cfg.Streams.SendBuffer, cfg.Streams.Linger = 100*time.Millisecond, 4<<10, time.Minute
	})
	c.routes[1].streams.from.Store(1)
	s := c.streams(1)
	s.store.create("c")
	ws := s.dialBuffered(t, "c", "", smallBuffer)
	require.Eventually(t, func() bool {
		s.store.append("c", 1, 100_000)
		return s.metrics.streams.closed[causeSlow].Get() > 0
	}, testWait, time.Millisecond)
	code, reason := ws.closeCode()
	require.Equal(t, "1008 slow_consumer", fmt.Sprint(code, " ", reason))
}

// TestRelaysAreBounded: they have slots of their own, which clients do not take, nor they clients'.
func TestRelaysAreBounded(t *testing.T) {
	checkGoroutines(t)
	c := newTestCluster(t, 1, func(cfg *Config) { cfg.StreamMax = 1 })
	s := c.streams(0)
	s.store.create("c")
	open := func() (*relayFeed, shard.Code) {
		near, far, err := tcpPair()
		require.NoError(t, err)
		go s.ServeRemoteStream(appendRelayOpen(nil, []byte("c"), &streamParams{}), far)
		f, _, code := newRelayFeed(near, &s.streams.bufs)
		return f, code
	}
	var feeds []*relayFeed
	for range relayShare {
		f, code := open()
		require.Equal(t, shard.CodeOK, code)
		feeds = append(feeds, f)
	}
	_, code := open()
	require.Equal(t, shard.CodeOverloaded, code)
	s.dialWS(t, "c", "")
	for _, f := range feeds {
		f.close()
	}
	require.Eventually(t, func() bool {
		f, code := open()
		if code == shard.CodeOK {
			f.close()
		}
		return code == shard.CodeOK
	}, testWait, time.Millisecond)
}
