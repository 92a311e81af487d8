package place

import (
	"cmp"
	"slices"
)

// Move is one change of the map that the coordinator wants.
type Move struct {
	SetReplicas
	Why string // for the log and the status: "drain", "dead", "grow", "shrink", "spread"
}

// Rebalance returns what the coordinator should change in the map next, most urgent first, at most maxMoves
// changes, one per group. It looks at the map as it is, not at an ideal, so that nothing moves without a reason:
//
//   - a draining node leaves a set at once: for a spare (an active live node outside), or without one where
//     nobody can take its place;
//   - a dead node (graceOver: not seen for the grace time) leaves where a spare exists, not without one (but see
//     replace): it may come back, and a set of two tolerates no more than a set of three with one dead;
//   - a set with fewer members than it should have (three, or the number of active nodes) takes what spares there are;
//   - replicas move from the fullest to the emptiest live node, where all members of the set live.
//
// settled says whether a group's membership is what the map wants (nil: all are). A group that is still moving
// counts against maxMoves while all members it wants are alive, and is touched only to replace a member that
// is bad: so at most maxMoves groups copy data at a time, and a dead target does not stop the others.
//
// No change leaves a set without a live majority. For live, graceOver and active that do not change it ends:
// each change lowers, in this order of weight, the bad members, the missing ones, or the sum of squares of the
// loads among live nodes, and none raises a weightier one.
func Rebalance(m *Map, live, graceOver func(id uint64) bool, settled func(group uint32) bool, maxMoves int) []Move {
	if settled == nil {
		settled = func(uint32) bool { return true }
	}
	p := newPlan(m, live, graceOver, settled)
	p.budget = maxMoves - p.moving
	// The placement group first: nothing can be repaired without it.
	p.heal(Group)
	for s := range uint32(Shards) {
		if len(p.moves) >= maxMoves {
			return p.moves
		}
		p.heal(s)
	}
	for len(p.moves) < maxMoves && p.budget > 0 {
		s, from, to, ok := p.loads.spread(&p.sets, p.spreadable)
		if !ok {
			break
		}
		p.change(s, with(p.sets[s], from, to), "spread")
	}
	return p.moves
}

type plan struct {
	m               *Map
	live, graceOver func(uint64) bool
	settled         func(uint32) bool

	active []uint64 // ids of all active nodes
	spares []uint64 // those that live: who may be given replicas
	loads  *loads   // of spares

	draining bool // some node is

	sets   [Shards][]uint64
	voters []uint64

	budget  int // groups that may start to move
	moving  int // groups that move already
	touched [Shards + 1]bool
	moves   []Move
}

func newPlan(m *Map, live, graceOver func(uint64) bool, settled func(uint32) bool) *plan {
	p := &plan{m: m, live: live, graceOver: graceOver, settled: settled, sets: m.Replicas, voters: m.Voters}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		p.draining = p.draining || n.State == Draining
		if n.State != Active {
			continue
		}
		p.active = append(p.active, n.ID)
		if live(n.ID) {
			p.spares = append(p.spares, n.ID)
		}
	}
	p.loads = newLoads(p.spares)
	for s := range p.sets {
		p.loads.add(p.sets[s], 1)
	}
	for g := range uint32(Group + 1) {
		if !settled(g) && p.liveIn(p.set(g)) == len(p.set(g)) {
			p.moving++
		}
	}
	return p
}

func (p *plan) set(group uint32) []uint64 {
	if group == Group {
		return p.voters
	}
	return p.sets[group]
}

func (p *plan) liveIn(set []uint64) int {
	n := 0
	for _, id := range set {
		if p.live(id) {
			n++
		}
	}
	return n
}

// target is how many members a group should have.
func (p *plan) target(group uint32) int {
	if group == Group {
		return placementVoters(len(p.active))
	}
	return min(Replicas, len(p.active))
}

// leaving: the node is not to hold anything. dead: it is to be replaced if somebody can take its place.
func (p *plan) leaving(id uint64) bool { return !p.m.Active(id) }
func (p *plan) dead(id uint64) bool    { return !p.live(id) && p.graceOver(id) }

