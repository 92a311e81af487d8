package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"fastpaca/cluster/peer"
	"fastpaca/raft"
	"fastpaca/shard"
	"fastpaca/wal/walfs"
)

// machine is a computer: a disk that stays, a clock of its own, and most of the time a process of the product's node.
type machine struct {
	w     *World
	index int
	name  string
	id    uint64 // raft id of the incarnation on its disk
	disk  *disk
	rng   *rand.Rand // of the process: election timeouts, salts

	node  *shard.Node // nil: no process
	place *placement
	life  uint64 // counts processes; what belongs to one checks it

	hurry       bool // it boots again in no time
	mute        bool // nothing that it sends arrives any more; it crashes soon
	pausedUntil int64
	diskUntil   int64 // no sync ends before
	diskDelay   int64 // how long a round of the log takes, at most
	tickEvery   int64 // 50 ms of its own time
	clockOff    int64 // ms, of its wall clock
	diskErrors  bool  // the next changes of its disk fail
	full        bool
	freedAt     int64 // when it was full last

	orphans     []*attempt // under way on this process
	incarnation int        // of the data directory; 0: a founder's, or none yet
	joining     bool       // a spare that has begun to ask
	bootedAt    int64
	outSince    []int64          // by group: since when the map does not want this machine in it
	heard       map[uint64]int64 // when a frame of an id came last; looked up only

	loopsDue, walDue, snapDue bool
	appliedTo                 map[uint32]uint64 // by group, in this life; looked up only
	verified                  []verified        // by context
}

// verified is how far a replica's context was compared with the model.
type verified struct {
	ctx *shard.Context
	seq uint64
}

func (m *machine) String() string { return fmt.Sprintf("%s(id %d)", m.name, m.id) }

// dataDir is where every machine has its data.
const dataDir = "/data"

// boot starts a process on the machine. It fails only where the disk gives a reason.
func (m *machine) boot() {
	if m.node != nil || m.id == 0 {
		return
	}
	m.bootedAt = m.w.now
	m.life++
	m.pausedUntil = 0
	m.appliedTo = map[uint32]uint64{}
	m.outSince = make([]int64, len(m.w.groups))
	m.verified = make([]verified, len(m.w.model.contexts))
	m.loopsDue, m.walDue, m.snapDue, m.mute, m.hurry = false, false, false, false, false
	m.place = newPlacement(m.w)
	life := m.life
	m.guard("boot", func() {
		node, err := shard.Open(m.options())
		if err != nil {
			m.w.trace("%s does not start: %v", m.name, err)
			if m.diskErrors || m.full {
				m.w.after(m.w.between(100*millisecond, second), m.boot)
				return
			}
			m.w.violate("%s does not start, though its disk only lost what was not synced: %v", m, err)
			return
		}
		m.node = node
	})
	if m.node == nil || m.life != life {
		return
	}
	m.w.count.Boots++
	m.w.trace("%s boots", m)
	m.w.net.remind(m)
	m.scheduleTick(life)
	if m.w.swarm.orchestrated {
		m.scheduleShell()
	}
	m.wake()
}

// scheduleShell lets the machine's shell decide something now and then.
func (m *machine) scheduleShell() {
	m.in(m.w.between(stepEvery/2, 2*stepEvery), func() {
		m.orchestrate()
		if m.node != nil {
			m.scheduleShell()
		}
	})
}

func (m *machine) options() shard.Options {
	o := &m.w.swarm
	return shard.Options{
		Dir: dataDir, FS: m.disk.fs(), ID: m.id, Genesis: m.w.genesis(m.id), Transport: &transport{m, m.life}, Placement: m.place,
		Manual: true, Loops: o.loops, ElectionTicks: o.electionTicks, HeartbeatTicks: 2,
		RequestTimeout: 2 * time.Second, InflightBytes: inflightBytes, SegmentBytes: segmentBytes,
		MessageBytes: o.messageBytes, RetainBytes: o.retainBytes, WALSoftBytes: o.walSoft, WALHardBytes: o.walHard, SnapshotBytes: o.snapshotBytes,
		TailKeep: o.tailKeep, SpillBytes: 1, ParkAfter: o.parkAfter,
		NowMs: m.nowMs, Nanos: func() int64 { return m.w.now * int64(time.Microsecond) }, Rand: m.rng.Uint64,
		Fatal:   func(err error) { panic(fatal{err}) },
		Applied: func(group uint32, e *raft.Entry) { m.w.applied(m, group, e) },
	}
}

