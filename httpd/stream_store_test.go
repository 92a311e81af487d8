package httpd

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/shard"
	"fastpaca/tokenize"

	"github.com/stretchr/testify/require"
)

// streamStore is a Store on real shard machines, without log and disk: Do applies at once.
type streamStore struct {
	mu       sync.Mutex
	index    uint64
	machines [shard.Shards]*shard.Machine
}

func newStreamStore() *streamStore {
	f := &streamStore{}
	for i := range f.machines {
		f.machines[i] = shard.NewMachine(uint32(i))
		f.machines[i].OnPublish((*shard.Context).WakeSubscribers)
	}
	return f
}

func (f *streamStore) Do(n uint32, r *shard.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	shard.StampTime(r.Cmd, time.Now().UnixMilli())
	if err := f.machines[n].Apply(f.index, r.Cmd, &r.Result); err != nil {
		panic(err)
	}
}

func (f *streamStore) Read(id []byte, v *shard.View) shard.Code {
	c, code := f.Context(id)
	if code == shard.CodeOK {
		c.View(v)
	}
	return code
}

func (f *streamStore) Context(id []byte) (*shard.Context, shard.Code) {
	c := f.machines[shard.Of(id)].Lookup(id)
	if c == nil {
		return nil, shard.CodeNotFound
	}
	return c, shard.CodeOK
}

func (f *streamStore) Ready() (bool, string) { return true, "" }
func (f *streamStore) Stats(s *shard.Stats)  { *s = shard.Stats{} }
func (f *streamStore) Status() shard.Status {
	return shard.Status{Groups: []shard.GroupStatus{{Shard: 0, Leading: true, Term: 1}, {Shard: 1}}}
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
	store := newStreamStore()
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