// change notes that group's set becomes to, if that has a live majority.
func (p *plan) change(group uint32, to []uint64, why string) {
	from := p.set(group)
	busy := !p.settled(group) && p.liveIn(from) == len(from)
	if p.liveIn(to) <= len(to)/2 || p.budget <= 0 && !busy {
		return
	}
	if !busy {
		p.budget--
	}
	p.touched[group] = true
	p.moves = append(p.moves, Move{SetReplicas{Group: group, From: from, To: to}, why})
	if group == Group {
		p.voters = to
		return
	}
	p.loads.add(from, -1)
	p.loads.add(to, 1)
	p.sets[group] = to
}

// heal makes the next step toward a set of the right size without bad members.
func (p *plan) heal(group uint32) {
	set, target := p.set(group), p.target(group)
	victim, why := p.victim(set)
	switch {
	case len(set) > target:
		to, reason := set, "shrink"
		for len(to) > target {
			v, w := p.victim(to)
			if v == 0 {
				v, w = to[len(to)-1], reason
			}
			to, reason = with(to, v, 0), w
		}
		p.change(group, to, reason)
	case len(set) < target && p.settled(group):
		to := set
		for _, id := range p.candidates(group, set) {
			if len(to) < target {
				to = with(to, 0, id)
			}
		}
		if len(to) > len(set) {
			p.change(group, to, "grow")
			return
		}
		p.replace(group, set, victim, why)
	default:
		p.replace(group, set, victim, why)
	}
}

// victim is the member that has to go first, 0 if none: dead ones before live ones, which still serve.
func (p *plan) victim(set []uint64) (id uint64, why string) {
	for _, id := range set {
		if p.leaving(id) && !p.live(id) {
			return id, "drain"
		}
	}
	for _, id := range set {
		if p.dead(id) {
			return id, "dead"
		}
	}
	for _, id := range set {
		if p.leaving(id) {
			return id, "drain"
		}
	}
	return 0, ""
}

// replace swaps victim for a spare. Without one, a draining node goes nevertheless if there is nobody to wait
// for: no active node outside the set that may come back within its grace time.
func (p *plan) replace(group uint32, set []uint64, victim uint64, why string) {
	if victim == 0 {
		return
	}
	if spares := p.candidates(group, set); len(spares) > 0 {
		p.change(group, with(set, victim, spares[0]), why)
		return
	}
	if !p.leaving(victim) {
		// A dead node stays, but for one case: a group on its way away from a draining node waits for it, who died
		// before it had the log. The others of the set are enough, and the drain comes to its end.
		if p.draining && !p.settled(group) && len(set) > 2 && !slices.ContainsFunc(set, p.leaving) {
			p.change(group, with(set, victim, 0), "drain")
		}
		return
	}
	if len(set) == 1 {
		return
	}
	for _, id := range p.active {
		if !has(set, id) && !p.dead(id) {
			return
		}
	}
	p.change(group, with(set, victim, 0), why)
}

// candidates are the spares outside set, best first: the emptiest, then whom the shard prefers. The placement
// group takes the oldest.
func (p *plan) candidates(group uint32, set []uint64) []uint64 {
	var list []uint64
	for _, id := range p.spares {
		if !has(set, id) {
			list = append(list, id)
		}
	}
	if group != Group {
		slices.SortStableFunc(list, func(a, b uint64) int {
			return cmp.Or(cmp.Compare(p.loads.of(a), p.loads.of(b)), cmp.Compare(score(group, b), score(group, a)))
		})
	}
	return list
}

// spreadable: a shard may move only for evenness' sake if nothing else is going on with it.
func (p *plan) spreadable(shard uint32) bool {
	set := p.sets[shard]
	if p.touched[shard] || !p.settled(shard) || p.liveIn(set) < len(set) || len(set) < p.target(shard) {
		return false
	}
	return !slices.ContainsFunc(set, p.leaving)
}
