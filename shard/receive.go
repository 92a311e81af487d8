package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"fastpaca/raft"
	"fastpaca/shard/history"
)

// A snapshot from the leader replaces the state of a group on this node. The order of things, and what a crash
// between any two of them leaves:
//
//  1. The bytes go to a temporary file, which is synced. A crash leaves the temporary file; the next start removes it.
//  2. The file is read back: every checksum, the whole state, and that it is what the message says. What does not load
//     goes no further; nor does a map of a version that this one cannot read. The history that comes with it becomes one more history file.
//  3. It gets its name, and the directory is synced. From the rename on, a crash may leave the file as the group's
//     newest snapshot, although raft was never told and the log knows nothing of it. The start takes it: it is the
//     state after committed entries, so that it holds everything this node ever acknowledged. What the log has of
//     another history is older in term and is left out (recovered.entry); then the log is told of the snapshot before
//     anything else (group.cutLog). This node has acknowledged nothing of it, and owes nobody anything.
//  4. On the loop: raft gets the message and answers with Ready.Snapshot; the new state machine takes the old one's place;
//     the log is told that a snapshot covers everything up to the index and that the rest is void, in one batch
//     before everything that raft appends from now on. A crash before the batch is durable is case 3.
//  5. The batch is durable. Only now raft lets the acknowledgement go (Mark), and the older file is removed. A start
//     finds the record in the log and the file, which was durable before it.
//
// While all this goes on the group takes no snapshot of its own (snapState.busy), so that no two parties handle its
// files at once. What is refused after step 3 is removed again, and the directory synced, before the group may go on.

// receivesMax is how many snapshots a node receives at a time. Each holds a second copy of a shard in memory while it is
// verified; others wait, and with them the connections that bring them.
const receivesMax = 2

// ErrRefused says that a snapshot was not installed; the leader tries again if it is still needed.
var ErrRefused = errors.New("shard: snapshot refused")

// received is a snapshot whose file is durable, on its way into raft.
type received struct {
	loaded
	name      string
	size      int64
	fresh     bool // the file is of this reception
	installed bool
}

// ReceiveSnapshot takes the snapshot m.Snapshot, whose file r delivers, and blocks until it is installed (nil) or refused.
// It also returns nil, without reading all of r, where this node has no need of it any more. m is a MsgSnapshot with the
// meta data that OpenSnapshot gave at the other end.
func (n *Node) ReceiveSnapshot(m raft.Message, r io.Reader) error {
	g := n.group(m.Group)
	if g == nil || m.Type != raft.MsgSnapshot || m.Snapshot == nil || m.Snapshot.Index == 0 {
		n.stats.invalid.Add(1)
		return fmt.Errorf("%w: not a snapshot of a group of this node", ErrRefused)
	}
	select {
	case n.receiving <- struct{}{}:
		defer func() { <-n.receiving }()
	case <-n.stop:
		return ErrClosed
	}
	needed, err := g.claim(&m)
	if err != nil || !needed {
		return err
	}
	err = g.receive(&m, r)
	if err != nil {
		n.stats.receiveErrors.Add(1)
	}
	return err
}

// claim begins the reception, if there is need of it: until release, the group takes no snapshot of its own.
func (g *group) claim(m *raft.Message) (needed bool, err error) {
	closed := g.loop.call(func() {
		switch {
		case g.stopped:
			err = fmt.Errorf("%w: %s is stopped on this node", ErrRefused, groupName(g.id))
		case g.superseded(m):
		case g.snap.busy:
			err = fmt.Errorf("%w: %s takes or receives a snapshot already", ErrRefused, groupName(g.id))
		case g.loop.node.spills.holds(g) || g.healing:
			err = fmt.Errorf("%w: %s writes history just now", ErrRefused, groupName(g.id))
		default:
			g.snap.busy, g.receiving, needed = true, true, true
		}
	})
	return needed, errors.Join(closed, err)
}

// superseded gives the message to raft if it can do without the bytes: everything in the snapshot is committed here, or
// the message is of an old term. Either way raft's answer lets the leader go on.
func (g *group) superseded(m *raft.Message) bool {
	if m.Snapshot.Index > g.raft.Commit() && m.Term >= g.raft.Term() {
		return false
	}
	g.loop.step(m)
	return true
}

