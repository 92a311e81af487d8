package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"fastpaca/raft"
)

// A snapshot on its way to another node, version 1, integers little-endian:
//
//	length of the file u64 | the snapshot file | the shard's history (package history, transfer.go)
//
// The placement group has no history. The file is opened before the history is listed: what the snapshot does without left
// memory, and so was in a history file, before the snapshot was captured.

// OpenSnapshot opens group's newest durable snapshot, if it covers index or more, for the leader of term to send, and says what it
// is; size is that of the whole stream. The files stay readable while newer ones take their place. Without a snapshot an
// error is returned, and one is taken. An error, too, where the snapshot has entries of a later term: what was asked for by
// raft waited while this node lost the leadership, and no leader sends what is newer than its term.
func (n *Node) OpenSnapshot(group uint32, index, term uint64) (meta raft.SnapshotMeta, size int64, r io.ReadCloser, err error) {
	g := n.group(group)
	if g == nil {
		return meta, 0, nil, fmt.Errorf("group %d is not on this node", group)
	}
	meta, size, r, err = n.openNewest(group)
	if err == nil && meta.Index < index {
		_ = r.Close()
		err = fmt.Errorf("the newest snapshot of %s covers index %d, not %d", groupName(group), meta.Index, index)
	}
	if err == nil && meta.Term > term {
		_ = r.Close()
		return raft.SnapshotMeta{}, 0, nil, fmt.Errorf("the newest snapshot of %s is of term %d, this node led in term %d", groupName(group), meta.Term, term)
	}
	if err != nil {
		g.loop.box.do(func() { g.snap.wanted = true })
		return raft.SnapshotMeta{}, 0, nil, err
	}
	return meta, size, r, nil
}

// openTries is how often a newer snapshot may take the place of the one that is about to be opened.
const openTries = 3

func (n *Node) openNewest(group uint32) (meta raft.SnapshotMeta, size int64, r io.ReadCloser, err error) {
	disk, dir := n.opt.FS, snapDir(n.opt.Dir)
	for range openTries {
		var names []string
		if names, err = disk.List(dir); err != nil {
			return meta, 0, nil, err
		}
		newest := ""
		for _, name := range names { // sorted
			if id, _, ok := parseSnapName(name); ok && id == group {
				newest = name
			}
		}
		if newest == "" {
			return meta, 0, nil, fmt.Errorf("there is no snapshot of %s yet", groupName(group))
		}
		if meta, size, r, err = n.openSnapshot(filepath.Join(dir, newest)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return meta, size, r, err
		}
	}
	return meta, 0, nil, err
}

func (n *Node) openSnapshot(path string) (meta raft.SnapshotMeta, size int64, r io.ReadCloser, err error) {
	f, err := n.opt.FS.Open(path)
	if err != nil {
		return meta, 0, nil, err
	}
	size, err = f.Size()
	var info SnapshotInfo
	if err == nil {
		info, err = snapshotHeader(io.NewSectionReader(f, 0, size))
	}
	var conf *raft.Conf
	if err == nil {
		conf, err = snapshotConf(&info)
	}
	if err == nil && conf == nil {
		err = errors.New("it was written by a version that kept no membership; a new one is taken")
	}
	if err != nil {
		_ = f.Close() // read only
		return meta, 0, nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	meta = raft.SnapshotMeta{Index: info.Index, Term: info.Term, Conf: *conf}
	head := binary.LittleEndian.AppendUint64(nil, uint64(size))
	s := &snapshotStream{Reader: io.MultiReader(bytes.NewReader(head), io.NewSectionReader(f, 0, size)), closers: []io.Closer{f}}
	total := int64(len(head)) + size
	if info.Shard != PlacementGroup {
		h, err := n.history.Transfer(info.Shard)
		if err != nil {
			_ = f.Close() // read only
			return meta, 0, nil, err
		}
		s.Reader, s.closers = io.MultiReader(s.Reader, h), append(s.closers, h)
		total += h.Size()
	}
	return meta, total, s, nil
}

// snapshotStream reads a snapshot and the history that goes with it.
type snapshotStream struct {
	io.Reader
	closers []io.Closer
}

func (s *snapshotStream) Close() error {
	for _, c := range s.closers {
		_ = c.Close() // read only
	}
	return nil
}

// ReportSnapshot says how the sending that Transport.SendSnapshot asked for ended.
func (n *Node) ReportSnapshot(group uint32, to uint64, ok bool) {
	g := n.group(group)
	if g == nil {
		return
	}
	g.loop.box.do(func() {
		g.raft.ReportSnapshot(to, ok)
		g.loop.touch(g)
	})
}
