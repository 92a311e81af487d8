package httpd

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"fastpaca/shard"
	"fastpaca/tokenize"

	"github.com/stretchr/testify/require"
)

// streamStore is a Store that tests write to directly.
type streamStore struct{ Store }

// newStreamStore is one on state machines without log and disk: Do applies at once, and wakes the streams itself.
func newStreamStore() *streamStore {
	m := newMemoryStore()
	for i := range m.shards {
		m.shards[i].machine.OnPublish((*shard.Context).WakeSubscribers)
	}
	return &streamStore{m}
}

// newNodeStore is one on a whole node with its disk.
func newNodeStore(t *testing.T) *streamStore {
	return openNodeStore(t, shard.Options{})
}

func openNodeStore(t *testing.T, o shard.Options) *streamStore {
	o.Dir, o.SegmentBytes = t.TempDir(), 4<<20
	n, err := shard.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	require.Eventually(t, func() bool { ok, _ := n.Ready(); return ok }, testWait, time.Millisecond)
	return &streamStore{n}
}

func (f *streamStore) do(id string, cmd []byte) shard.Result {
	r := shard.AcquireRequest()
	defer shard.ReleaseRequest(r)
	r.Cmd = append(r.Cmd[:0], cmd...)
	f.Do(shard.Of([]byte(id)), r)
	return r.Result
}

func (f *streamStore) create(id string) { f.do(id, shard.EncodePut(nil, &shard.Put{ID: []byte(id)})) }
func (f *streamStore) delete(id string) { f.do(id, shard.EncodeDelete(nil, []byte(id))) }

// append writes one version of count messages, each with text of so many bytes.
func (f *streamStore) append(id string, count, size int) shard.Result {
	cmd := shard.BeginAppend(nil, shard.AppendHeader{ID: []byte(id), Count: count})
	text := make([]byte, size)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	fields := fmt.Sprintf(`"role":"user","parts":[{"type":"text","text":%q}],"metadata":{}`, text)
	for range count {
		cmd = shard.AppendMessage(cmd, &shard.Message{Fields: []byte(fields), Tokens: 1})
	}
	return f.do(id, cmd)
}

func (f *streamStore) compact(id string) shard.Result {
	cmd := shard.BeginCompact(nil, shard.AppendHeader{ID: []byte(id), Count: 1})
	return f.do(id, shard.AppendMessage(cmd, &shard.Message{Fields: []byte(`"role":"system","parts":[{"type":"text","text":"sum"}],"metadata":{}`), Tokens: 1}))
}

func testConfig(t *testing.T, store Store) Config {
	counter, err := tokenize.New("chars:4")
	require.NoError(t, err)
	return Config{Store: store, Counter: counter, NodeName: "n1", Version: "test"}
}

// bareServer is a server that does not listen.
func bareServer(t *testing.T) *Server { return New(testConfig(t, newStreamStore())) }

// streamServer is a server on a loopback port. The test fails if it leaves goroutines behind.
type streamServer struct {
	*Server
	store *streamStore
	addr  string
}

func startStreams(t *testing.T, change func(*Config)) *streamServer {
	t.Helper()
	checkGoroutines(t)
	return startStreamsOn(t, newStreamStore(), change)
}

func startStreamsOn(t *testing.T, store *streamStore, change func(*Config)) *streamServer {
	t.Helper()
	cfg := testConfig(t, store)
	if change != nil {
		change(&cfg)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &streamServer{Server: New(cfg), store: store, addr: ln.Addr().String()}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		require.ErrorIs(t, <-done, ErrServerClosed)
	})
	return s
}

// checkGoroutines fails the test if more goroutines of ours run after it than before. (A goroutine of fasthttp's
// worker pool sleeps for ten seconds before it sees that the pool was stopped; it is not counted.)
func checkGoroutines(t *testing.T) {
	t.Helper()
	before, _ := ourGoroutines()
	t.Cleanup(func() {
		for deadline := time.Now().Add(testWait); ; {
			n, stacks := ourGoroutines()
			if n <= before {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d goroutines before the test, %d after:\n%s", before, n, stacks)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func ourGoroutines() (n int, stacks string) {
	buf := make([]byte, 4<<20)
	all := string(buf[:runtime.Stack(buf, true)])
	for _, g := range strings.Split(all, "\n\n") {
		if strings.Contains(g, "fastpaca/") || strings.Contains(g, "fasthttp.(*Server)") || strings.Contains(g, "workerFunc") {
			n++
		}
	}
	return n, all
}
