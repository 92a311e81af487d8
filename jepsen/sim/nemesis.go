package sim

import (
	"errors"
	"syscall"

	"fastpaca/raft"
	"fastpaca/wal"
)

// startNemesis lets the faults of this world begin.
func (w *World) startNemesis() {
	s := &w.swarm
	for _, f := range []struct {
		mean int64
		do   func()
	}{
		{s.crash, w.crashOne}, {s.powerCut, w.powerCut}, {s.pause, w.pauseOne}, {s.partition, w.partition}, {s.clock, w.turnClock},
		{s.diskSlow, w.slowDisk}, {s.diskHang, w.hangDisk}, {s.diskFull, w.fillDisk}, {s.diskError, w.failDisk},
		{s.transfer, w.transfer}, {s.conf, w.changeMembers}, {s.rumour, w.rumour}, {s.wipe, w.wipeOrCrash},
	} {
		if f.mean == 0 {
			continue
		}
		var again func()
		again = func() {
			if w.calm {
				return
			}
			f.do()
			w.after(w.often(f.mean), again)
		}
		w.after(w.often(f.mean), again)
	}
}

func (w *World) any() *machine { return w.machines[w.rng.IntN(len(w.machines))] }

// upCount returns how many founders and spares have a process.
func (w *World) upCount() (n int) {
	for _, m := range w.machines {
		if m.up() {
			n++
		}
	}
	return n
}

// crashOne takes the power, or only the process, of one machine: now, or at one of the next changes of its disk.
func (w *World) crashOne() {
	m := w.victim()
	if !m.up() || !w.swarm.allDown && w.upCount() <= len(w.machines)/2+1 {
		return
	}
	life := m.life
	if w.rng.IntN(3) > 0 {
		m.disk.armPowerLoss(1+w.rng.IntN(12), w.rng.IntN(2) == 0)
		w.after(500*millisecond, func() {
			if m.life == life {
				m.disk.failAt = 0
			}
		})
		return
	}
	if w.rng.IntN(4) == 0 {
		m.shutDown()
		return
	}
	m.crash("nemesis")
}

// shutDown stops the process as an operator would; its disk is as Close leaves it.
func (m *machine) shutDown() {
	life := m.life
	m.guard("close", func() {
		err := m.node.Close()
		if errors.Is(err, wal.ErrNoSpace) && m.w.now < m.freedAt+noticed {
			err = nil
		}
		if err != nil && !m.full && !m.diskErrors {
			m.w.violate("%s does not close: %v", m, err)
		}
	})
	if m.life == life {
		m.w.trace("%s shuts down", m)
		m.w.count.Closed++
		m.stop()
	}
}

// delicate is told of moments in which much hangs on what a node has on its disk: it has given its vote, or has just begun
// to lead.
func (w *World) delicate(id uint64, leads bool) {
	m := w.machineOf(id)
	if w.calm || m == nil || w.now < w.swarm.quiet || !w.net.chance(w.swarm.aimed) {
		return
	}
	life := m.life
	if leads && w.rng.IntN(2) == 0 {
		m.mute = true // its first entry stays on its own disk
	}
	soon := 30 * millisecond
	if !leads && w.rng.IntN(2) == 0 {
		soon = millisecond / 2 // before the disk has it
	}
	w.after(w.rng.Int64N(soon), func() {
		if m.life == life && m.up() {
			m.hurry = !leads // back before the election is over
			m.crash("aimed")
		}
	})
}

// atOnce has a new leader change the membership before it has committed anything.
func (w *World) atOnce(id uint64, group uint32) {
	m := w.machineOf(id)
	if w.calm || m == nil || w.swarm.orchestrated || w.now < w.swarm.quiet || !w.net.chance(w.swarm.aimed) {
		return
	}
	m.in(w.rng.Int64N(3*millisecond), func() { m.changeConf(group) })
}

// victim is any machine, every other time one that leads something.
func (w *World) victim() *machine {
	if w.rng.IntN(2) == 0 {
		if m := w.someLeader(); m != nil {
			return m
		}
	}
	return w.any()
}

