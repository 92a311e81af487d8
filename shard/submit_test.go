package shard

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// submitAll runs the commands and waits for all outcomes.
func submitAll(n *Node, groups []uint32, cmds [][]byte) (results []Result) {
	results = make([]Result, len(cmds))
	var work sync.WaitGroup
	var subs []Submission
	for i := range cmds {
		r := AcquireRequest()
		r.Cmd = append(r.Cmd, cmds[i]...)
		work.Add(1)
		r.Done = func(r *Request) {
			results[i] = r.Result
			ReleaseRequest(r)
			work.Done()
		}
		subs = append(subs, Submission{groups[i], r})
	}
	n.SubmitAll(subs)
	work.Wait()
	return results
}

// TestSubmitAll: requests for the groups of both loops, with some among them that are refused for each reason there is; what is
// for one group keeps its order.
func TestSubmitAll(t *testing.T) {
	o := testOptions(walfs.NewMem())
	o.InflightBytes = 1 << 20
	n := openNode(t, o)
	var groups []uint32
	var cmds [][]byte
	add := func(group uint32, cmd []byte) { groups, cmds = append(groups, group), append(cmds, cmd) }
	ids := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, id := range ids {
		require.Equal(t, CodeOK, put(n, id))
	}
	for i := range 10 {
		for _, id := range ids {
			add(Of([]byte(id)), encodeText(nil, id, fmt.Sprint(i)))
		}
	}
	add(9999, encodeText(nil, "a", "no such group"))
	add(Of([]byte("a")), make([]byte, o.MaxCommandBytes+1))
	results := submitAll(n, groups, cmds)
	for i := range 10 * len(ids) {
		require.Equal(t, CodeOK, results[i].Code)
		require.EqualValues(t, i/len(ids)+1, results[i].FirstSeq)
	}
	require.Equal(t, CodeUnavailable, results[80].Code)
	require.Equal(t, CodeTooLarge, results[81].Code)

	big := strings.Repeat("x", 300<<10)
	results = submitAll(n, []uint32{Of([]byte("a"))}, [][]byte{encodeText(nil, "a", "one by itself")})
	require.Equal(t, CodeOK, results[0].Code)
	groups, cmds = nil, nil
	for range 4 { // the budget holds three
		add(Of([]byte("b")), encodeText(nil, "b", big))
	}
	results = submitAll(n, groups, cmds)
	require.Equal(t, []Code{CodeOK, CodeOK, CodeOK, CodeOverloaded},
		[]Code{results[0].Code, results[1].Code, results[2].Code, results[3].Code})
	require.Zero(t, n.inflight.Load())

	require.NoError(t, n.Close())
	results = submitAll(n, groups, cmds)
	require.Equal(t, CodeShuttingDown, results[3].Code)
	require.Zero(t, n.inflight.Load())
}

// TestSubmitAllAtAClosedMailbox: a request that was let in just before the node closed is refused by the mailbox, and gives
// its bytes of the budget back.
func TestSubmitAllAtAClosedMailbox(t *testing.T) {
	n := openNode(t, testOptions(walfs.NewMem()))
	for _, l := range n.loops {
		l.box.close()
	}
	cmd := encodeText(nil, "a", "x")
	results := submitAll(n, []uint32{1, 2}, [][]byte{cmd, cmd})
	require.Equal(t, CodeShuttingDown, results[0].Code)
	require.Equal(t, CodeShuttingDown, results[1].Code)
	require.Zero(t, n.inflight.Load())
	require.NoError(t, n.Close())
}

// TestSubmitAllWaitsForNoDisk: a context is on a disk that does not answer. What was submitted together with an append to it gets on,
// as do the caller and the loop.
func TestSubmitAllWaitsForNoDisk(t *testing.T) {
	var hang atomic.Pointer[chan struct{}]
	o := testOptions(walfs.NewFaulty(walfs.NewMem(), func(c walfs.Call) (f walfs.Fault) {
		if h := hang.Load(); h != nil && c.Op == walfs.OpRead && strings.HasSuffix(c.Path, parkSuffix) {
			f.Hang = *h
		}
		return f
	}))
	o.Loops, o.ParkAfter, o.RequestTimeout = 1, time.Hour, time.Minute
	n := openNode(t, o)
	for _, id := range []string{"asleep", "awake"} {
		require.Equal(t, CodeOK, put(n, id))
	}
	g := n.groups[Of([]byte("asleep"))]
	require.NoError(t, g.loop.call(func() {
		for range 2 {
			g.machine.Sweep(g.machine.Len())
		}
		g.parking = true
		n.parks.queue.push(g)
	}))
	parked(t, n, 1)
	back := make(chan struct{})
	free := sync.OnceFunc(func() { close(back) })
	defer free()
	hang.Store(&back)
	for _, ids := range [][]string{{"asleep"}, {"asleep", "awake"}} {
		answers := map[string]chan Code{}
		var subs []Submission
		for _, id := range ids {
			answer := make(chan Code, 1)
			answers[id] = answer
			r := AcquireRequest()
			r.Cmd = encodeText(r.Cmd, id, "hello")
			r.Done = func(r *Request) { answer <- r.Result.Code }
			subs = append(subs, Submission{Of([]byte(id)), r})
		}
		n.SubmitAll(subs)
		if len(ids) == 1 {
			continue
		}
		require.Equal(t, CodeOK, <-answers["awake"])
		require.Empty(t, answers["asleep"])
		free()
		require.Equal(t, CodeOK, <-answers["asleep"])
	}
	require.NoError(t, n.Close())
}
