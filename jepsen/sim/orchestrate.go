package sim

import (
	"fmt"
	"slices"

	"fastpaca/cluster/place"
	"fastpaca/raft"
	"fastpaca/shard"
)

// The cluster's shell, as far as it decides anything: the coordinator changes the map, leaders follow it, nodes that come
// with an empty disk ask to be let in. Everything is decided from what the machine itself sees, by package place.

const (
	stepEvery = 300 * millisecond
	liveFor   = 1500 * millisecond // a node is alive that was heard of so recently
	graceTime = 4 * second         // a node not heard of for so long is replaced
	maxMoves  = 8

	forgetAfter = 2 * second // as the product's, shorter
)

func (m *machine) live(id uint64) bool {
	return id == m.id || m.w.now-m.heardOf(id) < liveFor
}

func (m *machine) graceOver(id uint64) bool {
	return id != m.id && m.w.now-max(m.heardOf(id), m.bootedAt) > graceTime
}

func (m *machine) heardOf(id uint64) int64 {
	if t, ok := m.heard[id]; ok {
		return t
	}
	return -liveFor
}

// orchestrate is one step of a machine's shell.
func (m *machine) orchestrate() {
	w := m.w
	m.ping()
	if m.place.m.Departed(m.id) {
		// The cluster has removed this node: nothing of it is needed any more.
		w.trace("%s is removed", m)
		m.retire()
		return
	}
	if place.Coordinator(m.place.m, m.live) == m.id {
		m.coordinate()
	}
	m.moveOut()
	if m.node != nil {
		m.guard("keep healed", func() {
			if err := m.node.KeepHealed(); err != nil {
				w.trace("%s cannot keep that it has healed: %v", m, err)
			}
		})
	}
	for _, g := range w.groups {
		if m.node == nil {
			return
		}
		if id, _ := m.node.Leader(g.id); id == m.id {
			m.follow(g.id)
		}
	}
}

// ping has the others hear of this machine, as connections do that carry nothing else. Without it, followers of the same
// leader would take one another for dead, and each of them would coordinate.
func (m *machine) ping() {
	w := m.w
	for _, other := range w.machines {
		if other == m || !other.running() || !w.net.passes(m, other, laneControl) || !w.net.passes(other, m, laneControl) {
			continue
		}
		id, life := m.id, other.life
		w.after(50+w.rng.Int64N(w.net.opt.delay), func() {
			if other.life == life && other.running() {
				other.heard[id] = w.now
			}
		})
	}
}

// coordinate changes the map.
func (m *machine) coordinate() {
	w := m.w
	moves := place.Rebalance(m.place.m, m.live, m.graceOver, func(group uint32) bool {
		g := w.group(group)
		return g == nil || place.Settled(group, m.place.m, &g.conf)
	}, maxMoves)
	for i := range moves {
		m.command(&moves[i].SetReplicas)
	}
	for i := range m.place.m.Nodes {
		n := &m.place.m.Nodes[i]
		if n.State != place.Draining {
			continue
		}
		holds := false
		for g := range uint32(place.Group + 1) {
			for _, id := range m.place.m.Set(g) {
				holds = holds || id == n.ID
			}
		}
		for _, g := range w.groups {
			holds = holds || m.mayHold(g.id, n.ID)
		}
		if !holds {
			m.command(&place.Remove{ID: n.ID})
		}
	}
}