// receive does steps 1 to 4. The group is claimed.
func (g *group) receive(m *raft.Message, r io.Reader) error {
	n := g.loop.node
	in, err := n.download(m, r)
	if err != nil {
		g.release()
		return err
	}
	// The log may have come this far in the meantime. Then the file must not get its name: the histories might
	// contradict one another, which raft finds out, and a start after a crash would not.
	var late bool
	if err := g.loop.call(func() { late = g.superseded(m) }); err != nil || late {
		g.discard(in)
		return err
	}
	tmp := receiveName(in.name)
	if in.fresh, err = n.publish(tmp, in.name); err != nil {
		g.discard(in)
		return err
	}
	in.named(filepath.Join(snapDir(n.opt.Dir), in.name))
	err = g.loop.call(func() {
		g.incoming = in
		g.loop.step(m)
		g.hurry = true // where raft only learns that its log is committed up to there, appliedNow is to show it
		g.loop.touch(g)
		g.loop.drive() // calls install
		g.incoming = nil
	})
	switch {
	case in.installed:
		n.opt.Logf("snapshot_installed", "group", g.id, "index", in.info.Index, "bytes", in.size, "from", m.From)
		return nil
	case err == nil && g.appliedNow.Load() < m.Snapshot.Index:
		err = fmt.Errorf("%w: %s has moved on to another leader", ErrRefused, groupName(g.id))
	}
	g.discard(in)
	return err
}

func receiveName(name string) string { return name + ".recv" + tmpSuffix }

