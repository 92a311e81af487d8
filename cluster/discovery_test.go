package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fastpaca/cluster/place"

	"github.com/stretchr/testify/require"
)

// errCrash is how memIdentity ends a node in the middle of a write.
type errCrash struct{}

func (errCrash) Error() string { return "crash" }

// memIdentity is a directory that survives its node.
type memIdentity struct {
	id    Identity
	crash func() bool // asked before and after each write
}

func (m *memIdentity) identity() Identity { return m.id }

func (m *memIdentity) write(f func()) error {
	if m.crash != nil && m.crash() {
		return errCrash{}
	}
	f()
	if m.crash != nil && m.crash() {
		return errCrash{}
	}
	return nil
}

func (m *memIdentity) promise(g *place.Genesis) error {
	if m.id.Pending != nil || m.id.ClusterID != "" {
		panic("a second promise")
	}
	return m.write(func() { m.id.Pending = g })
}

func (m *memIdentity) abandon() error { return m.write(func() { m.id.Pending = nil }) }

func (m *memIdentity) enter(raftID uint64, joined bool, g *place.Genesis) error {
	if m.id.ClusterID != "" {
		panic("a second cluster")
	}
	return m.write(func() {
		m.id.ClusterID, m.id.RaftID, m.id.Joined, m.id.Genesis, m.id.Pending = g.ClusterID, raftID, joined, g, nil
	})
}

// world is a network of discoveries, driven by one seed.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	size  int
	nodes []*worldNode
	seeds []string
	up    [][]bool // up[a][b]: what a sends reaches b
	calm  bool     // nothing is lost, delayed or crashed
	late  []lateReply
	drawn int
	trace []string
}

type worldNode struct {
	seen   Seen
	ids    *memIdentity
	d      *discovery // nil: down
	life   int
	nextID uint64
}

type lateReply struct {
	to, life int
	addr     string
	a        ask
	r        reply
}

func newWorld(t *testing.T, seed uint64, n, size int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), size: size, up: make([][]bool, n)}
	for i, name := range w.rnd.Perm(n) {
		node := &worldNode{seen: Seen{fmt.Sprintf("n%d", name), fmt.Sprintf("inc-%d", i), fmt.Sprintf("h%d:1", i)}, nextID: 100}
		node.ids = &memIdentity{id: Identity{Version: identityVersion, Name: node.seen.Name, Incarnation: node.seen.Incarnation}}
		node.ids.crash = func() bool { return !w.calm && w.rnd.IntN(40) == 0 }
		w.nodes = append(w.nodes, node)
		w.seeds = append(w.seeds, node.seen.Address)
		w.up[i] = make([]bool, n)
	}
	return w
}

func (w *world) start(i int) {
	n := w.nodes[i]
	n.life++
	n.d = newDiscovery(n.seen, w.size, n.ids, func() string { w.drawn++; return fmt.Sprintf("cluster-%d", w.drawn) }, w.rnd.Uint64,
		func(event string, kv ...any) { w.note("%s: %s %v", n.seen.Name, event, kv) })
	w.note("%s starts", n.seen.Name)
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) stop(i int) { w.nodes[i].d = nil; w.note("%s stops", w.nodes[i].seen.Name) }

// did stops a node that crashed in a write.
func (w *world) did(i int, err error) bool {
	if err != nil {
		require.ErrorIs(w.t, err, errCrash{})
		w.stop(i)
	}
	return err == nil
}

func (w *world) passes(a, b int) bool { return w.calm || w.up[a][b] && w.rnd.IntN(10) > 0 }

// deliver carries one question there; ok: the answer came back.
func (w *world) deliver(from int, addr string, a *ask) (r reply, ok bool) {
	to := slices.Index(w.seeds, addr)
	if to < 0 || w.nodes[to].d == nil || !w.passes(from, to) {
		return r, false
	}
	sent, err := decodeAsk(encodeExchange(a)) // as on the wire: nothing is shared
	require.NoError(w.t, err)
	r, err = w.nodes[to].d.answer(&sent)
	if !w.did(to, err) {
		return r, false
	}
	if a.Join && r.ClusterID != "" {
		member := w.nodes[to]
		member.nextID++ // each member counts for itself: ids do not matter here
		r.Welcome = &welcome{ClusterID: r.ClusterID, RaftID: member.nextID, Genesis: member.ids.id.Genesis, Nodes: member.ids.id.Genesis.Nodes}
	}
	back, err := decodeReply(encodeExchange(r))
	require.NoError(w.t, err)
	return back, w.passes(to, from)
}