// moveOut drops groups that the map has not wanted this machine in for a while, if their leader, after a round, says that
// a committed membership leaves it out. What the leader said may be old when it arrives.
func (m *machine) moveOut() {
	w := m.w
	for i, g := range w.groups {
		if slices.Contains(m.place.m.Set(g.id), m.id) || g.id == shard.PlacementGroup || m.node == nil || m.node.Applied(g.id) == 0 {
			m.outSince[i] = 0
			continue
		}
		if m.outSince[i] == 0 {
			m.outSince[i] = w.now
		}
		l := w.leaderOf(g.id)
		if w.now-m.outSince[i] < forgetAfter || l == nil || !w.net.passes(m, l, laneData) {
			continue
		}
		version, life := m.place.m.Version, m.life
		l.in(w.rng.Int64N(w.net.opt.delay), func() {
			var st shard.MemberStatus
			seen := l.place.m.Version
			l.guard("members", func() { l.node.Member(g.id, &st) })
			if l.node == nil || st.Role != raft.Leader || !st.ConfCommitted || st.Conf.Member(m.id) || seen < version {
				return
			}
			lives := l.life
			l.guard("members", func() {
				l.node.SubmitBarrier(g.id, func(_ uint64, code shard.Code) {
					if id, term := l.node.Leader(g.id); code != shard.CodeOK || l.life != lives || id != l.id || term != st.Term {
						return
					}
					w.after(w.rng.Int64N(w.net.opt.delay), func() {
						if m.life == life {
							m.in(0, func() { m.forget(g.id) })
						}
					})
				})
			})
			l.wake()
		})
	}
}

func (m *machine) forget(group uint32) {
	var err error
	m.guard("forget", func() { err = m.node.Forget(group) })
	m.w.trace("%s forgets %d: %v", m, group, err)
	if err == nil {
		m.w.count.Forgotten++
	}
	// The log goes before the snapshots: where those cannot be removed, there is an error, and the group has begun anew.
	if m.node != nil && m.node.Applied(group) == 0 {
		delete(m.appliedTo, group)
	}
	m.wake()
}

// mayHold: the group's leader, asked across the network, does not rule out that id is or becomes a voter of it.
func (m *machine) mayHold(group uint32, id uint64) bool {
	l := m.w.leaderOf(group)
	if l == nil || l != m && !(m.w.net.passes(m, l, laneData) && m.w.net.passes(l, m, laneData)) || l.place.m.Version < m.place.m.Version {
		return true
	}
	var st shard.MemberStatus
	l.guard("member", func() { l.node.Member(group, &st) })
	return st.Role != raft.Leader || st.Conf.Voter(id) || group != shard.PlacementGroup && st.Conf.Member(id)
}

// follow makes a group that this machine leads follow the map.
func (m *machine) follow(group uint32) {
	w := m.w
	var st shard.MemberStatus
	m.guard("member", func() { m.node.Member(group, &st) })
	if m.node == nil || st.Role != raft.Leader {
		return
	}
	step, ok := place.NextConf(group, m.place.m, &place.MemberView{
		Self: m.id, Conf: st.Conf, ConfCommitted: st.ConfCommitted, Commit: st.Commit, Transferee: st.Transferee, Peers: st.Peers,
	})
	if !ok {
		return
	}
	m.guard("follow", func() {
		if step.Transfer != 0 {
			err := m.node.Transfer(group, step.Transfer)
			w.trace("%s hands %d to %d: %v", m, group, step.Transfer, err)
			return
		}
		err := m.node.ProposeConf(group, step.Change)
		w.trace("%s: membership of %d: %s %+v: %v", m, group, step.Why, step.Change, err)
	})
	m.wake()
}

// command gives the placement group a command, wherever its leader is. It may be lost: whoever wants it asks again.
func (m *machine) command(c place.Command) {
	w := m.w
	cmd, err := place.Append(nil, c)
	if err != nil {
		w.violate("placement command %+v: %v", c, err)
		return
	}
	var to *machine
	if m.node != nil {
		if id, _ := m.node.Leader(shard.PlacementGroup); id != 0 {
			to = w.machineOf(id)
		}
	} else {
		to = w.leaderOf(shard.PlacementGroup)
	}
	if to == nil || to != m && !w.net.passes(m, to, laneData) {
		return
	}
	w.trace("%s commands %T %+v", m, c, c)
	to.in(w.rng.Int64N(w.net.opt.delay), func() {
		r := shard.AcquireRequest()
		r.Cmd = append(r.Cmd[:0], cmd...)
		r.Done = func(*shard.Request) {}
		to.guard("command", func() { to.node.Submit(shard.PlacementGroup, r) })
		to.wake()
	})
}

