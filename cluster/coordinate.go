package cluster

import (
	"errors"
	"time"

	"fastpaca/cluster/place"
	"fastpaca/shard"
	"fastpaca/shard/pulse"
)

// coordinate runs the slow loop until Close.
func (n *Node) coordinate(m *member) {
	c := coordinator{n: n, m: m, seen: map[uint64]time.Time{}, started: n.opt.Now(), out: map[uint32]time.Time{}}
	t := pulse.NewTicker(n.opt.pace.coordinate)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			t.Next()
			c.tick(n.opt.Now())
		case <-n.ctx.Done():
			return
		}
	}
}

// coordinator is the state of the coordinate loop.
type coordinator struct {
	n       *Node
	m       *member
	started time.Time
	last    time.Time            // of tick
	seen    map[uint64]time.Time // when each node was alive last
	out     map[uint32]time.Time // groups that this node holds and the map does not want it to, since when
	ended   bool                 // this node was removed, and its streams were told
}

// stoodStill is how long the loop has to have been away for its process to have been stopped: it waits for decisions and reports for
// most of a minute at most.
const stoodStill = time.Minute

func (c *coordinator) tick(now time.Time) {
	pm := c.m.machine.picture()
	live := c.n.live(c.m)
	if !c.last.IsZero() && now.Sub(c.last) > max(stoodStill, c.n.opt.Grace/2) {
		// Nobody was looked for, so nobody was seen to be away; and the connections have to come back first. As after a start.
		clear(c.seen)
		c.started = now
	}
	c.last = now
	for i := range pm.Nodes {
		if id := pm.Nodes[i].ID; live(id) || c.seen[id].IsZero() {
			c.seen[id] = now
		}
	}
	if c.n.departed(c.m, pm) {
		c.end()
		return
	}
	c.moveIn(pm)
	c.moveOut(now, pm)
	if err := c.m.store.KeepHealed(); err != nil && !errors.Is(err, shard.ErrClosed) {
		c.n.opt.Logf("forget_failed", "error", err.Error())
	}
	if now.Sub(c.started) >= c.n.opt.pace.settleIn && place.Coordinator(pm, live) == c.m.id {
		c.plan(now, pm, live)
	}
}

// moveIn has the map know this node's address.
func (c *coordinator) moveIn(pm *place.Map) {
	own := pm.Node(c.m.id)
	if own == nil || !own.Member() || own.Addr == c.n.self.Address {
		return
	}
	err := c.n.decide(&place.SetAddress{ID: c.m.id, From: own.Addr, To: c.n.self.Address})
	c.said(err, "address_changed", "from", own.Addr, "to", c.n.self.Address)
}

// plan changes the map where place.Rebalance wants it changed, and removes nodes that were drained.
func (c *coordinator) plan(now time.Time, pm *place.Map, live func(uint64) bool) {
	graceOver := func(id uint64) bool { return now.Sub(c.seen[id]) > c.n.opt.Grace }
	draining := false
	for i := range pm.Nodes {
		draining = draining || pm.Nodes[i].State == place.Draining
	}
	// Nothing to do is the usual case, and found without asking anybody.
	if !draining && len(place.Rebalance(pm, live, graceOver, nil, 1)) == 0 {
		return
	}
	all := c.n.collect(c.m, callWait)
	settled := func(group uint32) bool { return all[group].settledAt(pm.Version) }
	c.move(place.Rebalance(pm, live, graceOver, settled, mapMoves))
	for i := range pm.Nodes {
		if x := &pm.Nodes[i]; x.State == place.Draining && empty(pm, all, x.ID) {
			c.said(c.n.decide(&place.Remove{ID: x.ID}), "node_drained", "node", x.Name, "raft_id", x.ID)
		}
	}
}

// move has the map changed, and says so in one line for all that have the same reason: moving in a node is hundreds of them.
func (c *coordinator) move(moves []place.Move) {
	for len(moves) > 0 {
		why := moves[0].Why
		var groups []uint32
		for len(moves) > 0 && moves[0].Why == why {
			m := &moves[0]
			moves = moves[1:]
			if err := c.n.decide(&m.SetReplicas); err != nil {
				c.said(err, "replicas_move", "group", m.Group, "from", m.From, "to", m.To, "why", why)
				continue
			}
			c.n.moves.decided.Add(1)
			groups = append(groups, m.Group)
		}
		if len(groups) > 0 {
			c.n.opt.Logf("replicas_move", "why", why, "groups", groups)
		}
	}
}

// empty: neither the map nor any group needs the node, nor will: the word of a leader that has not seen this map yet does not
// count, since it may be about to make the node a voter again (of two, the one that is left would never lead again). It is
// a learner of the placement group until it is removed.
func empty(pm *place.Map, all *reports, id uint64) bool {
	for g := range uint32(place.Shards) {
		if r := &all[g]; r.leader == 0 || r.mapVersion < pm.Version || r.holds(id) {
			return false
		}
	}
	if pm.Load(id) > 0 {
		return false
	}
	r := &all[place.Group]
	for _, v := range append(r.voters(), pm.Voters...) {
		if v == id {
			return false
		}
	}
	return r.leader != 0 && r.mapVersion >= pm.Version
}

// said logs what was decided. That somebody else was faster is no event.
func (c *coordinator) said(err error, event string, kv ...any) {
	switch {
	case err == nil:
		c.n.moves.decided.Add(1)
		c.n.opt.Logf(event, kv...)
	case errors.Is(err, errMoved), errors.Is(err, ErrUnavailable):
	default:
		c.n.opt.Logf("decision_failed", append(kv, "wanted", event, "error", err.Error())...)
	}
}
