package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"fastpaca/cluster/peer"
	"fastpaca/cluster/place"
)

// The rounds of discovery. A node without a cluster looks often: every other node waits for it. A member looks now and then,
// and every roundMissing while it misses somebody: that is how it finds nodes that came back under another address.
const (
	roundAlone   = 200 * time.Millisecond
	roundMissing = time.Second
	roundMember  = 15 * time.Second
	// askWait bounds one question: a node that is busy recovering answers within it, a host that is gone does not
	// hold up the round for longer.
	askWait = time.Second
	// joinWait bounds a join: the placement group has to decide, perhaps after an election.
	joinWait = 5 * time.Second
	// targetsMax bounds the questions of one round.
	targetsMax = 128
)

// discover runs the rounds until Close.
func (n *Node) discover() {
	defer n.tasks.Done()
	var last time.Time
	for n.ctx.Err() == nil {
		wait := roundAlone + time.Duration(n.opt.Rand()%uint64(roundAlone/4)) // nodes that started together drift apart
		m := n.member.Load()
		if m == nil || n.opt.Now().Sub(last) >= roundMember || n.misses(m) {
			n.round()
			last = n.opt.Now()
		}
		if n.member.Load() != nil {
			wait = roundMissing
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
		}
	}
}

// misses: somebody, this node included, is not where the map says.
func (n *Node) misses(m *member) bool {
	own := m.machine.picture().Node(m.id)
	return own == nil || own.Addr != n.self.Address || len(n.missed(m)) > 0
}

// missed are the members that are not connected. They are asked like the seeds: one that refuses connections may say
// why, for instance that this node was removed.
func (n *Node) missed(m *member) (list []Seen) {
	pm := m.machine.picture()
	for i := range pm.Nodes {
		if x := &pm.Nodes[i]; x.Member() && x.ID != m.id && !n.transport.Alive(x.ID) {
			list = append(list, Seen{x.Name, x.Incarnation, x.Addr})
		}
	}
	return list
}

// round asks everybody once and does what follows from the answers.
func (n *Node) round() {
	seeds, missing := resolveSeeds(n.ctx, n.opt.Seeds, n.opt.Resolve)
	n.mu.Lock()
	if m := n.member.Load(); m != nil {
		n.disc.listen(n.missed(m))
	}
	targets := n.disc.begin(seeds, missing)
	q := n.disc.question()
	n.mu.Unlock()

	n.askAll(targets[:min(len(targets), targetsMax)], &q)

	n.mu.Lock()
	s, err := n.disc.end()
	n.mu.Unlock()
	switch {
	case err != nil:
		n.opt.Logf("identity_failed", "error", err.Error())
	case s.join != "":
		n.join(s.join)
	case s.entered && n.member.Load() == nil:
		n.startOrDie(nil)
	case s.entered:
		n.wake() // addresses may have changed
	}
}

// askAll puts q to all targets at once and hands over the answers as they come.
func (n *Node) askAll(targets []string, q *ask) {
	req := encodeExchange(q)
	var all sync.WaitGroup
	for _, addr := range targets {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, askWait)
			defer cancel()
			r, err := n.ask(ctx, addr, req)
			n.mu.Lock()
			defer n.mu.Unlock()
			switch {
			case errors.Is(err, peer.ErrSelf):
				n.disc.heardSelf(addr)
			case err == nil:
				if err := n.disc.heard(addr, q, &r); err != nil {
					n.opt.Logf("identity_failed", "error", err.Error())
				}
				n.heardOfCluster(&r)
			}
		})
	}
	all.Wait()
}

// heardOfCluster: a node of the own cluster may know that this one has no place in it any more. mu is held.
func (n *Node) heardOfCluster(r *reply) {
	if m := n.member.Load(); m != nil && r.ClusterID == m.clusterID && r.Standing == standingRemoved && !n.removed.Swap(true) {
		n.opt.Logf("node_removed", "cluster", m.clusterID, "raft_id", m.id, "says", r.From.Name,
			"advice", "this node was drained and removed, or another one took its name; to let it join again, stop it and remove its data directory")
	}
}

// ask is one exchange.
func (n *Node) ask(ctx context.Context, addr string, req []byte) (reply, error) {
	h, data, err := n.transport.Ask(ctx, addr, req)
	if err != nil {
		return reply{}, err
	}
	r, err := decodeReply(data)
	if err == nil && (r.From.Name != h.Name || r.From.Incarnation != h.Incarnation) {
		err = fmt.Errorf("%s says that it is %s, and then that it is %s", addr, h.Name, r.From.Name)
	}
	return r, err
}