// nowMs is the machine's wall clock.
func (m *machine) nowMs() int64 { return epochMs + m.w.now/millisecond + m.clockOff }

// epochMs is when every run begins: 2025-01-01.
const epochMs = 1735689600000

// fatal is what the process panics with when the node says that it cannot go on.
type fatal struct{ err error }

// guard runs a step of the process. Power loss and a node that gives up end the process; anything else that panics is a
// bug in the product.
func (m *machine) guard(what string, f func()) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case powerLoss:
			m.w.count.CrashesInSync++
			m.crash("power fails in " + what)
		case fatal:
			expected := m.diskErrors || m.full
			m.crash("gives up: " + v.err.Error())
			if !expected {
				m.w.violate("%s gives up for no reason: %v", m, v.err)
			}
		default:
			m.w.violate("%s panics in %s: %v\n%s", m, what, v, debug.Stack())
		}
	}()
	f()
}

// crash ends the process at once, and the power of the machine with it.
func (m *machine) crash(why string) {
	m.w.trace("%s crashes: %s", m, why)
	m.w.count.Crashes++
	m.stop()
	o := walfs.CrashOptions{Keep: []int{0, 0, 50, 90, 100}[m.w.rng.IntN(5)], Tear: []int{0, 50, 100}[m.w.rng.IntN(3)]}
	m.disk.crash(m.w.rng, o)
}

// stop forgets the process.
func (m *machine) stop() {
	m.node = nil
	m.life++
	m.diskErrors = false
	m.disk.failIO = nil
	m.disk.failAt = 0
	m.w.processGone(m)
}

func (m *machine) up() bool      { return m.node != nil }
func (m *machine) running() bool { return m.node != nil && m.w.now >= m.pausedUntil }

// in has f run on the process after d, or when it is no longer paused; never if the process is gone by then.
func (m *machine) in(d int64, f func()) {
	life := m.life
	var run func()
	run = func() {
		switch {
		case m.life != life || m.node == nil:
		case m.w.now < m.pausedUntil:
			m.w.at(m.pausedUntil, run)
		default:
			f()
		}
	}
	m.w.after(d, run)
}

// wake lets the loops run soon.
func (m *machine) wake() {
	if m.loopsDue || m.node == nil {
		return
	}
	m.loopsDue = true
	m.in(m.w.rng.Int64N(m.w.swarm.loopDelay), func() {
		m.loopsDue = false
		m.w.mark('l', m.id, 0, nil)
		m.guard("loops", func() {
			if m.node.StepLoops() {
				m.wake()
			}
		})
		m.wakeDisk()
	})
}

// wakeDisk lets the log's writer do a round soon.
func (m *machine) wakeDisk() {
	if m.node == nil {
		return
	}
	if !m.walDue {
		m.walDue = true
		m.in(max(m.diskUntil-m.w.now, 20+m.w.rng.Int64N(m.diskDelay)), func() {
			m.walDue = false
			if m.w.now < m.diskUntil {
				m.wakeDisk()
				return
			}
			worked := false
			m.guard("wal", func() { worked = m.node.StepWAL() })
			if worked {
				m.w.mark('d', m.id, 0, nil)
				m.wake()
			}
		})
	}
	if !m.snapDue {
		m.snapDue = true
		m.in(m.diskDelay+m.w.rng.Int64N(20*millisecond), func() {
			m.snapDue = false
			worked := false
			m.guard("snapshots", func() { worked = m.node.StepSnapshots() })
			if worked {
				m.w.mark('s', m.id, 0, nil)
				m.wake()
			}
		})
	}
}

func (m *machine) scheduleTick(life uint64) {
	m.w.after(m.tickEvery, func() {
		if m.life != life || m.node == nil {
			return
		}
		if m.w.now >= m.pausedUntil {
			m.guard("tick", m.node.TickAll)
			m.wake()
		}
		m.scheduleTick(life)
	})
}

// transport is shard.Transport over the simulated network, for one life of a machine.
type transport struct {
	m    *machine
	life uint64
}

