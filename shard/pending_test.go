package shard

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPendingIsFIFOThroughGrowth(t *testing.T) {
	var p pending
	reqs := make([]*Request, 100)
	next := 0
	for i := range reqs {
		reqs[i] = &Request{}
		p.push(proposal{index: uint64(i + 1), term: 1, req: reqs[i]})
		if i%3 == 2 { // keep the head moving, so that growth meets a wrapped ring
			takeOne(t, &p, uint64(next+1), reqs[next])
			next++
		}
	}
	for ; next < len(reqs); next++ {
		takeOne(t, &p, uint64(next+1), reqs[next])
	}
	require.Zero(t, p.size)
}

func takeOne(t *testing.T, p *pending, index uint64, want *Request) {
	t.Helper()
	x, ok := p.take(index, 1, func(proposal) { t.Fatal("lost") })
	require.True(t, ok)
	require.Same(t, want, x.req)
}

func TestPendingTellsLostFromWaiting(t *testing.T) {
	var p pending
	a, b := &Request{}, &Request{}
	p.push(proposal{index: 5, term: 2, req: a})
	p.push(proposal{index: 7, term: 4, req: b})
	var lost []*Request
	note := func(x proposal) { lost = append(lost, x.req) }

	_, ok := p.take(4, 2, note)
	require.False(t, ok, "an entry before the oldest proposal belongs to nobody here")
	_, ok = p.take(5, 3, note)
	require.False(t, ok, "another leader's entry took the place")
	require.Equal(t, []*Request{a}, lost)
	x, ok := p.take(7, 4, note)
	require.True(t, ok)
	require.Same(t, b, x.req)
	require.Zero(t, p.size)
}

func TestPendingExpiresInOrder(t *testing.T) {
	var p pending
	early, late := &Request{deadline: 10}, &Request{deadline: 20}
	p.push(proposal{index: 1, term: 1, req: early})
	p.push(proposal{index: 2, term: 1, req: late})
	var answered []*Request
	note := func(r *Request) { answered = append(answered, r) }

	p.expire(9, note)
	require.Empty(t, answered)
	p.expire(10, note)
	p.expire(11, note)
	require.Equal(t, []*Request{early}, answered, "each request is answered once")
	x, ok := p.take(1, 1, func(proposal) { t.Fatal("lost") })
	require.True(t, ok, "the slot of an answered request is still in line")
	require.Nil(t, x.req)
	takeOne(t, &p, 2, late)
}

// TestRequestsSurviveAHandOver: what was proposed before a leadership was handed over is answered by the next leader's
// commit, and not with "unknown".
func TestRequestsSurviveAHandOver(t *testing.T) {
	c := newTestCluster(t, 3, noSnapshots)
	c.put("x")
	group := Of([]byte("x"))
	for round := range 10 {
		lead := c.leader(group)
		n := c.node(lead)
		codes := make(chan Code, 8)
		for i := range cap(codes) {
			go func() {
				_, code := appendText(n, "x", fmt.Sprint(round, i))
				codes <- code
			}()
		}
		_ = n.Transfer(group, lead%3+1) // it may be under way already
		for range cap(codes) {
			require.Contains(t, []Code{CodeOK, CodeNotLeader}, <-codes, "decided either way")
		}
	}
}
