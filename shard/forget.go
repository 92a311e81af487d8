package shard

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"fastpaca/raft"
	"fastpaca/wal"
	"fastpaca/wal/walfs"
)

// ErrBusy says that Forget has to be tried again later.
var ErrBusy = errors.New("shard: the group is busy")

// Forget drops the state, the log and the snapshots of group id, and of its consensus all but term and vote, so that this
// node can be made a member anew without ever giving a vote twice. The caller knows, from the group's leader after a
// round, that a committed membership leaves this node out. It returns when all is gone. ErrBusy: the group takes a
// snapshot or writes history, or a leader was heard of in the last seconds, so that this node may have become a member again.
//
// The order, and what a crash leaves:
//
//  1. A mark in the snapshot directory, synced, with the end of the log as it is. It says two things. What the group was
//     founded with does not count for this node any more: the founders of a group that has moved away could otherwise
//     start again from nothing, and as a majority of the founding membership begin a second history. And up to that
//     index this node has acknowledged what it is about to forget: made a member anew, it gets the log from the
//     beginning, with old memberships in which it voted, and would give its vote to anybody. So it is what raft calls
//     damaged, and neither votes nor campaigns before it has that much of the log again, or an entry of a later term
//     than it knew (KeepHealed). A crash leaves all the rest as it is; Forget is called again.
//  2. The log is told. When that is durable, memory begins anew. A crash leaves the snapshot of a log that is empty;
//     the start takes it for this node's state, which it once was, and Forget is called again.
//  3. The snapshot files go. (Before the log is told, it would have been cut for the sake of a file that is missing.)
//  4. The history files go. (Before the snapshot files, one of them would tell of messages that are missing.) A crash in the
//     middle leaves some, which hurt nobody; the next start removes them.
func (n *Node) Forget(id uint32) error {
	g := n.group(id)
	if g == nil || id == PlacementGroup {
		return fmt.Errorf("shard: group %d cannot be forgotten by this node", id)
	}
	var refused error
	var last uint64
	var diverged bool
	err := g.loop.call(func() {
		diverged = g.stopped
		refused = g.standStill()
		last = max(g.leftTo, g.raft.Status().Last)
	})
	if err != nil || refused != nil {
		return errors.Join(err, refused)
	}
	gone := make(chan struct{})
	err = n.markLeft(id, last)
	if err == nil {
		err = g.loop.call(func() {
			g.leftTo = last
			g.marked.Store(last > 0)
			g.dropLog(gone)
		})
	}
	if err == nil {
		err = n.waitFor(g.loop, gone)
	}
	if err == nil {
		err = n.removeSnapshots(id)
	}
	if err == nil {
		err = n.history.Forget(id)
	}
	return errors.Join(err, g.loop.call(func() {
		g.snap.busy = false
		g.stopped = diverged && g.applied > 0 // what went wrong goes with the state, and not before
		g.publishRole()
	}))
}

// forgetQuiet is for how many election timeouts no leader may have been heard of before a group is forgotten.
const forgetQuiet = 2

// standStill stops the group, if it may be forgotten: raft hands out nothing more.
func (g *group) standStill() error {
	l := g.loop
	switch {
	case g.snap.busy || g.spilling || g.healing:
		return ErrBusy
	case g.heardAt != 0 && l.now-g.heardAt < int64(forgetQuiet*l.node.opt.ElectionTicks), g.raft.IsLeader():
		return fmt.Errorf("%w: it was told by its leader just now that it is a member", ErrBusy)
	}
	g.snap.busy, g.stopped = true, true
	g.pending.abandon(l.late, l.release)
	g.abandonReads(CodeUnavailable)
	g.publishRole()
	return nil
}

// dropLog tells the log. Everything that raft handed out before is in this batch in front of it, or in batches before, so
// that no mark of the old raft comes after this one.
func (g *group) dropLog(gone chan struct{}) {
	b := g.loop.current()
	b.wal.Forget(g.id)
	b.marks = append(b.marks, batchMark{group: g, then: func() {
		g.beginAnew()
		close(gone)
	}})
}

