package sim

import (
	"fmt"

	"fastpaca/shard"
)

// Times that a healed cluster has, in virtual time. Elections take up to two timeouts of 12 ticks and a split vote or
// two; a node that comes back replays its log and gets snapshots.
const (
	timeToLead     = 20 * second
	timeToConverge = 40 * second
)

// liveness heals everything and requires that every group is led, that every context can be written, and that all members
// get to the same state.
func (w *World) liveness() {
	w.calm = true
	w.trace("everything heals")
	w.net.heal()
	w.net.opt = networkOptions{delay: 2 * millisecond}
	w.swarm.snapshotCut, w.swarm.snapshotRot, w.swarm.loopDelay = 0, 0, millisecond
	w.swarm.snapshotTime = 50 * millisecond
	for _, m := range w.machines {
		m.freeDisk()
		m.diskErrors, m.disk.failIO, m.disk.failAt = false, nil, 0
		m.pausedUntil, m.diskUntil, m.diskDelay, m.tickEvery = w.now, w.now, 2*millisecond, 50*millisecond
		if !m.up() {
			w.after(w.between(0, 100*millisecond), m.boot)
		}
	}
	deadline := w.now + timeToLead
	for w.failed == nil && !w.allLed() {
		if w.now >= deadline {
			w.violate("liveness: %s after %d s without faults", w.notLed(), timeToLead/second)
			return
		}
		w.run(w.now + 100*millisecond)
	}
	// Clients go on for a moment; then everything that is under way ends, and replicas must agree.
	w.run(w.now + second)
	w.clientsStop = true
	for _, ctx := range w.model.contexts {
		w.lastWrite(ctx)
	}
	deadline = w.now + timeToConverge
	for w.failed == nil {
		w.run(w.now + 200*millisecond)
		why := w.notConverged()
		if why == "" || w.failed != nil {
			break
		}
		if w.now >= deadline {
			w.violate("liveness: %s after %d s without faults", why, timeToConverge/second)
			return
		}
	}
	if w.failed == nil {
		w.checkReplicas(true)
	}
	for _, ctx := range w.model.contexts {
		if err, checked := ctx.history.check(); err != nil {
			w.violate("context %s: %v", ctx.id, err)
		} else if checked {
			w.count.Histories++
		}
	}
}

func (w *World) allLed() bool { return w.notLed() == "" }

func (w *World) notLed() string {
	for _, g := range w.groups {
		if w.leaderOf(g.id) == nil {
			return fmt.Sprintf("%s: nobody leads", g)
		}
	}
	return ""
}

// lastWrite appends to a context until somebody takes it.
func (w *World) lastWrite(ctx *modelContext) {
	c := &client{w: w, version: make([]uint64, len(w.model.contexts))}
	o := &op{kind: opPut, ctx: ctx}
	if ctx.created {
		w.nextOp++
		o = &op{kind: opAppend, ctx: ctx, texts: []string{fmt.Sprintf("last of %s, op%d", ctx.id, w.nextOp)}, key: w.rng.Uint64() | 1}
	}
	ctx.final = o
	c.writeForever(o)
}

// notConverged says what is still missing.
func (w *World) notConverged() string {
	for _, ctx := range w.model.contexts {
		if !ctx.final.answered {
			return fmt.Sprintf("context %s cannot be written", ctx.id)
		}
	}
	var st shard.MemberStatus
	for _, g := range w.groups {
		for _, id := range g.conf.Voters {
			m := w.machineOf(id)
			if m == nil {
				continue
			}
			if !m.up() {
				return fmt.Sprintf("%s is down", m)
			}
			m.node.Member(g.id, &st)
			if st.Applied != uint64(len(g.entries)) {
				return fmt.Sprintf("%s (%+v) applied %d of %s%s", m, st, st.Applied, g, w.leadersView(g.id, id))
			}
		}
	}
	return ""
}

// leadersView is what the leader of a group knows of a member.
func (w *World) leadersView(group uint32, id uint64) string {
	l := w.leaderOf(group)
	if l == nil {
		return ", nobody leads"
	}
	var st shard.MemberStatus
	l.node.Member(group, &st)
	for i := range st.Peers {
		if st.Peers[i].ID == id {
			return fmt.Sprintf(", its leader %s (commit %d, last %d, snapshot %d) sees %+v", l, st.Commit, st.Last, st.Snapshot, st.Peers[i])
		}
	}
	return fmt.Sprintf(", its leader %s does not know it", l)
}
