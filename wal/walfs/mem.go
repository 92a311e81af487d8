package walfs

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// BlockBytes is what reaches a disk as one piece in Mem, unless it is torn; SectorBytes is what a torn
// block is torn into.
const (
	BlockBytes  = 4096
	SectorBytes = 512
)

// Mem is a memory file system that remembers what is durable. See Crash for what power loss does to the
// rest. It is safe for concurrent use. The zero value is not ready; use NewMem.
type Mem struct {
	mu       sync.Mutex
	names    map[string]*inode // as running processes see them
	durable  map[string]*inode // as a crash would leave them, were no change in pending kept
	pending  []dirChange       // since the last SyncDir of their directory
	dirs     map[string]bool
	capacity int64 // bytes of all files together; 0: no limit
}

// dirChange is a change of names that is not durable yet.
type dirChange struct {
	dir      string
	from, to string // create: from is ""; remove: to is ""
	node     *inode
}

// inode is a file, with or without a name.
type inode struct {
	now     image // as running processes see them
	synced  image // as of the last Sync; its blocks are never written
	dirty   []dirtyRange
	resized bool // size differs from synced, or did in between
	shrunk  bool // and was smaller in between
}

// dirtyRange is a run of bytes written since the last Sync.
type dirtyRange struct{ from, to int64 }

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{names: map[string]*inode{}, durable: map[string]*inode{}, dirs: map[string]bool{}}
}

// SetCapacity limits the bytes of all files together; what would go beyond fails with ENOSPC, short
// writes included. 0 lifts the limit.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	m.capacity = bytes
	m.mu.Unlock()
}

// Used returns the bytes of all files together.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usedLocked()
}

func (m *Mem) usedLocked() int64 {
	total := int64(0)
	for _, n := range m.names {
		total += n.now.size
	}
	return total
}

// MkdirAll implements FS. Directories are durable at once: the log syncs parents, but nothing is to be
// learnt from losing them.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		m.dirs[d] = true
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if !m.dirs[filepath.Dir(name)] {
		return nil, pathError("create", name, fs.ErrNotExist)
	}
	if m.names[name] != nil {
		return nil, pathError("create", name, fs.ErrExist)
	}
	n := &inode{}
	m.names[name] = n
	m.pending = append(m.pending, dirChange{dir: filepath.Dir(name), to: name, node: n})
	return &memFile{fs: m, node: n, name: name}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	n := m.names[name]
	if n == nil {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return &memFile{fs: m, node: n, name: name}, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	n := m.names[oldName]
	if n == nil {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	if m.names[newName] != nil {
		return pathError("rename", newName, fs.ErrExist)
	}
	delete(m.names, oldName)
	m.names[newName] = n
	m.pending = append(m.pending, dirChange{dir: filepath.Dir(newName), from: oldName, to: newName, node: n})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	n := m.names[name]
	if n == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	delete(m.names, name)
	m.pending = append(m.pending, dirChange{dir: filepath.Dir(name), from: name, node: n})
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = filepath.Clean(dir)
	if !m.dirs[dir] {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	var names []string
	for name := range m.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = filepath.Clean(dir)
	if !m.dirs[dir] {
		return pathError("sync", dir, fs.ErrNotExist)
	}
	kept := m.pending[:0]
	for _, c := range m.pending {
		if c.dir == dir {
			c.apply(m.durable)
		} else {
			kept = append(kept, c)
		}
	}
	m.pending = kept
	return nil
}

func (c dirChange) apply(names map[string]*inode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.node
	}
}

// Flip flips one bit of a file, durably: rot of what was synced.
func (m *Mem) Flip(name string, off int64, bit uint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[filepath.Clean(name)]
	if n == nil || off >= n.now.size {
		return pathError("flip", name, fs.ErrNotExist)
	}
	n.now.write([]byte{n.now.at(off) ^ 1<<bit}, off, &n.synced)
	if off < n.synced.size {
		n.synced.write([]byte{n.synced.at(off) ^ 1<<bit}, off, &n.synced)
	}
	return nil
}

func pathError(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

// memFile is an open file of a Mem. It goes on working when its name is gone.
type memFile struct {
	fs   *Mem
	node *inode
	name string
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	rest := f.node.now.size - off
	if rest <= 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), rest))
	f.node.now.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n := f.node
	var full error
	if grow := off + int64(len(p)) - n.now.size; grow > 0 && f.fs.capacity > 0 {
		if room := f.fs.capacity - f.fs.usedLocked(); grow > room {
			p = p[:max(0, int64(len(p))-(grow-max(room, 0)))]
			full = pathError("write", f.name, syscall.ENOSPC)
		}
	}
	if end := off + int64(len(p)); end > n.now.size && len(p) > 0 {
		n.resize(end)
	}
	if len(p) > 0 {
		n.now.write(p, off, &n.synced)
		n.dirty = append(n.dirty, dirtyRange{off, off + int64(len(p))})
	}
	return len(p), full
}

func (n *inode) resize(size int64) {
	n.resized = true
	n.shrunk = n.shrunk || size <= n.now.size
	n.now.resize(size, &n.synced)
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n := f.node
	if n.shrunk {
		n.synced = n.now.clone()
	} else {
		n.synced.resize(n.now.size, nil) // grows, if anything
		for _, d := range n.dirty {
			from, to := d.from/BlockBytes, blocksFor(d.to)
			copy(n.synced.blocks[from:to], n.now.blocks[from:])
		}
	}
	n.dirty, n.resized, n.shrunk = n.dirty[:0], false, false
	return nil
}

func (f *memFile) Allocate(size int64) error {
	if now, err := f.Size(); err != nil || now >= size {
		return err
	}
	return f.Truncate(size)
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if grow := size - f.node.now.size; grow > 0 && f.fs.capacity > 0 && f.fs.usedLocked()+grow > f.fs.capacity {
		return pathError("truncate", f.name, syscall.ENOSPC)
	}
	f.node.resize(size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.now.size, nil
}

func (f *memFile) Close() error { return nil }

// String describes the file system for a failing test.
func (m *Mem) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d files, %d unsynced changes of names", len(m.names), len(m.pending))
}
