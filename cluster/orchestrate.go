package cluster

import (
	"errors"
	"slices"
	"time"

	"fastpaca/cluster/peer"
	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
	"fastpaca/shard/pulse"
)

// Every node runs two loops beside its shards. leads does what a leader owes its groups: their membership follows the
// map, their leadership goes where it is spread evenly. coordinator changes the map, on the node whose turn it is, and
// keeps house: this node's address, groups that it has left. The second may wait for decisions; the first waits for
// nothing.
//
// All decisions are place's. Here is only how fast they are carried out.

// pace is how fast the loops go. Tests go faster.
type pace struct {
	// lead is how often a leader looks at what has to be done. Nothing costs anything while nothing has.
	lead time.Duration
	// coordinate is how often the coordinator looks at the map.
	coordinate time.Duration
	// spread is how often leaderships are handed over, and spreadMost how many at a time: each costs its group the writes of
	// some milliseconds.
	spread     time.Duration
	spreadMost int
	// spreadAfter is how long a leader stays at least: right after an election storm nobody knows who stays.
	spreadAfter time.Duration
	// settleIn is how long a node that started looks before it coordinates: it has yet to hear of the others.
	settleIn time.Duration
	// forgetAfter is how long the map must not have wanted this node in a group before what it holds of it is dropped:
	// messages of the time before are gone by then.
	forgetAfter time.Duration
}

// defaultPace is the product's.
func defaultPace() pace {
	return pace{
		lead: 200 * time.Millisecond, coordinate: time.Second, spread: 500 * time.Millisecond, spreadMost: 4,
		spreadAfter: 4 * time.Second, settleIn: 3 * time.Second, forgetAfter: 5 * time.Second,
	}
}

const (
	// groupMoves is how many groups a leader brings new members to at a time. Each copies its state: more at once would
	// only make each of them slower, and the appends beside them.
	groupMoves = 4
	// mapMoves is how many groups the coordinator has on the move at a time, in the whole cluster.
	mapMoves = 12
)

// orchestrate runs the loops once the node has a cluster, until Close.
func (n *Node) orchestrate() {
	defer n.tasks.Done()
	select {
	case <-n.joined:
	case <-n.ctx.Done():
		return
	}
	m := n.member.Load()
	n.tasks.Go(func() { n.coordinate(m) })
	l := leads{n: n, m: m}
	t := pulse.NewTicker(n.opt.pace.lead)
	defer t.Stop()
	for {
		l.tick(n.opt.Now())
		select {
		case <-n.poke:
		case <-t.C:
			t.Next()
		case <-n.ctx.Done():
			return
		}
	}
}

// live: the node is this one, or a connection to it is.
func (n *Node) live(m *member) func(id uint64) bool {
	return func(id uint64) bool { return id == m.id || n.transport.Alive(id) }
}

// leads is the state of the lead loop.
type leads struct {
	n     *Node
	m     *member
	peers []peer.Peer
	terms [place.Group + 1]led
	st    shard.MemberStatus

	spread time.Time // the last round of handing over
	choice [place.Shards]uint64
	chosen uint64 // the map's version that choice is for; 0: none
	suited []uint64
}

// led is what the loop knows of a group.
type led struct {
	term    uint64    // that this node leads it in; 0: it does not
	since   time.Time // of that
	settled uint64    // the version of the map that its membership was found to be as wanted by, in this term
	commit  uint64    // when it was to be handed over last, in this term; 0: it was not
}

func (l *leads) tick(now time.Time) {
	pm := l.m.machine.picture()
	l.connect(pm)
	l.look(now)
	l.follow(pm)
	if now.Sub(l.spread) >= l.n.opt.pace.spread {
		l.spread = now
		l.even(now, pm)
	}
}

// connect tells the transport who the others are.
func (l *leads) connect(pm *place.Map) {
	if list := l.n.peersOf(l.m, pm); !slices.Equal(list, l.peers) {
		l.peers = list
		l.n.transport.SetPeers(list)
	}
}

// peersOf lists the other nodes: the map's, at the address that they were seen at last, which the map may not know yet.
// A node that is not in its own map, because it has just joined, goes by what it was told then and by who answers.
func (n *Node) peersOf(m *member, pm *place.Map) []peer.Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]peer.Peer, 0, len(pm.Nodes))
	add := func(id uint64, name, incarnation, addr string) {
		if s := n.disc.seen[incarnation]; s != nil && s.clusterID == m.clusterID && n.disc.isFresh(s) {
			addr = s.node.Address
		}
		known := slices.ContainsFunc(list, func(p peer.Peer) bool { return p.ID == id })
		if id != m.id && id != 0 && !known {
			list = append(list, peer.Peer{ID: id, Name: name, Incarnation: incarnation, Addr: addr})
		}
	}
	outside := pm.Node(m.id) == nil
	if outside { // the newest first: the map is from the beginning of the log
		for _, s := range n.disc.seen {
			if s.clusterID == m.clusterID && n.disc.isFresh(s) {
				add(s.raftID, s.node.Name, s.node.Incarnation, s.node.Address)
			}
		}
		for _, x := range m.contacts {
			add(x.ID, x.Name, x.Incarnation, x.Addr)
		}
	}
	for i := range pm.Nodes {
		if x := &pm.Nodes[i]; x.Member() {
			add(x.ID, x.Name, x.Incarnation, x.Addr)
		}
	}
	slices.SortFunc(list, func(a, b peer.Peer) int {
		if a.ID < b.ID {
			return -1
		}
		return 1 // ids differ
	})
	return list
}

