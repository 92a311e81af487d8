package httpd

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"fastpaca/cluster"
	"fastpaca/cluster/peer"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// held is a Config.Submit that does nothing until it is told to.
type held struct {
	store Store
	subs  []shard.Submission
}

func (h *held) submit(subs []shard.Submission) { h.subs = append(h.subs, subs...) }

// finish carries out the i-th request, or answers it with a code of the runtime's.
func (h *held) finish(i int, code shard.Code) {
	x := h.subs[i]
	if code == shard.CodeOK {
		h.store.Do(x.Group, x.Request)
	} else {
		x.Request.Result = shard.Result{Code: code}
	}
	x.Request.Done(x.Request)
}

// takingRig is a server whose Submit is held, with one context.
func takingRig(t *testing.T) (*rig, *held) {
	h := &held{store: newMemoryStore()}
	g := newRig(t, func(cfg *Config) { cfg.Store, cfg.Submit = h.store, h.submit })
	g.ok(201, "PUT", "/v1/contexts/c", "")
	return g, h
}

// incoming is a forwarded request as it arrives; its answer is appended to answers.
func incoming(t *testing.T, answers *[]string, method, path, body string, headers ...string) cluster.Incoming {
	frame, ok := appendForwarded(nil, requestCtx(method, path, body, headers...))
	require.True(t, ok)
	return cluster.Incoming{Kind: cluster.KindHTTP, Request: frame, Caller: peer.CallerFunc(func(b []byte) { *answers = append(*answers, string(b)) })}
}

// TestTakenAppends: what is taken is answered as ServeForwarded would, whatever the outcome is, later, in any order, and from
// memory of its own: the frames are gone by then.
func TestTakenAppends(t *testing.T) {
	outcomes := []shard.Code{
		shard.CodeOK, shard.CodeTimeout, shard.CodeOverloaded, shard.CodeStorageFull, shard.CodeUnavailable, shard.CodeNotFound,
		shard.CodeNotLeader, shard.CodeShuttingDown, shard.CodeTooLarge, shard.CodeOK,
	}
	g, h := takingRig(t)
	var answers []string
	var calls []cluster.Incoming
	for range outcomes {
		calls = append(calls, incoming(t, &answers, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("hello")+`}`))
	}
	frame := bytes.Clone(calls[0].Request)
	g.s.TakeForwarded(calls)
	require.Len(t, h.subs, len(outcomes))
	for i := range calls {
		require.True(t, calls[i].Taken)
		clear(calls[i].Request)
	}
	require.EqualValues(t, len(outcomes), g.s.taken.Load())
	for i := len(outcomes) - 1; i >= 0; i-- {
		h.finish(i, outcomes[i])
	}
	require.Zero(t, g.s.taken.Load())
	for i, code := range outcomes {
		got := answers[len(outcomes)-1-i]
		twin := newRig(t, func(cfg *Config) { cfg.Store = &fixedStore{newMemoryStore(), code} })
		if code == shard.CodeOK {
			twin.ok(201, "PUT", "/v1/contexts/c", "")
			if i == 0 {
				twin.ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("hello")+`}`)
			}
		}
		require.Equal(t, string(twin.s.ServeForwarded(frame, nil)), got, "%v", code)
	}
	require.EqualValues(t, 2, g.s.metrics.tokenCount(), "messages count where they are appended, once")
}

// fixedStore answers writes with a code, unless that is CodeOK.
type fixedStore struct {
	*memoryStore
	code shard.Code
}

func (s *fixedStore) Do(n uint32, r *shard.Request) {
	if s.code == shard.CodeOK {
		s.memoryStore.Do(n, r)
		return
	}
	r.Result = shard.Result{Code: s.code}
}

