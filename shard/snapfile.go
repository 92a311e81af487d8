package shard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"fastpaca/jepsen/planted"
	"fastpaca/raft"
	"fastpaca/wal"
	"fastpaca/wal/walfs"
)

// snapSyncEvery bounds the unsynced bytes of a snapshot being written: the log's own fdatasync must not
// inherit a big flush (ANCHORS E.1).
const snapSyncEvery = 1 << 20

// fileWriter appends to a wal.File from the start, with a sync every snapSyncEvery bytes.
type fileWriter struct {
	file     wal.File
	off      int64
	unsynced int
	syncErr  error
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.off)
	w.off += int64(n)
	w.unsynced += n
	if err == nil && w.unsynced >= snapSyncEvery {
		err = w.sync()
	}
	return n, err
}

func (w *fileWriter) sync() error {
	w.unsynced = 0
	w.syncErr = w.file.Sync()
	return w.syncErr
}

// write makes the captured snapshot a durable file and returns its name and size, and whether the file has these bytes (publish).
// Whatever fails, nothing but a temporary file is left behind, which the next start removes, or the complete file under a
// name that is not durable yet. A sync that fails ends the process, as the log's do: the log is cut on its word.
func (s *snapshotter) write(shard uint32, c capture) (name string, size int64, fresh bool, err error) {
	name = snapName(shard, c.Info().Index)
	size, err = s.node.writeTemp(name+tmpSuffix, func(w io.Writer) error {
		_, err := c.WriteTo(w)
		return err
	})
	if err == nil {
		fresh, err = s.node.publish(name+tmpSuffix, name)
	}
	if err != nil {
		return "", 0, false, err
	}
	return name, size, fresh, nil
}

// writeTemp makes a complete, synced file with a temporary name out of what fill writes. After an error it is removed,
// which gives the space back on a full disk.
func (n *Node) writeTemp(tmp string, fill func(w io.Writer) error) (size int64, err error) {
	disk, path := n.opt.FS, filepath.Join(snapDir(n.opt.Dir), tmp)
	if err := disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, err := disk.Create(path)
	if err != nil {
		return 0, fmt.Errorf("creating snapshot %s: %w", path, err)
	}
	w := &fileWriter{file: f}
	err = fill(w)
	if err == nil && !planted.On(planted.SnapshotNotSynced) {
		err = w.sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = disk.Remove(path)
		err = fmt.Errorf("writing snapshot %s: %w", path, err)
		n.fatalSync(w.syncErr, err)
		return 0, err
	}
	return w.off, nil
}

// publish gives a complete temporary file its name, durably. fresh is false if a file of that name was there, which stays: an
// attempt at this index came as far as the name. It is of the same state, but not always of the same bytes: messages may have
// left memory since.
func (n *Node) publish(tmp, name string) (fresh bool, err error) {
	disk, dir := n.opt.FS, snapDir(n.opt.Dir)
	from, to := filepath.Join(dir, tmp), filepath.Join(dir, name)
	fresh = true
	if err = disk.Rename(from, to); errors.Is(err, fs.ErrExist) {
		fresh, err = false, disk.Remove(from)
	}
	if err != nil {
		_ = disk.Remove(from)
		return false, fmt.Errorf("naming snapshot %s: %w", to, err)
	}
	if planted.On(planted.SnapshotNameNotSynced) {
		return fresh, nil
	}
	if err := disk.SyncDir(dir); err != nil {
		err = fmt.Errorf("writing snapshot %s: sync of its directory: %w", to, err)
		n.fatalSync(err, err)
		return false, err
	}
	return fresh, nil
}

// openRecords opens the snapshot called name for the contexts in it.
func (n *Node) openRecords(name string) (*recordFile, error) {
	path := filepath.Join(snapDir(n.opt.Dir), name)
	f, err := n.opt.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return newRecordFile(f, path), nil
}