// look notes which groups this node leads since when.
func (l *leads) look(now time.Time) {
	for g := range l.terms {
		t := &l.terms[g]
		id, term := l.m.store.Leader(uint32(g))
		switch {
		case id != l.m.id:
			*t = led{}
		case t.term != term:
			*t = led{term: term, since: now}
		}
	}
}

// follow brings the memberships of the groups led here nearer to the map: the placement group's first, then those under
// way, then as many more as groupMoves allows.
func (l *leads) follow(pm *place.Map) {
	var idle []uint32
	moving := 0
	for i := range l.terms {
		g := uint32(place.Group - i) // the placement group comes first
		t := &l.terms[g]
		if t.term == 0 || t.settled == pm.Version {
			continue
		}
		l.m.store.Member(g, &l.st)
		if l.st.Role != raft.Leader {
			continue
		}
		switch {
		case l.st.ConfCommitted && place.Settled(g, pm, &l.st.Conf):
			t.settled = pm.Version
		case g != place.Group && !underWay(&l.st.Conf, l.st.ConfCommitted):
			idle = append(idle, g)
		default:
			if g != place.Group && !waitsForTheDead(&l.st) {
				moving++
			}
			l.advance(g, pm)
		}
	}
	for _, g := range idle {
		if moving >= groupMoves {
			return
		}
		if l.m.store.Member(g, &l.st); l.st.Role == raft.Leader && l.advance(g, pm) {
			moving++
		}
	}
}

// underWay: the group is on its way from one membership to another.
func underWay(c *raft.Conf, committed bool) bool {
	return !committed || c.Joint() || len(c.Learners) > 0
}

// waitsForTheDead: the group waits for a learner that does not answer. It must not hold up the others.
func waitsForTheDead(st *shard.MemberStatus) bool {
	for i := range st.Peers {
		if p := &st.Peers[i]; p.Learner && !p.Active {
			return true
		}
	}
	return false
}

// advance takes the next step for group g, of which l.st is the status. false: there is none now.
func (l *leads) advance(g uint32, pm *place.Map) bool {
	step, ok := place.NextConf(g, pm, &place.MemberView{
		Self: l.m.id, Conf: l.st.Conf, ConfCommitted: l.st.ConfCommitted, Commit: l.st.Commit,
		Transferee: l.st.Transferee, Peers: l.st.Peers,
	})
	if !ok {
		return false
	}
	var err error
	if step.Transfer != 0 {
		err = l.m.store.Transfer(g, step.Transfer)
	} else {
		err = l.m.store.ProposeConf(g, step.Change)
	}
	var elsewhere *raft.NotLeaderError
	switch {
	case err == nil:
		l.n.moves.steps.Add(1)
	case errors.As(err, &elsewhere), errors.Is(err, raft.ErrConfPending), errors.Is(err, raft.ErrTransferring),
		errors.Is(err, shard.ErrClosed):
		return false // as good as later
	default:
		l.n.opt.Logf("group_membership_failed", "group", g, "step", step.Why, "was", l.st.Conf.String(),
			"wanted", pm.Set(g), "error", err.Error())
	}
	return err == nil
}

// even hands leaderships to those who should have them.
func (l *leads) even(now time.Time, pm *place.Map) {
	if l.n.leaving.Load() {
		l.n.handOver(l.m)
		return
	}
	live := l.n.live(l.m)
	var suited []uint64
	for i := range pm.Nodes {
		if x := &pm.Nodes[i]; x.State == place.Active && live(x.ID) {
			suited = append(suited, x.ID)
		}
	}
	if l.chosen != pm.Version || !slices.Equal(suited, l.suited) {
		l.choice = place.Leaders(pm, func(id uint64) bool { return slices.Contains(suited, id) })
		l.chosen, l.suited = pm.Version, suited
	}
	done := 0
	for g := range uint32(place.Shards) {
		t, to := &l.terms[g], l.choice[g]
		if done == l.n.opt.pace.spreadMost {
			return
		}
		if t.term == 0 || to == 0 || to == l.m.id || now.Sub(t.since) < l.n.opt.pace.spreadAfter {
			continue
		}
		l.m.store.Member(g, &l.st)
		before := t.commit
		t.commit = l.st.Commit
		if l.st.Transferee == 0 && l.st.ConfCommitted && keepsUp(&l.st, to, before) && l.m.store.Transfer(g, to) == nil {
			l.n.moves.transfers.Add(1)
			done++
		}
	}
}

// keepsUp: to can take over at once, and has by now what was committed when this node looked last. That it is near the end is not enough:
// so is a node whose disk hangs, in a group with few writes. It would be handed the leadership again and again, while every
// attempt holds up the writes for an election timeout.
func keepsUp(st *shard.MemberStatus, to, before uint64) bool {
	if before == 0 || !caughtUp(st, to) {
		return false
	}
	return slices.ContainsFunc(st.Peers, func(p raft.PeerStatus) bool { return p.ID == to && p.Match >= before })
}

// caughtUp: to is a voter that can take over at once.
func caughtUp(st *shard.MemberStatus, to uint64) bool {
	for i := range st.Peers {
		if p := &st.Peers[i]; p.ID == to {
			return !p.Learner && !p.Damaged && p.Active && p.Match+place.CatchUpEntries >= st.Commit
		}
	}
	return false
}