// join asks the cluster for an id, again and again, and boots with it.
func (m *machine) join() {
	w := m.w
	if m.id != 0 || w.failed != nil {
		return
	}
	defer w.after(w.between(100*millisecond, 500*millisecond), m.join)
	incarnation := m.incarnationName()
	for _, other := range w.machines { // an answer is what some node has applied
		if !other.running() || !w.net.passes(other, m, laneData) {
			continue
		}
		for i := range other.place.m.Nodes {
			n := &other.place.m.Nodes[i]
			if n.Incarnation == incarnation && n.Member() {
				m.id = n.ID
				w.trace("%s joined", m)
				m.boot()
				return
			}
		}
	}
	replaces := uint64(0)
	if l := w.leaderOf(shard.PlacementGroup); l != nil {
		if n := l.place.m.ByName(m.name); n != nil {
			replaces = n.ID
		}
	}
	m.command(&place.Join{Name: m.name, Incarnation: incarnation, Addr: m.name + ":4000", Replaces: replaces})
}

func (m *machine) incarnationName() string { return fmt.Sprintf("%s.%d", m.name, m.incarnation) }

// wipe replaces the disk of a machine: what comes back has its name and nothing else.
func (m *machine) wipe() {
	m.stop()
	m.id = 0
	m.incarnation++
	m.disk = newDisk(m.index)
	m.w.count.Wiped++
}

// retire takes the machine out of service; it comes back as a new node some time.
func (m *machine) retire() {
	m.wipe()
	if !m.w.calm {
		m.w.after(m.w.between(100*millisecond, 5*second), m.join)
	}
}

// lostVoter: a group counts a voter whose disk is no more.
func (w *World) lostVoter() bool {
	for _, g := range w.groups {
		for _, list := range [...][]uint64{g.conf.Voters, g.conf.Outgoing, g.wire.conf.Voters, g.wire.conf.Outgoing} {
			for _, id := range list {
				if w.machineOf(id) == nil {
					return true
				}
			}
		}
	}
	return false
}

// staying is how many of set nobody has begun to take out of the cluster.
func (w *World) staying(set []uint64) (n int) {
	for _, id := range set {
		if w.newest == nil || w.newest.Active(id) {
			n++
		}
	}
	return n
}

// drainTakes is how long a command to drain may be on its way.
const drainTakes = 3 * second

// mayWipe: no group has lost another voter that is still counted (a committed entry may then be on one living disk only),
// and each that m is part of, or is to be, has a quorum without it: a set of two is never whole again without the one
// that it lost, nor one that is about to become one of two, because the third is being taken out.
func (w *World) mayWipe(m *machine) bool {
	if w.lostVoter() || w.drained != 0 && w.now < w.drained+drainTakes {
		return false
	}
	for _, g := range w.groups {
		// The newest membership may be in force and not yet committed, and the map may want another.
		sets := [][]uint64{g.conf.Voters, g.wire.conf.Voters, g.wire.conf.Outgoing, nil}
		if w.newest != nil {
			sets[3] = w.newest.Set(g.id)
		}
		part := g.conf.Member(m.id)
		for _, set := range sets {
			part = part || slices.Contains(set, m.id)
		}
		for _, set := range sets {
			if part && len(set) > 0 && w.staying(set) < 3 {
				return false
			}
		}
	}
	return true
}

// wipeOne loses a disk.
func (w *World) wipeOne() {
	m := w.any()
	if m.id == 0 || !w.mayWipe(m) {
		return
	}
	w.trace("%s: disk wiped", m)
	m.wipe()
	w.after(w.between(10*millisecond, 2*second), m.join)
}

// churn is what operators do: take nodes out, change their minds, put machines in.
func (w *World) churn() {
	m, by := w.any(), w.any()
	if !by.running() {
		return
	}
	switch {
	case m.id == 0 && m.incarnation == 0 && !m.joining:
		m.joining = true
		m.join()
	case m.id == 0:
	case by.place.m.Active(m.id):
		active := 0
		for i := range by.place.m.Nodes {
			if by.place.m.Nodes[i].State == place.Active {
				active++
			}
		}
		if active > 1 && !w.lostVoter() { // nobody takes out a second one of three knowingly
			w.drained = w.now
			by.command(&place.Drain{ID: m.id})
		}
	default:
		by.command(&place.Undrain{ID: m.id})
	}
}