// powerCut takes the power of all machines at the same moment.
func (w *World) powerCut() {
	w.count.PowerCuts++
	for _, m := range w.machines {
		if m.up() {
			m.crash("power cut")
		}
	}
}

// processGone is told of every end of a process: clients notice, and it is started again some time.
func (w *World) processGone(m *machine) {
	orphans := m.orphans
	m.orphans = nil
	for _, t := range orphans {
		w.after(w.between(0, 5*millisecond), t.lost)
	}
	if w.calm {
		w.after(w.between(millisecond, 100*millisecond), m.boot)
	} else if m.hurry {
		w.after(w.between(millisecond, 10*millisecond), m.boot)
	} else {
		w.after(w.between(millisecond, []int64{50, 500, 3000}[w.rng.IntN(3)]*millisecond), m.boot)
	}
	for _, other := range w.machines {
		if other != m && other.running() && w.rng.IntN(2) == 0 {
			id := m.id
			other.in(w.between(0, 5*millisecond), func() {
				if m.node == nil { // connection refused: it is true
					other.guard("peer down", func() { other.node.PeerDown(id) })
					other.wake()
				}
			})
		}
	}
}

// pauseOne stops a process for a while; it goes on as if nothing had happened.
func (w *World) pauseOne() {
	m := w.victim()
	if !m.running() {
		return
	}
	w.count.Pauses++
	d := w.between(10*millisecond, 800*millisecond)
	if w.swarm.longPauses {
		d = w.between(100*millisecond, 6*second)
	}
	w.trace("%s pauses for %d us", m, d)
	m.pausedUntil = w.now + d
}

// partition cuts links, in one of the ways that have hurt somebody.
func (w *World) partition() {
	n := w.net
	k := len(w.machines)
	w.count.Partitions++
	cut := func(from, to int) { n.cut[from*k+to] = true }
	victim := w.rng.IntN(k)
	if l := w.someLeader(); l != nil && w.rng.IntN(2) == 0 {
		victim = l.index
	}
	kind := w.rng.IntN(8)
	w.trace("partition %d of %s", kind, w.machines[victim])
	switch kind {
	case 0: // one alone
		for i := range k {
			if i != victim {
				cut(i, victim)
				cut(victim, i)
			}
		}
	case 1: // halves
		side := w.rng.Uint64()
		for i := range k {
			for j := range k {
				if side>>i&1 != side>>j&1 {
					cut(i, j)
				}
			}
		}
	case 2: // nothing comes in
		for i := range k {
			if i != victim {
				cut(i, victim)
			}
		}
	case 3: // nothing goes out
		for i := range k {
			if i != victim {
				cut(victim, i)
			}
		}
	case 4: // a ring: everybody sees two neighbours
		for i := range k {
			for j := range k {
				if d := (i - j + k) % k; d > 1 && d < k-1 {
					cut(i, j)
				}
			}
		}
	case 5: // a bridge: two halves that only the victim sees
		for i := range k {
			for j := range k {
				if i != victim && j != victim && i%2 != j%2 {
					cut(i, j)
				}
			}
		}
	case 6: // only heartbeats and votes pass, or only appends
		l := int8(w.rng.IntN(2))
		for i := range n.only {
			n.only[i] = l
		}
	case 7: // one link, one way
		cut(victim, w.rng.IntN(k))
	}
	w.after(w.between(50*millisecond, []int64{300, 2000, 5000}[w.rng.IntN(3)]*millisecond), func() {
		w.trace("partition heals")
		n.heal()
	})
}

// turnClock sets a machine's wall clock, or changes how fast its time goes.
func (w *World) turnClock() {
	m := w.any()
	if w.rng.IntN(2) == 0 {
		m.clockOff = w.between(-3600_000, 3600_000)
	} else {
		m.tickEvery = w.between(35*millisecond, 70*millisecond)
	}
}

// slowDisk makes every sync of a machine slow for a while.
func (w *World) slowDisk() {
	m := w.any()
	m.diskDelay = w.between(20*millisecond, 400*millisecond)
	w.after(w.between(200*millisecond, 3*second), func() { m.diskDelay = w.swarm.diskDelay })
}