// TestWhatIsNotTaken: anything but a plain append is left to the way that knows all of it, and errors are.
func TestWhatIsNotTaken(t *testing.T) {
	g, h := takingRig(t)
	var answers []string
	one := `{"message":` + textMessage("x") + `}`
	calls := []cluster.Incoming{
		incoming(t, &answers, "GET", "/v1/contexts/c", ""),
		incoming(t, &answers, "PUT", "/v1/contexts/c", "{}"),
		incoming(t, &answers, "GET", "/v1/contexts/c/messages", ""),
		incoming(t, &answers, "POST", "/v1/contexts/c/compact", `{"replacement":[]}`),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages?import=true", one),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages", ""),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages", `{"message":`),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages", `{"message":{"role":"user"}}`),
		incoming(t, &answers, "POST", "/v1/contexts/"+strings.Repeat("x", 256)+"/messages", one),
		incoming(t, &answers, "POST", "/v1/contexts/%00/messages", one),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages", one, "Idempotency-Key: k"),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages", one, "Content-Encoding: gzip"),
		incoming(t, &answers, "POST", "/v1/contexts/c/messages", one, "Content-Type: text/plain"),
		{Kind: cluster.KindBarrier, Request: make([]byte, 4)},
		{Kind: cluster.KindHTTP},
		{Kind: cluster.KindHTTP, Request: []byte{forwardVersion + 1, forwardPost, 0}},
	}
	g.s.TakeForwarded(calls)
	for i := range calls {
		require.False(t, calls[i].Taken, i)
	}
	require.Empty(t, answers)
	require.Empty(t, h.subs)

	// Past the bound, and after a bug in the parser, too.
	good := []cluster.Incoming{incoming(t, &answers, "POST", "/v1/contexts/c/messages", one)}
	g.s.taken.Add(takeMost)
	g.s.TakeForwarded(good)
	g.s.taken.Add(-takeMost)
	require.False(t, good[0].Taken)
	g.s.takings = sync.Pool{New: func() any { return &taking{s: g.s, w: &work{}} }} // without a token counter
	g.s.TakeForwarded(good)
	require.False(t, good[0].Taken)
	require.Zero(t, g.s.taken.Load())
	g.s.takings = sync.Pool{New: g.s.newTaking}
	g.s.TakeForwarded(good)
	require.True(t, good[0].Taken)
	h.finish(0, shard.CodeOK)
	require.Len(t, answers, 1)
	require.Zero(t, g.s.taken.Load())
}

// TestQuickForward: the quick way forwards, and its answers are those of fasthttp's way, through the leader's both.
func TestQuickForward(t *testing.T) {
	answered := func(quick bool, code shard.Code) []string {
		c := newTestCluster(t, 2)
		c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
		if code != shard.CodeOK {
			c.routes[1].answer.Store(int32(code) + 1)
		}
		var out []string
		for _, body := range []string{
			`{"message":` + textMessage("one") + `}`,
			`{"messages":[` + textMessage("two") + `,` + textMessage("three") + `],"if_version":1}`,
			`{"message":` + textMessage("late") + `,"if_version":1}`,
			`{"message":`,
		} {
			request := c.nodes[1].request("POST", "/v1/contexts/c/messages", body)
			if quick {
				got, rest := quickly(c.nodes[1].s, request)
				require.Empty(t, rest)
				out = append(out, got)
			} else {
				out = append(out, plainly(c.nodes[1], request))
			}
		}
		require.EqualValues(t, 4, c.routes[1].forwarded.Load())
		return out
	}
	for _, code := range []shard.Code{shard.CodeOK, shard.CodeUnavailable, shard.CodeTimeout, shard.CodeOverloaded, shard.CodeTooLarge} {
		require.Equal(t, answered(false, code), answered(true, code), "%v", code)
	}

	// A node that leads by now does it itself, by the other way.
	c := newTestCluster(t, 2)
	c.nodes[0].ok(201, "PUT", "/v1/contexts/c", "")
	c.routes[1].answer.Store(int32(shard.CodeNotLeader) + 1)
	request := c.nodes[1].request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	before := c.state.writes.Load()
	got, rest := quickly(c.nodes[1].s, request)
	require.Empty(t, got)
	require.Equal(t, request, rest)
	require.Equal(t, before, c.state.writes.Load())
}