// download does steps 1 and 2. After an error nothing is left of the file.
func (n *Node) download(m *raft.Message, r io.Reader) (*received, error) {
	in := &received{name: snapName(m.Group, m.Snapshot.Index)}
	tmp := receiveName(in.name)
	var err error
	in.size, err = n.writeTemp(tmp, func(w io.Writer) error {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		length := int64(min(binary.LittleEndian.Uint64(head[:]), math.MaxInt64))
		got, err := io.CopyBuffer(w, struct{ io.Reader }{io.LimitReader(r, length)}, make([]byte, receiveBuffer))
		if err == nil && got < length {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(snapDir(n.opt.Dir), tmp)
	if in.loaded, _, err = n.loadFile(path, true); err == nil {
		err = in.matches(m)
	}
	if err == nil && m.Group != PlacementGroup {
		// Before the snapshot, which relies on it, gets its name. It is worth having even if the snapshot is refused: what is in a
		// history file is committed, and the same on every node.
		if err = n.history.Receive(m.Group, r); history.SyncFailed(err) {
			n.fatal(err)
		}
	}
	if err == nil && m.Group == PlacementGroup {
		if err = n.opt.Placement.Check(in.placement); err != nil {
			n.refusedMap(m, err)
		}
	}
	if err == nil {
		err = ended(r)
	}
	if err != nil {
		in.drop()
		_ = n.opt.FS.Remove(path)
		return nil, fmt.Errorf("%w: from node %d: %w", ErrRefused, m.From, err)
	}
	return in, nil
}

// refusedMap tells the operator, once for each snapshot: the leader sends it again and again. Until this node is upgraded it keeps
// the map that it has, and serves what it can by that.
func (n *Node) refusedMap(m *raft.Message, err error) {
	if n.mapRefused.Swap(m.Snapshot.Index) != m.Snapshot.Index {
		n.opt.Logf("placement_unreadable", "from", m.From, "index", m.Snapshot.Index, "error", err.Error())
	}
}

// ended reads the end of the stream, at which the transport says whether all of it arrived as it was sent.
func ended(r io.Reader) error {
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("the stream goes on behind the history")
}

// receiveBuffer is how much of a snapshot goes to the file at a time.
const receiveBuffer = 256 << 10

// matches says whether the file is what the message promised.
func (in *loaded) matches(m *raft.Message) error {
	s := m.Snapshot
	switch {
	case in.info.Shard != m.Group || in.info.Index != s.Index || in.info.Term != s.Term:
		return fmt.Errorf("the file holds group %d at index %d of term %d, the message says group %d at %d of %d",
			in.info.Shard, in.info.Index, in.info.Term, m.Group, s.Index, s.Term)
	case in.conf == nil || !in.conf.Equal(&s.Conf):
		return errors.New("the membership in the file is not that of the message")
	}
	return nil
}

// discard removes what a refused reception has left, durably, and releases the group.
func (g *group) discard(in *received) {
	in.drop()
	disk, dir := g.loop.node.opt.FS, snapDir(g.loop.node.opt.Dir)
	_ = disk.Remove(filepath.Join(dir, receiveName(in.name))) // the next start would
	if in.fresh {
		err := disk.Remove(filepath.Join(dir, in.name))
		if err == nil {
			err = disk.SyncDir(dir)
		}
		if err != nil {
			g.loop.node.opt.Logf("snapshot_not_removed", "group", g.id, "file", in.name, "error", err.Error())
		}
	}
	g.release()
}

func (g *group) release() { _ = g.loop.call(func() { g.snap.busy, g.receiving = false, false }) }

// install is step 4, for raft's word that the snapshot which it has just been told of is to replace the state.
func (l *loop) install(g *group, rd *raft.Ready) {
	in, s := g.incoming, rd.Snapshot
	if in == nil || in.info.Index != s.Index || in.info.Term != s.Term {
		panic(fmt.Sprintf("shard: raft installs a snapshot of %s at %d that did not come by ReceiveSnapshot: this is a bug, please report it",
			groupName(g.id), s.Index))
	}
	in.installed, g.receiving = true, false
	l.node.stats.snapshotsReceived.Add(1) // before anybody can see the new state: who waits for that finds it counted
	if g.place != nil {
		if err := g.place.Load(in.placement); err != nil {
			panic(fmt.Sprintf("shard: the placement group's snapshot was checked and does not load: %v: this is a bug, please report it", err))
		}
	} else {
		old := g.machine
		g.setMachine(in.machine)
		l.node.parks.remove(old.replaced(l.node.hub))
	}
	g.applied, g.appliedTerm, g.oldApplied = s.Index, s.Term, s.Index
	g.logBytes, g.lateBytes = 0, 0
	g.snap.index, g.snap.term, g.snap.state, g.snap.wanted = s.Index, s.Term, g.bytes(), false
	// Nothing of what was proposed here is in the log any more, and whether it is in the snapshot nobody can tell.
	g.pending.abandon(l.late, l.release)

	b := l.current()
	b.wal.Snapshot(g.id, s.Index, s.Term, raft.AppendConf(nil, &s.Conf))
	b.marks = append(b.marks, batchMark{group: g, then: func() {
		g.snap.covered = s.Index
		g.snap.busy = false
		l.node.snaps.old.push(snapFile{g.id, in.name})
		l.node.snaps.queue.signal()
	}})
	g.raft.Applied(s.Index)
}

// replaced tells everybody who holds a context of m that it will not change any more. What m has on disk only is gone. It returns
// the name of a parking file that may be removed, or "".
func (m *Machine) replaced(h *hub) (unused string) {
	unused = m.drop() // before: nobody loads one from here on
	m.tell(h)
	return unused
}

// tell marks all contexts in memory as replaced and wakes their subscribers.
func (m *Machine) tell(h *hub) {
	m.contexts.each(func(_ uint32, c *Context) bool {
		if c != nil {
			c.replaced.Store(true)
			if c.HasSubscribers() {
				h.changed(c)
			}
		}
		return true
	})
}

// Detach tells everybody who follows a context of the group on this node to look it up again, now and from now on: for a node that has no
// place in the cluster any more, where nothing will ever change again. The state stays.
func (n *Node) Detach(id uint32) error {
	g := n.group(id)
	if g == nil || id == PlacementGroup {
		return nil
	}
	return g.loop.call(func() {
		p := &g.machine.parking
		p.mu.Lock()
		p.detached = true // before: what is loaded from here on is told at once
		p.mu.Unlock()
		g.machine.tell(n.hub)
	})
}

// Replaced says that a snapshot from the leader has replaced the state of the shard, this context included: it will not
// change any more, and has to be looked up again. Subscribers are woken when that happens. Any goroutine.
func (c *Context) Replaced() bool { return c.replaced.Load() }