// hangDisk lets no sync end for a while.
func (w *World) hangDisk() {
	m := w.any()
	m.diskUntil = w.now + w.between(100*millisecond, 4*second)
}

// fillDisk leaves a machine little room on its disk for a while.
func (w *World) fillDisk() {
	m := w.any()
	w.count.FullDisks++
	w.trace("%s: disk full", m)
	m.full = true
	m.disk.mem.SetCapacity(m.disk.mem.Used() + w.rng.Int64N(segmentBytes))
	w.after(w.between(200*millisecond, 4*second), func() { m.freeDisk() })
}

// noticed is how long a log may take to see that its disk has room again: it tries every second
// (wal.Options.RetryEvery), on its own clock.
const noticed = 2 * second

func (m *machine) freeDisk() {
	m.full, m.freedAt = false, m.w.now
	m.disk.mem.SetCapacity(0)
}

// failDisk makes one of the next changes of a disk fail: the process must end, and its power is cut with it, for nobody
// knows what of the unsynced bytes is on a disk that fails.
func (w *World) failDisk() {
	m := w.any()
	if !m.running() || !w.swarm.allDown && w.upCount() <= len(w.machines)/2+1 {
		return
	}
	w.count.DiskErrors++
	m.diskErrors = true
	left := w.rng.IntN(10)
	m.disk.failIO = func() error {
		if left--; left < 0 {
			return syscall.EIO
		}
		return nil
	}
}

func (w *World) someLeader() *machine {
	g := w.groups[w.rng.IntN(len(w.groups))]
	for _, m := range w.machines {
		if m.running() {
			if id, _ := m.node.Leader(g.id); id != 0 {
				return w.machineOf(id)
			}
		}
	}
	return nil
}

// leaderOf returns a machine that believes to lead the group, nil if none does.
func (w *World) leaderOf(group uint32) *machine {
	start := w.rng.IntN(len(w.machines))
	for i := range w.machines {
		m := w.machines[(start+i)%len(w.machines)]
		if m.running() {
			if id, _ := m.node.Leader(group); id == m.id {
				return m
			}
		}
	}
	return nil
}

func (w *World) anyGroup() uint32 { return w.groups[w.rng.IntN(len(w.groups))].id }

// transfer hands a leadership to anybody.
func (w *World) transfer() {
	group := w.anyGroup()
	if m := w.leaderOf(group); m != nil {
		w.count.Transfers++
		to := w.any().id
		m.guard("transfer", func() { _ = m.node.Transfer(group, to) }) // refused where it makes no sense
		m.wake()
	}
}

// changeConf proposes any change of a membership at all; those that make no sense are refused.
func (w *World) changeConf() {
	group := w.anyGroup()
	if m := w.leaderOf(group); m != nil {
		m.changeConf(group)
	}
}

func (m *machine) changeConf(group uint32) {
	w := m.w
	cc := raft.ConfChange{Joint: w.rng.IntN(3) == 0, Stay: w.rng.IntN(4) == 0}
	if w.rng.IntN(4) > 0 {
		for range 1 + w.rng.IntN(3) {
			cc.Changes = append(cc.Changes, raft.Change{Kind: raft.ChangeKind(w.rng.IntN(3)), ID: w.any().id})
		}
	}
	m.guard("conf change", func() {
		err := m.node.ProposeConf(group, cc)
		w.trace("%s changes the membership of %d by %+v: %v", m, group, cc, err)
	})
	m.wake()
}

// rumour tells a node what the transport would: that a connection was lost.
func (w *World) rumour() {
	m, about := w.any(), w.any()
	if m.running() && m != about {
		m.guard("unreachable", func() { m.node.Unreachable(about.id) })
		m.wake()
	}
}

// changeMembers is what the operator does in one kind of world, and madness in the other.
func (w *World) changeMembers() {
	if w.swarm.orchestrated {
		w.churn()
	} else {
		w.changeConf()
	}
}

// wipeOrCrash loses a disk where the cluster can give the machine a new identity.
func (w *World) wipeOrCrash() {
	if w.swarm.orchestrated {
		w.wipeOne()
	} else {
		w.crashOne()
	}
}