// beginAnew makes the group one that knows nothing but its term, its vote, and how much it has forgotten.
func (g *group) beginAnew() {
	n := g.loop.node
	st := g.raft.Status()
	rg, err := raft.New(n.raftConfig(g.id), raft.Restored{
		HardState: raft.HardState{Term: st.Term, Vote: st.Vote}, Damaged: g.leftTo > 0, DamagedTo: g.leftTo,
	})
	if err != nil {
		panic(fmt.Sprintf("shard: a group that knows nothing cannot be made: %v: this is a bug, please report it", err))
	}
	old := g.machine
	g.raft = rg
	g.setMachine(NewMachine(g.id))
	n.parks.remove(old.replaced(n.hub))
	g.applied, g.appliedTerm, g.oldApplied, g.campaignAt = 0, 0, 0, 0
	g.logBytes, g.lateBytes = 0, 0
	g.snap = snapState{busy: true} // until the files are gone
	g.publishRole()
}

// KeepHealed makes it durable that groups which this node had forgotten have made up for it: what raft calls healed stays so after
// a restart. (The log may be shorter than what the mark names: of that, the end may never have been committed. Replicas
// that were all healed like this and then started at the same time would otherwise wait for one another for ever.) It costs
// next to nothing where there is nothing to do. Not beside Forget.
//
// A mark that says only that the group was left takes the place of the others. A crash in between leaves both, and the
// greater counts: the group is damaged again, and heals as before.
func (n *Node) KeepHealed() error {
	for _, g := range n.groups {
		if g == nil || !g.marked.Load() {
			continue
		}
		healed := false
		err := g.loop.call(func() { healed = !g.stopped && g.member.Load() && !g.raft.Status().Damaged })
		if err == nil && healed {
			if err = n.markLeft(g.id, 0); err == nil {
				err = g.loop.call(func() { g.leftTo = 0; g.marked.Store(false) })
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// markLeft is step 1. What the mark says is in its name, so that there is no file to be torn. Other marks of the group go when it is
// durable: it says all that they say which still counts.
func (n *Node) markLeft(id uint32, last uint64) error {
	disk, dir := n.opt.FS, snapDir(n.opt.Dir)
	f, err := disk.Create(filepath.Join(dir, leftName(id, last)))
	switch {
	case errors.Is(err, fs.ErrExist): // from before
	case err != nil:
		return err
	default:
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err = disk.SyncDir(dir); err != nil {
		n.fatalSync(err, err)
		return err
	}
	names, err := disk.List(dir)
	for _, name := range names {
		if of, to, ok := parseLeftName(name); err == nil && ok && of == id && to != last {
			err = disk.Remove(filepath.Join(dir, name))
		}
	}
	return errors.Join(err, disk.SyncDir(dir))
}

func leftName(id uint32, last uint64) string {
	return fmt.Sprintf("%03d-%016x%s", id, last, leftSuffix)
}

// parseLeftName is the inverse of leftName.
func parseLeftName(name string) (id uint32, last uint64, ok bool) {
	if _, err := fmt.Sscanf(name, "%03d-%016x"+leftSuffix, &id, &last); err != nil || id >= groupCount {
		return 0, 0, false
	}
	return id, last, name == leftName(id, last)
}

// dropLeftovers is the rest of a Forget that a crash cut off behind step 2.
func (n *Node) dropLeftovers(r *recovered) error {
	if !r.left || r.last() > 0 {
		return nil
	}
	return n.history.Forget(r.id)
}

// waitFor waits for what a loop will close, in manual mode by doing the work.
func (n *Node) waitFor(l *loop, done chan struct{}) error {
	for {
		if !n.opt.Manual {
			select {
			case <-done:
				return nil
			case <-l.done:
				return ErrClosed
			}
		}
		select {
		case <-done:
			return nil
		default:
		}
		if loops, wal := n.StepLoops(), n.StepWAL(); !loops && !wal {
			return fmt.Errorf("%w: the disk does not answer", ErrBusy)
		}
	}
}

// removeSnapshots removes all snapshot files of a group, durably.
func (n *Node) removeSnapshots(id uint32) error {
	disk, dir := n.opt.FS, snapDir(n.opt.Dir)
	names, err := disk.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if of, _, ok := parseSnapName(name); ok && of == id {
			if err := disk.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return disk.SyncDir(dir)
}

// DropMarks removes the marks of Forget from a node's directory that no process uses, durably: for a cluster that begins anew with
// what this node has (cluster.Rescue), where what it acknowledged and forgot is nobody's any more. fsys nil: the operating
// system's.
func DropMarks(fsys wal.FS, dir string) error {
	if fsys == nil {
		fsys = walfs.OS()
	}
	dir = snapDir(dir)
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, _, ok := parseLeftName(name); ok {
			if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return fsys.SyncDir(dir)
}