// Send implements shard.Transport.
func (t *transport) Send(msgs []raft.Message) {
	w := t.m.w
	if t.life != t.m.life {
		return
	}
	for i := range msgs {
		w.count.Messages++
		if err := w.checkMessage(&msgs[i]); err != nil {
			w.violate("%v", err)
		}
	}
	// One frame per node and lane, messages in their order.
	for i := range msgs {
		to, l := msgs[i].To, laneOf(msgs[i].Type)
		first := true
		for k := range i {
			first = first && !(msgs[k].To == to && laneOf(msgs[k].Type) == l)
		}
		if !first {
			continue
		}
		var raw []byte
		for k := i; k < len(msgs); k++ {
			if msgs[k].To == to && laneOf(msgs[k].Type) == l {
				raw = peer.AppendMessages(raw, msgs[k:k+1])
			}
		}
		if t.m.mute {
			w.count.Lost++
			continue
		}
		w.net.send(frame{from: t.m.id, to: to, lane: l, raw: raw})
	}
}

func decodeFrame(f frame) ([]raft.Message, error) {
	// The decoded messages refer to the bytes, and the node keeps entries' data: a copy, since frames come twice.
	return peer.DecodeMessages(bytes.Clone(f.raw), f.from, f.to, nil)
}

// SendSnapshot implements shard.Transport: the file travels for a while, and may be cut anywhere.
func (t *transport) SendSnapshot(msg raft.Message) {
	m, w := t.m, t.m.w
	if t.life != m.life {
		return
	}
	w.count.SnapshotsSent++
	report := func(ok bool) {
		m.in(w.rng.Int64N(10*millisecond), func() {
			m.guard("report", func() { m.node.ReportSnapshot(msg.Group, msg.To, ok) })
			m.wake()
		})
	}
	m.in(w.rng.Int64N(5*millisecond), func() {
		var file []byte
		m.guard("open snapshot", func() {
			meta, size, r, err := m.node.OpenSnapshot(msg.Group, msg.Snapshot.Index, msg.Term)
			if err != nil {
				w.trace("snapshot of %d does not open: %v", msg.Group, err)
				return
			}
			msg.Snapshot = &meta
			file, err = io.ReadAll(r)
			if cerr := r.Close(); err == nil {
				err = cerr
			}
			if err != nil || int64(len(file)) != size {
				w.violate("%s reads %d bytes of a snapshot of %d: %v", m, len(file), size, err)
			}
		})
		if file == nil {
			if m.life == t.life {
				report(false)
			}
			return
		}
		w.after(w.between(millisecond, w.swarm.snapshotTime), func() { t.snapshotArrives(msg, file, report) })
	})
}

func (t *transport) snapshotArrives(msg raft.Message, file []byte, report func(ok bool)) {
	m, w := t.m, t.m.w
	to := w.machineOf(msg.To)
	if to == nil || !to.up() || !w.net.passes(m, to, laneData) {
		report(false)
		return
	}
	if to.pausedUntil > w.now {
		w.at(to.pausedUntil, func() { t.snapshotArrives(msg, file, report) })
		return
	}
	r := &rottenFile{bytes: file, end: len(file), flip: -1}
	if w.net.chance(w.swarm.snapshotCut) {
		r.end = w.rng.IntN(len(file))
	} else if w.net.chance(w.swarm.snapshotRot) { // the transport's checksums are not the last line
		r.flip = w.rng.IntN(len(file))
	}
	var err error
	life := to.life
	to.guard("receive snapshot", func() { err = to.node.ReceiveSnapshot(msg, r) })
	w.trace("snapshot %d at %d to %s: damage noticed %v, %v", msg.Group, msg.Snapshot.Index, to, r.seen, err)
	if r.seen && err == nil && to.life == life {
		w.violate("%s takes a snapshot of group %d that was damaged on its way", to, msg.Group)
	}
	if err == nil {
		w.count.SnapshotsReceived++
	}
	to.wake()
	report(err == nil && to.life == life)
}

// rottenFile delivers a file with a flipped bit, or only a part of it.
type rottenFile struct {
	bytes     []byte
	off       int
	end, flip int  // the connection ends here; the byte that changes, -1 none
	seen      bool // the reader has met the damage
}

func (f *rottenFile) Read(p []byte) (int, error) {
	if f.off == f.end {
		if f.end < len(f.bytes) {
			f.seen = true
			return 0, errors.New("sim: connection lost")
		}
		return 0, io.EOF
	}
	n := copy(p, f.bytes[f.off:f.end])
	if f.flip >= f.off && f.flip < f.off+n {
		p[f.flip-f.off] ^= 1 << (f.flip % 8)
		f.seen = true
	}
	f.off += n
	return n, nil
}