// join asks the node at addr for a place in its cluster.
func (n *Node) join(addr string) {
	n.mu.Lock()
	a, ok := n.disc.join()
	n.mu.Unlock()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, joinWait)
	defer cancel()
	r, err := n.ask(ctx, addr, encodeExchange(&a))
	if err == nil && r.Welcome == nil && r.Refused != "" {
		n.mu.Lock()
		n.disc.warn("join_refused", r.Refused, "at", addr, "why", r.Refused)
		n.mu.Unlock()
	}
	n.mu.Lock()
	err = n.disc.joined(r.Welcome)
	n.mu.Unlock()
	if err != nil {
		n.opt.Logf("identity_failed", "error", err.Error())
	} else if r.Welcome != nil {
		n.startOrDie(r.Welcome.Nodes)
	}
}

// startOrDie starts the shards in the background of a node that was opened long ago. There is nobody to return an error to.
func (n *Node) startOrDie(contacts []place.Node) {
	if err := n.start(contacts); err != nil {
		err = fmt.Errorf("the node has a cluster but cannot start its shards: %w", err)
		if n.opt.Shard.Fatal == nil {
			panic(err)
		}
		n.opt.Shard.Fatal(err)
	}
}

// exchange answers what other nodes ask before they are peers (peer.Config.Exchange).
func (n *Node) exchange(h peer.Hello, req []byte) []byte {
	a, err := decodeAsk(req)
	if err == nil && (a.From.Name != h.Name || a.From.Incarnation != h.Incarnation) {
		err = errors.New("the exchange is not of the node that shook hands")
	}
	var r reply
	if err == nil {
		n.mu.Lock()
		r, err = n.disc.answer(&a)
		n.mu.Unlock()
	}
	if err != nil {
		n.opt.Logf("exchange_failed", "with", h.Name, "at", h.Address, "error", err.Error())
		return nil
	}
	m := n.member.Load()
	switch {
	case m == nil && a.Join:
		r.Refused = "this node starts: ask again"
	case m == nil:
	case a.Join:
		r.Welcome, r.Refused = n.admit(a.From)
	case a.ClusterID == m.clusterID:
		r.Standing = standingOf(m.machine.picture(), a.From.Incarnation, a.RaftID)
	}
	return encodeExchange(&r)
}

func standingOf(pm *place.Map, incarnation string, id uint64) standing {
	for i := range pm.Nodes {
		if x := &pm.Nodes[i]; x.Incarnation == incarnation && x.Member() {
			return standingMember
		}
	}
	if pm.Departed(id) {
		return standingRemoved
	}
	return "" // this node's map may be behind
}

// admit gets a place for a node, from the leader of the placement group.
func (n *Node) admit(s Seen) (*welcome, string) {
	answer, err := n.toPlacement(KindJoin, encodeExchange(&s))
	if err != nil {
		return nil, err.Error()
	}
	var out joinAnswer
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, err.Error()
	}
	return out.Welcome, out.Refused
}

// joinAnswer is the answer to KindJoin, whose request is a Seen; both in JSON, like the exchange that they are part of.
type joinAnswer struct {
	Welcome *welcome `json:"welcome,omitempty"`
	Refused string   `json:"refused,omitempty"`
}

// serveJoin is the leader's half of admit. errNotPlacementLeader is the only error; others are in the answer.
func (n *Node) serveJoin(m *member, req, dst []byte) ([]byte, error) {
	var s Seen
	var out joinAnswer
	err := json.Unmarshal(req, &s)
	if err == nil {
		err = s.check()
	}
	if err == nil {
		out.Welcome, err = n.decideJoin(m, s)
	}
	if errors.Is(err, errNotPlacementLeader) {
		return dst, err
	}
	if err != nil {
		out.Refused = err.Error()
	}
	return append(dst, encodeExchange(&out)...), nil
}

// decideJoin gives s an id. A name whose owner is alive is not given away; one whose owner is gone is, since the disk
// behind it was wiped.
func (n *Node) decideJoin(m *member, s Seen) (*welcome, error) {
	cmd := place.Join{Name: s.Name, Incarnation: s.Incarnation, Addr: s.Address}
	if old := m.machine.picture().ByName(s.Name); old != nil && old.Incarnation != s.Incarnation {
		if old.ID == m.id || n.transport.Alive(old.ID) {
			return nil, fmt.Errorf("node name %q belongs to another node, at %s, which is alive: give one of the two another FASTPACA_NODE_NAME", s.Name, old.Addr)
		}
		cmd.Replaces = old.ID
	}
	if err := n.decideHere(m, &cmd); err != nil {
		return nil, err
	}
	// What was decided here is applied here: the map has the node.
	w := &welcome{ClusterID: m.clusterID, Genesis: m.genesis}
	pm := m.machine.picture()
	for i := range pm.Nodes {
		switch x := &pm.Nodes[i]; {
		case x.Incarnation == s.Incarnation:
			w.RaftID = x.ID
		case x.Member():
			w.Nodes = append(w.Nodes, *x)
		}
	}
	if w.RaftID == 0 {
		return nil, errMoved
	}
	return w, nil
}