// round is a whole round of node i. Answers may be late, into later rounds.
func (w *world) round(i int) {
	n := w.nodes[i]
	if n.d == nil {
		return
	}
	var seeds []string
	missing := 0
	for _, s := range w.seeds {
		if w.calm || w.rnd.IntN(10) > 0 {
			seeds = append(seeds, s)
		} else {
			missing++ // its name did not resolve
		}
	}
	targets := n.d.begin(seeds, missing)
	q := n.d.question()
	for _, addr := range targets {
		r, ok := w.deliver(i, addr, &q)
		switch {
		case n.d == nil:
			return // crashed while it answered itself
		case !ok:
		case !w.calm && w.rnd.IntN(5) == 0:
			w.late = append(w.late, lateReply{i, n.life, addr, q, r})
		default:
			if !w.did(i, n.d.heard(addr, &q, &r)) {
				return
			}
		}
	}
	s, err := n.d.end()
	if !w.did(i, err) || s.join == "" {
		return
	}
	a, ok := n.d.join()
	if !ok {
		return
	}
	r, ok := w.deliver(i, s.join, &a)
	if n.d == nil {
		return
	}
	if !ok {
		r.Welcome = nil
	}
	w.did(i, n.d.joined(r.Welcome))
}

// chaos is one random event.
func (w *world) chaos() {
	n := len(w.nodes)
	switch k := w.rnd.IntN(80); {
	case k == 0: // the network changes
		for a := range n {
			for b := range n {
				w.up[a][b] = w.rnd.IntN(3) > 0
			}
		}
	case k < 3: // two sides
		cut := w.rnd.Uint64()
		for a := range n {
			for b := range n {
				w.up[a][b] = cut>>a&1 == cut>>b&1
			}
		}
	case k < 6 && len(w.late) > 0:
		j := w.rnd.IntN(len(w.late))
		l := w.late[j]
		w.late = slices.Delete(w.late, j, j+1)
		if node := w.nodes[l.to]; node.d != nil && node.life == l.life {
			w.did(l.to, node.d.heard(l.addr, &l.a, &l.r))
		}
	case k < 9:
		if i := w.rnd.IntN(n); w.nodes[i].d == nil {
			w.start(i)
		} else if w.rnd.IntN(3) == 0 {
			w.stop(i)
		}
	default:
		w.round(w.rnd.IntN(n))
	}
}

// check: every member of a cluster is in the same one, and nobody is in one whose genesis was given up by another.
func (w *world) check(seed uint64) {
	first := ""
	for _, n := range w.nodes {
		id := n.ids.id
		if id.ClusterID == "" {
			continue
		}
		if first == "" {
			first = id.ClusterID
		}
		if id.ClusterID != first {
			tail := w.trace[max(0, len(w.trace)-60):]
			w.t.Fatalf("seed %d: two clusters, %s and %s\n%v", seed, first, id.ClusterID, tail)
		}
	}
}

