package shard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

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

// write makes the captured snapshot a durable file and returns its name and size. Whatever fails, nothing
// but a temporary file is left behind, which the next start removes, or the complete file under a name that is not
// durable yet. A sync that fails ends the process, as the log's do: the log is cut on its word.
func (s *snapshotter) write(shard uint32, c *Captured) (name string, size int64, err error) {
	disk, dir := s.node.opt.FS, snapDir(s.node.opt.Dir)
	name = snapName(shard, c.Info().Index)
	tmp, final := filepath.Join(dir, name+tmpSuffix), filepath.Join(dir, name)
	if err := disk.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", 0, err
	}
	f, err := disk.Create(tmp)
	if err != nil {
		return "", 0, fmt.Errorf("creating snapshot %s: %w", tmp, err)
	}
	w := &fileWriter{file: f}
	_, err = c.WriteTo(w)
	if err == nil {
		err = w.sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		if err = disk.Rename(tmp, final); errors.Is(err, fs.ErrExist) {
			err = disk.Remove(tmp) // an attempt at this index came as far as the name: the same bytes
		}
	}
	if err == nil {
		w.syncErr = disk.SyncDir(dir)
		err = w.syncErr
	}
	if err != nil {
		_ = disk.Remove(tmp) // gives the space back on a full disk
		err = fmt.Errorf("writing snapshot %s: %w", tmp, err)
		if w.syncErr != nil && !walfs.UsedUp(w.syncErr) {
			s.node.fatal(err)
		}
		return "", 0, err
	}
	return name, w.off, nil
}

// removeOldSnapshots removes the snapshots of shard that are older than keep.
func (s *snapshotter) removeOldSnapshots(shard uint32, keep string) error {
	disk, dir := s.node.opt.FS, snapDir(s.node.opt.Dir)
	names, err := disk.List(dir)
	if err != nil {
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
// forget acknowledged messages without a word.
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
	newest := make([]string, Shards)
	for _, name := range names { // sorted: of one shard, the newest comes last
		if strings.HasSuffix(name, tmpSuffix) {
			if err := disk.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		id, _, ok := parseSnapName(name)
		if !ok {
			return nil, fmt.Errorf("%s is not a snapshot of this version: move it out of the data directory", filepath.Join(dir, name))
		}
		if old := newest[id]; old != "" {
			// A crash came between a snapshot and the removal of the one before.
			if err := disk.Remove(filepath.Join(dir, old)); err != nil {
				return nil, err
			}
		}
		newest[id] = name
	}
	groups := make([]*recovered, Shards)
	errs := make([]error, Shards)
	sizes := make([]int64, Shards)
	var wg sync.WaitGroup
	workers := recoveryWorkers()
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for id := w; id < Shards; id += workers {
				groups[id], sizes[id], errs[id] = n.loadShard(uint32(id), newest[id])
			}
		}()
	}
	wg.Wait()
	for id := range groups {
		if newest[id] != "" {
			n.replay.Snapshots++
			n.replay.SnapshotBytes += sizes[id]
		}
	}
	return groups, errors.Join(errs...)
}

// loadShard makes a shard from the snapshot file called name; an empty name means an empty shard.
func (n *Node) loadShard(id uint32, name string) (*recovered, int64, error) {
	if name == "" {
		return &recovered{id: id, machine: NewMachine(id), solo: true}, 0, nil
	}
	path := filepath.Join(snapDir(n.opt.Dir), name)
	f, err := n.opt.FS.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, 0, fmt.Errorf("snapshot %s: %w", path, err)
	}
	m, info, err := LoadMachine(bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20))
	if err != nil {
		return nil, 0, fmt.Errorf("snapshot %s is damaged: %w; restore it from a backup or a replica: the log before it is gone, so that the node cannot do without it", path, err)
	}
	if info.Shard != id || snapName(id, info.Index) != name {
		return nil, 0, fmt.Errorf("snapshot %s holds shard %d at index %d: the file was renamed; restore it from a backup or a replica", path, info.Shard, info.Index)
	}
	return &recovered{
		id: id, machine: m, snapIndex: info.Index, snapTerm: info.Term, applied: info.Index, appliedTerm: info.Term,
		snapBytes: m.Bytes(), solo: true,
	}, size, nil
}