// fatalSync ends the process if a sync failed, and not only for want of space or descriptors.
func (n *Node) fatalSync(syncErr, err error) {
	if syncErr != nil && !walfs.UsedUp(syncErr) {
		n.fatal(err)
	}
}

// removeOldSnapshots removes the snapshots of shard that are older than keep, if keep is there. It may be gone: the shard was
// forgotten since (Forget), and when it is a member again, a leader may have given it an older snapshot, on which its log relies.
func (s *snapshotter) removeOldSnapshots(shard uint32, keep string) error {
	disk, dir := s.node.opt.FS, snapDir(s.node.opt.Dir)
	names, err := disk.List(dir)
	if err != nil || !slices.Contains(names, keep) {
		return err
	}
	for _, name := range names {
		if id, _, ok := parseSnapName(name); ok && id == shard && name < keep {
			if err := disk.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadSnapshots starts every shard from its newest snapshot, or from nothing. A newest snapshot that does
// not load stops the node: the log behind an older one may be gone already, so that going back to it could
// forget acknowledged messages without a word. What is older stays until then: if the log was not cut yet, an operator can go
// back to it.
func (n *Node) loadSnapshots() ([]*recovered, error) {
	disk, dir := n.opt.FS, snapDir(n.opt.Dir)
	if err := disk.MkdirAll(dir); err != nil {
		return nil, err
	}
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		// A process that was killed may have left a name that is not durable. It must be, before an older snapshot
		// or the log in front of it goes.
		if err := disk.SyncDir(dir); err != nil {
			return nil, err
		}
	}
	newest := make([]string, groupCount)
	var older []string
	left, leftTo := make([]bool, groupCount), make([]uint64, groupCount)
	for _, name := range names { // sorted: of one shard, the newest comes last
		if strings.HasSuffix(name, tmpSuffix) {
			if err := disk.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		if id, last, ok := parseLeftName(name); ok {
			left[id], leftTo[id] = true, max(leftTo[id], last)
			continue
		}
		id, _, ok := parseSnapName(name)
		if !ok {
			return nil, fmt.Errorf("%s is not a snapshot of this version: move it out of the data directory", filepath.Join(dir, name))
		}
		if old := newest[id]; old != "" {
			older = append(older, old) // a crash came between a snapshot and the removal of the one before
		}
		newest[id] = name
	}
	groups := make([]*recovered, groupCount)
	errs := make([]error, groupCount)
	sizes := make([]int64, groupCount)
	n.parallel(groupCount, func(id int) {
		groups[id], sizes[id], errs[id] = n.loadGroup(uint32(id), newest[id], left[id])
		if errs[id] == nil {
			groups[id].left, groups[id].leftTo = left[id], leftTo[id]
		}
	})
	for id := range groups {
		if newest[id] != "" {
			n.replay.Snapshots++
			n.replay.SnapshotBytes += sizes[id]
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, name := range older {
		if err := disk.Remove(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// parallel calls f for 0 to count-1 on all processors; in manual mode one after the other, so that the disk sees the
// same calls in the same order every time.
func (n *Node) parallel(count int, f func(i int)) {
	workers := recoveryWorkers()
	if n.opt.Manual {
		workers = 1
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < count; i += workers {
				f(i)
			}
		}()
	}
	wg.Wait()
}

// replayShare: a start fills so much of Options.MemoryBytes with contexts that only lie beside those which the log touches.
const replayShare = 4

// loadGroup starts a group from the snapshot file called name; an empty name means from nothing. left: this node has
// left it at some time (Forget), so that what it was founded with does not count.
func (n *Node) loadGroup(id uint32, name string, left bool) (*recovered, int64, error) {
	r := &recovered{id: id, self: n.opt.ID}
	if !left {
		r.conf = n.opt.Genesis(id)
	}
	if id == PlacementGroup {
		r.place = n.opt.Placement
		if r.place == nil && name != "" {
			return nil, 0, fmt.Errorf("snapshot %s belongs to a cluster, but this node was started without one", name)
		}
	} else if name == "" {
		r.machine = NewMachine(id)
	}
	r.snapConf, r.solo = r.conf, soleVoter(&r.conf, r.self)
	if name == "" {
		return r, 0, nil
	}
	path := filepath.Join(snapDir(n.opt.Dir), name)
	in, size, err := n.loadFile(path, false)
	if err != nil {
		return nil, 0, fmt.Errorf("snapshot %s is damaged: %w; restore it from a backup or a replica: the log before it is gone, so that the node cannot do without it", path, err)
	}
	if in.info.Shard != id || snapName(id, in.info.Index) != name {
		return nil, 0, fmt.Errorf("snapshot %s holds shard %d at index %d: the file was renamed; restore it from a backup or a replica", path, in.info.Shard, in.info.Index)
	}
	if in.conf != nil {
		r.conf, r.snapConf, r.solo = *in.conf, *in.conf, soleVoter(in.conf, r.self)
	}
	if in.machine != nil {
		r.machine, r.snapBytes = in.machine, in.machine.StateBytes()
		r.machine.parking.replay = true // until setMachine
		r.machine.parking.room = n.opt.MemoryBytes / replayShare / Shards
	} else if err := r.place.Load(in.placement); err != nil {
		return nil, 0, fmt.Errorf("snapshot %s: %w", path, err)
	}
	r.snapIndex, r.snapTerm, r.applied, r.appliedTerm = in.info.Index, in.info.Term, in.info.Index, in.info.Term
	return r, size, nil
}

// loaded is a snapshot file that was read and verified.
type loaded struct {
	info      SnapshotInfo
	conf      *raft.Conf // nil in files of version 1.0, which did not carry it
	machine   *Machine   // of a shard: its contexts stay in the file, which it holds open
	placement []byte     // of the placement group
}

// loadFile reads the snapshot at path. foreign says that another node wrote it.
func (n *Node) loadFile(path string, foreign bool) (in loaded, size int64, err error) {
	f, err := n.opt.FS.Open(path)
	if err != nil {
		return in, 0, err
	}
	file := newRecordFile(f, path)
	defer file.release()
	if size, err = f.Size(); err != nil {
		return in, 0, err
	}
	read := func() io.Reader { return bufio.NewReaderSize(io.NewSectionReader(f, 0, size), int(min(size, 1<<20))) }
	if in.info, err = snapshotHeader(read()); err != nil {
		return in, 0, err
	}
	if in.info.Shard == PlacementGroup {
		in.placement, in.info, err = loadPlacement(read())
	} else {
		in.machine, in.info, err = indexMachine(file.retain(), size, foreign)
	}
	if err == nil {
		in.conf, err = snapshotConf(&in.info)
	}
	if err != nil {
		in.drop()
	}
	return in, size, err
}

// drop lets go of what in holds open, if it is not used.
func (in *loaded) drop() {
	if in.machine != nil {
		in.machine.drop()
	}
}

// named says what the file is called now. Nobody else has the machine yet.
func (in *loaded) named(path string) {
	if in.machine != nil {
		in.machine.parking.files.snapshot.path = path
	}
}

// snapshotHeader reads the header of a snapshot file.
func snapshotHeader(r io.Reader) (SnapshotInfo, error) {
	c, err := newChunkReader(r)
	if err != nil {
		return SnapshotInfo{}, err
	}
	return c.info, nil
}

// snapshotConf returns the membership in a snapshot's meta data, or nil if it has none.
func snapshotConf(info *SnapshotInfo) (*raft.Conf, error) {
	if len(info.Meta) == 0 {
		return nil, nil
	}
	c, err := raft.DecodeConf(info.Meta)
	if err != nil {
		return nil, fmt.Errorf("the membership in the snapshot of group %d: %w", info.Shard, err)
	}
	return &c, nil
}