// TestNeverTwoClusters: under any visibility, with crashes in the middle of writes, lost and late answers, there is at
// most one cluster; and when the network is whole again, everybody is in it. ANCHORS B.19, DESIGN "cluster".
func TestNeverTwoClusters(t *testing.T) {
	seeds := uint64(600) // each bug planted so far was found within 100
	if testing.Short() || raceEnabled {
		seeds = 100 // one goroutine: nothing for the race detector to find
	}
	founded := 0
	for seed := range seeds {
		n := 3 + int(seed%4) // 3 to 6 nodes
		w := newWorld(t, seed, n, 3)
		for i := range n {
			if w.rnd.IntN(2) == 0 {
				w.start(i)
			}
		}
		for range 200 + w.rnd.IntN(400) {
			w.chaos()
			w.check(seed)
		}
		for _, node := range w.nodes {
			if node.ids.id.ClusterID != "" {
				founded++
				break
			}
		}
		w.calm = true
		for i, node := range w.nodes {
			if node.d == nil {
				w.start(i)
			}
		}
		whole := func() bool {
			return !slices.ContainsFunc(w.nodes, func(n *worldNode) bool { return n.ids.id.ClusterID == "" })
		}
		for range offerRounds + 5*backoffRounds {
			for _, i := range w.rnd.Perm(n) {
				w.round(i)
				w.check(seed)
			}
			if whole() {
				break
			}
		}
		if !whole() {
			t.Fatalf("seed %d: not everybody has a cluster\n%v", seed, w.trace[max(0, len(w.trace)-60):])
		}
	}
	// The schedules must reach founding under chaos, or nothing above was tested.
	require.Greater(t, founded, int(seeds)/4)
}

// calmWorld is a world of started nodes in which nothing goes wrong.
func calmWorld(t *testing.T, n, size int) *world {
	w := newWorld(t, 7, n, size)
	w.calm = true
	for i := range n {
		w.start(i)
	}
	return w
}

func (w *world) rounds(k int, nodes ...int) {
	for range k {
		for _, i := range nodes {
			w.round(i)
		}
	}
}

func TestTooFewFoundNothing(t *testing.T) {
	w := calmWorld(t, 5, 3)
	w.nodes[2].d, w.nodes[3].d, w.nodes[4].d = nil, nil, nil
	w.rounds(50, 0, 1)
	require.Empty(t, w.nodes[0].ids.id.ClusterID+w.nodes[1].ids.id.ClusterID)
	require.Nil(t, w.nodes[0].ids.id.Pending)
	require.Nil(t, w.nodes[1].ids.id.Pending)
}

// TestWaitingIsSaid: whoever looks at the log of a cluster that does not start finds out who is missing, and no flood.
func TestWaitingIsSaid(t *testing.T) {
	w := calmWorld(t, 3, 3)
	w.stop(2)
	said := func() (lines []string) {
		for _, line := range w.trace {
			if strings.Contains(line, "waiting_for_nodes") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	w.rounds(aloneRounds-1, 0, 1)
	require.Empty(t, said())
	w.rounds(3*aloneRounds+1, 0, 1)
	require.Len(t, said(), 2*3, "after one, two and four times as long, by both")
	for _, line := range said() {
		require.Contains(t, line, w.seeds[2])
		require.NotContains(t, line, w.seeds[0])
		require.NotContains(t, line, w.seeds[1])
	}
	w.start(2)
	w.rounds(10, 0, 1, 2)
	require.NotEmpty(t, w.nodes[0].ids.id.ClusterID)
	w.rounds(10*aloneRounds, 0, 1, 2)
	require.Len(t, said(), 2*3)
}

// Size nodes that are no majority of the seed addresses found nothing: the rest could do the same.
func TestAMinorityOfTheSeedsFoundsNothing(t *testing.T) {
	w := calmWorld(t, 6, 3)
	for i := 3; i < 6; i++ {
		w.nodes[i].d = nil
	}
	w.rounds(50, 0, 1, 2)
	for i := range 3 {
		require.Empty(t, w.nodes[i].ids.id.ClusterID)
	}
	w.start(4)
	w.rounds(20, 0, 1, 2, 4)
	for _, i := range []int{0, 1, 2, 4} {
		require.NotEmpty(t, w.nodes[i].ids.id.ClusterID)
	}
}

func TestFoundersHaveIdsInNameOrder(t *testing.T) {
	w := calmWorld(t, 3, 3)
	w.rounds(10, 0, 1, 2)
	for _, n := range w.nodes {
		require.NotEmpty(t, n.ids.id.ClusterID)
		require.False(t, n.ids.id.Joined)
		require.Equal(t, fmt.Sprintf("n%d", n.ids.id.RaftID-1), n.seen.Name)
		require.NoError(t, n.ids.id.check())
	}
}

// A founder that stops between the phases holds up the others, and its return frees them.
func TestPromiseOutlivesItsFounder(t *testing.T) {
	w := calmWorld(t, 3, 3)
	founder := slices.IndexFunc(w.nodes, func(n *worldNode) bool { return n.seen.Name == "n0" })
	others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == founder })
	for w.nodes[founder].ids.id.Pending == nil {
		w.rounds(1, 0, 1, 2)
	}
	// The offers go out, and one node's yes is lost with the founder.
	g := w.nodes[founder].ids.id.Pending
	q := w.nodes[founder].d.question()
	_, ok := w.deliver(founder, w.seeds[others[0]], &q)
	require.True(t, ok)
	w.stop(founder)
	w.rounds(3*stuckRounds, others...)
	require.Equal(t, g, w.nodes[others[0]].ids.id.Pending, "its word is its word")
	require.Empty(t, w.nodes[others[1]].ids.id.ClusterID)
	require.Contains(t, fmt.Sprint(w.trace), "promise_stuck")
	w.start(founder)
	w.rounds(10, 0, 1, 2)
	for _, n := range w.nodes {
		require.Equal(t, g.ClusterID, n.ids.id.ClusterID)
	}
}

