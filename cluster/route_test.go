package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"fastpaca/cluster/peer"
	"fastpaca/shard"

	"github.com/stretchr/testify/require"
)

// led returns a key whose shard is led by leader, the others follow and know it.
func (r *rig) led(by string) (key string, group uint32) {
	r.t.Helper()
	id := r.nodes[by].member.Load().id
	r.wait(by+" leads a shard", func() bool {
		for i := range 1000 {
			key = fmt.Sprintf("key-%d", i)
			group = shard.Of([]byte(key))
			all := true
			for _, n := range r.nodes {
				leader, _ := n.Shard().Leader(group)
				all = all && leader == id
			}
			if all {
				return true
			}
		}
		return false
	})
	return key, group
}

// A write whose answer was lost is not sent again: it may have taken effect (issue 3, ANCHORS B.26). What may be sent
// again is, and its answer is the second one's.
func TestALostAnswer(t *testing.T) {
	r := newRig(t)
	slow := func(o *Options) { o.pace.spreadAfter = 1 << 60 } // nobody moves leaders here
	r.found(slow, "a", "b", "c")
	for _, again := range []bool{false, true} {
		for !r.loseAnswer(again) {
			r.waitReady("a", "b", "c") // another node leads now: once more
		}
	}
}

// loseAnswer forwards a write from b to a, which leads, and cuts their connections before the answer. False: a led no more when the
// write came to it.
func (r *rig) loseAnswer(again bool) bool {
	t := r.t
	key, group := r.led("a")
	req := append(binary.LittleEndian.AppendUint32([]byte{'w'}, group), key...)
	var calls atomic.Int32
	a, b := r.nodes["a"], r.nodes["b"]
	entered, release := make(chan struct{}), make(chan struct{})
	a.mu.Lock()
	a.hook = func([]byte) {
		if calls.Add(1) == 1 {
			close(entered)
			<-release
		}
	}
	a.mu.Unlock()
	type result struct {
		answer []byte
		code   shard.Code
		unsure bool
	}
	done := make(chan result, 1)
	go func() {
		answer, code, unsure := b.Forward(group, req, []byte("before"), again)
		done <- result{answer, code, unsure}
	}()
	select {
	case <-entered:
	case <-done:
		close(release)
		return false
	}
	a.cut()
	got := <-done // with again, the answer to the second attempt: the first one's is held back, should its connection have been left
	close(release)
	if !again {
		require.Equal(t, shard.CodeTimeout, got.code)
		require.Equal(t, "before", string(got.answer))
		r.waitReady("a", "b", "c")
		require.Equal(t, int32(1), calls.Load(), "sent once")
		return true
	}
	require.True(t, got.unsure, "whatever it is told now, the first attempt may have been carried out")
	// The cut may cost a its leadership, and the search for the next leader may take longer than the write is given.
	require.Contains(t, []shard.Code{shard.CodeOK, shard.CodeNotLeader, shard.CodeUnavailable, shard.CodeTimeout}, got.code)
	if got.code == shard.CodeOK {
		require.Equal(t, "before\x00", string(got.answer), "without the first byte")
	}
	return got.code == shard.CodeOK || got.code == shard.CodeNotLeader
}

// After an attempt that may have been carried out, a refusal of the next is no word that nothing was written: the search goes on,
// and ends as unknown.
func TestARefusalAfterALostAnswer(t *testing.T) {
	f := func(err error, again, unknown bool, want shard.Code, ends bool) {
		t.Helper()
		code, end := failed(err, again, unknown)
		require.Equal(t, ends, end)
		if ends {
			require.Equal(t, want, code)
		}
	}
	f(peer.ErrOverloaded, true, false, shard.CodeOverloaded, true)
	f(peer.ErrOverloaded, true, true, 0, false)
	f(peer.ErrTooLarge, true, false, shard.CodeTooLarge, true) // the first attempt would have been, too
	f(peer.ErrNotSent, true, true, 0, false)
	f(peer.ErrClosed, false, false, 0, false)
	for _, err := range []error{peer.ErrUnknown, peer.ErrTimeout} {
		f(err, false, false, shard.CodeTimeout, true)
		f(err, true, false, 0, false)
	}
}

// A route that is wrong ends in a bounded wait and a clear answer, and not in a loop: here the leader refuses for ever.
func TestAWrongRouteIsBounded(t *testing.T) {
	r := newRig(t)
	r.found(func(o *Options) { o.pace.spreadAfter = 1 << 60 }, "a", "b", "c")
	_, group := r.led("a")
	for _, n := range r.nodes { // whoever leads
		n.SetHandlers(func(_, dst []byte) []byte { return append(dst, AnswerNotLeader) }, nil)
	}
	answer, code, _ := r.nodes["b"].Forward(group, []byte("x"), nil, false)
	require.Equal(t, shard.CodeUnavailable, code)
	require.Empty(t, answer)
}

// Without a cluster every request is answered, by unavailable.
func TestWithoutACluster(t *testing.T) {
	r := newRig(t)
	n := r.listen("a").start([]string{"127.0.0.1:1"})
	require.True(t, n.Local(0))
	require.Equal(t, shard.CodeUnavailable, n.serveLocal([]byte("wxxxxkey")))
	_, code, _ := n.Forward(0, nil, nil, true)
	require.Equal(t, shard.CodeUnavailable, code)
	_, code = n.Stream([]byte("key"))
	require.Equal(t, shard.CodeUnavailable, code)
	_, code = n.Remote([]byte("key"), nil)
	require.Equal(t, shard.CodeUnavailable, code)
	require.ErrorIs(t, n.Drain("a"), ErrUnavailable)
	n.HandOver(t.Context())
	ok, reason := n.Ready()
	require.False(t, ok)
	require.Equal(t, "raft_sync", reason)
	require.Empty(t, n.Status().Groups)
}

// A node that does not know the secret gets nothing.
func TestWrongSecret(t *testing.T) {
	r := newRig(t)
	r.found(nil, "a")
	x := r.listen("x").start(r.seeds, func(o *Options) { o.Secret = []byte("guess") })
	r.wait("a says so", func() bool { return r.nodes["a"].logged("peer_refused") > 0 })
	require.Empty(t, x.ClusterID())
	require.Len(t, r.nodes["a"].Map().Nodes, 1)
}

func TestResolveSeeds(t *testing.T) {
	names := map[string][]string{
		"three": {"10.0.0.3", "10.0.0.1", "10.0.0.2"}, "both": {"::1", "127.0.0.1"}, "six": {"fd00::1"}, "none": {},
	}
	resolve := func(_ context.Context, host string) ([]string, error) {
		if list, ok := names[host]; ok {
			return list, nil
		}
		return nil, errors.New("no such host")
	}
	f := func(seeds []string, missing int, want ...string) {
		t.Helper()
		got, n := resolveSeeds(t.Context(), seeds, resolve)
		require.Equal(t, want, got)
		require.Equal(t, missing, n)
	}
	f([]string{"three:4000"}, 0, "10.0.0.1:4000", "10.0.0.2:4000", "10.0.0.3:4000")
	f([]string{"three:4000", "10.0.0.1:4000", "three:4000"}, 0, "10.0.0.1:4000", "10.0.0.2:4000", "10.0.0.3:4000")
	f([]string{"both:1", "six:2"}, 0, "127.0.0.1:1", "[fd00::1]:2")
	f([]string{"none:1", "unknown:1", "no port", "[::1]:7"}, 3, "[::1]:7")
}