func TestTwoNodesOfOneNameFoundNothing(t *testing.T) {
	w := newWorld(t, 7, 3, 3)
	w.calm = true
	for i, n := range w.nodes {
		n.seen.Name = [...]string{"a", "a", "b"}[i]
		w.start(i)
	}
	w.rounds(30, 0, 1, 2)
	for _, n := range w.nodes {
		require.Empty(t, n.ids.id.ClusterID)
	}
	require.Contains(t, fmt.Sprint(w.trace), "name_taken")
}

func TestSeedsOfTwoClustersAreNotJoined(t *testing.T) {
	w := calmWorld(t, 3, 3)
	for i := range 2 {
		d := w.nodes[i].d
		d.size = 1
		require.NoError(t, d.foundAlone())
	}
	w.rounds(10, 0, 1, 2)
	require.Empty(t, w.nodes[2].ids.id.ClusterID)
	require.Contains(t, fmt.Sprint(w.trace), "two_clusters")
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte(`{"v":1,"from":{"name":"a","incarnation":"i","address":"h:1"},"join":true}`))
	f.Add([]byte(`{"v":1,"from":{"name":"a","incarnation":"i","address":"h:1"},"offer":{"cluster_id":"c","nodes":[{"id":1,"name":"a","incarnation":"i","address":"h:1","state":1}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := calmWorld(t, 2, 3)
		if a, err := decodeAsk(data); err == nil {
			_, err = w.nodes[0].d.answer(&a)
			require.NoError(t, err)
		}
		if r, err := decodeReply(data); err == nil {
			w.nodes[0].d.begin(w.seeds, 0)
			q := w.nodes[0].d.question()
			require.NoError(t, w.nodes[0].d.heard("h1:1", &q, &r))
			_, err = w.nodes[0].d.end()
			require.NoError(t, err)
		}
	})
}

// A genesis takes the word of all its nodes, not of most: that is what keeps two of them apart.
func TestAFounderNeedsEveryPromise(t *testing.T) {
	w := calmWorld(t, 5, 5)
	founder := slices.IndexFunc(w.nodes, func(n *worldNode) bool { return n.seen.Name == "n0" })
	for w.nodes[founder].ids.id.Pending == nil {
		w.rounds(1, 0, 1, 2, 3, 4)
	}
	q := w.nodes[founder].d.question()
	for i, missing := 0, 4; i < 5; i++ {
		require.Empty(t, w.nodes[founder].ids.id.ClusterID, "%d promises are missing", missing)
		if i == founder {
			continue
		}
		r, ok := w.deliver(founder, w.seeds[i], &q)
		require.True(t, ok)
		require.True(t, r.Accepted)
		require.NoError(t, w.nodes[founder].d.heard(w.seeds[i], &q, &r))
		missing--
	}
	require.NotEmpty(t, w.nodes[founder].ids.id.ClusterID)
}
