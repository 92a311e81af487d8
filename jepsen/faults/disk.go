package faults

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fastpaca/wal/walfs"
)

// blockSize is the grain in which unsynced bytes survive a loss of power or do not; sectorSize that in which a block tears.
const blockSize, sectorSize = 4096, 512

// Disk is a file system over another one, that keeps what was not synced in memory. All methods may be called by several goroutines at
// once, as far as walfs allows it.
type Disk struct {
	inner walfs.FS

	mu     sync.Mutex
	files  map[string]*inode // by path, of files that were opened in this life
	names  []nameChange      // since their directory was synced, in order
	hidden int               // files removed, but not durably, so far: numbers their hiding places
	swept  map[string]bool   // directories whose hiding places of an earlier life are gone

	wrong sync.Mutex // for what is wrong:
	slow  time.Duration
	hung  chan struct{} // closed when the disk answers again; nil: it answers
	full  bool
	eio   bool // syncs fail
}

// inode is one file, whatever its name and however often it is open.
type inode struct {
	mu    sync.RWMutex
	size  int64
	dirty map[int64]*[blockSize]byte // by number; whole blocks as they shall be
}

// nameChange is a change of a name that its directory does not know durably yet.
type nameChange struct {
	op       walfs.Op // OpCreate, OpRename or OpRemove
	name, to string   // OpRename: the new name; OpRemove: where the file is hidden
}

// NewDisk returns a sound disk over inner.
func NewDisk(inner walfs.FS) *Disk {
	return &Disk{inner: inner, files: map[string]*inode{}, swept: map[string]bool{}}
}

// Slow makes each sync and each change of a name take so much longer.
func (d *Disk) Slow(by time.Duration) { d.wrong.Lock(); d.slow = by; d.wrong.Unlock() }

// Fill leaves no room: nothing is created and no file grows.
func (d *Disk) Fill() { d.wrong.Lock(); d.full = true; d.wrong.Unlock() }

// FailSyncs makes syncs fail with EIO.
func (d *Disk) FailSyncs() { d.wrong.Lock(); d.eio = true; d.wrong.Unlock() }

// Hang blocks writes, syncs and changes of names until Heal.
func (d *Disk) Hang() {
	d.wrong.Lock()
	defer d.wrong.Unlock()
	if d.hung == nil {
		d.hung = make(chan struct{})
	}
}

// Heal makes the disk sound; what hangs goes on.
func (d *Disk) Heal() {
	d.wrong.Lock()
	defer d.wrong.Unlock()
	if d.hung != nil {
		close(d.hung)
	}
	d.slow, d.hung, d.full, d.eio = 0, nil, false, false
}

// trouble waits as long as the disk takes, and returns what is wrong with a call: grows says that it needs room.
func (d *Disk) trouble(op walfs.Op, path string, grows bool) error {
	d.wrong.Lock()
	slow, hung := d.slow, d.hung
	d.wrong.Unlock()
	if hung != nil {
		<-hung
	}
	if slow > 0 && op != walfs.OpWrite { // a write goes to the cache; a sync meets the device
		time.Sleep(slow)
	}
	d.wrong.Lock()
	defer d.wrong.Unlock()
	switch {
	case d.full && grows:
		return &pathError{op, path, syscall.ENOSPC}
	case d.eio && (op == walfs.OpSync || op == walfs.OpSyncDir):
		return &pathError{op, path, syscall.EIO}
	}
	return nil
}

// pathError is an error as the operating system's file system gives it.
type pathError struct {
	op   walfs.Op
	path string
	err  error
}

func (e *pathError) Error() string { return e.op.String() + " " + e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// MkdirAll implements walfs.FS. Directories are durable at once.
func (d *Disk) MkdirAll(dir string) error {
	if err := d.trouble(walfs.OpMkdir, dir, false); err != nil {
		return err
	}
	return d.inner.MkdirAll(dir)
}

// Create implements walfs.FS.
func (d *Disk) Create(name string) (walfs.File, error) {
	if err := d.trouble(walfs.OpCreate, name, true); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.inner.Create(name)
	if err != nil {
		return nil, err
	}
	n := &inode{dirty: map[int64]*[blockSize]byte{}}
	d.files[name] = n
	d.names = append(d.names, nameChange{op: walfs.OpCreate, name: name})
	return &file{d: d, n: n, inner: f, path: name}, nil
}

// Open implements walfs.FS.
func (d *Disk) Open(name string) (walfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.inner.Open(name)
	if err != nil {
		return nil, err
	}
	n := d.files[name]
	if n == nil {
		n = &inode{dirty: map[int64]*[blockSize]byte{}}
		if n.size, err = f.Size(); err != nil {
			_ = f.Close() // the first error is the one that matters
			return nil, err
		}
		d.files[name] = n
	}
	return &file{d: d, n: n, inner: f, path: name}, nil
}

// Rename implements walfs.FS.
func (d *Disk) Rename(from, to string) error {
	if err := d.trouble(walfs.OpRename, from, false); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.inner.Rename(from, to); err != nil {
		return err
	}
	if n := d.files[from]; n != nil {
		delete(d.files, from)
		d.files[to] = n
	}
	d.names = append(d.names, nameChange{walfs.OpRename, from, to})
	return nil
}

// Remove implements walfs.FS. The file is hidden until its directory is synced: until then it may come back.
func (d *Disk) Remove(name string) error {
	if err := d.trouble(walfs.OpRemove, name, false); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hidden++
	place := hidingPlace(name, d.hidden)
	if err := d.inner.Rename(name, place); err != nil {
		return err
	}
	delete(d.files, name)
	d.names = append(d.names, nameChange{walfs.OpRemove, name, place})
	return nil
}

// List implements walfs.FS.
func (d *Disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.inner.List(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all {
		switch {
		case !strings.HasPrefix(name, hidingPrefix):
			names = append(names, name)
		case !d.swept[dir] && !slices.ContainsFunc(d.names, func(c nameChange) bool { return filepath.Base(c.to) == name }):
			// An earlier life's: its removal is durable from now on.
			if err := d.inner.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	d.swept[dir] = true
	return names, nil
}

// SyncDir implements walfs.FS.
func (d *Disk) SyncDir(dir string) error {
	if err := d.trouble(walfs.OpSyncDir, dir, false); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.inner.SyncDir(dir); err != nil {
		return err
	}
	var kept []nameChange
	for _, c := range d.names {
		switch {
		case filepath.Dir(c.name) != dir:
			kept = append(kept, c)
		case c.op == walfs.OpRemove:
			if err := d.inner.Remove(c.to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	d.names = kept
	return nil
}

// file is an open file of a Disk.
type file struct {
	d     *Disk
	n     *inode
	inner walfs.File
	path  string // at the time of opening, for errors
}

// ReadAt implements walfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.n.mu.RLock()
	defer f.n.mu.RUnlock()
	short := false
	if left := f.n.size - off; left < int64(len(p)) {
		p, short = p[:max(0, left)], true
	}
	if len(f.n.dirty) == 0 {
		n, err := f.inner.ReadAt(p, off)
		if err == nil && short {
			err = io.EOF
		}
		return n, err
	}
	n, err := f.inner.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	clear(p[n:]) // what is in memory only is not in the file yet
	for b := off / blockSize; b*blockSize < off+int64(len(p)); b++ {
		if block := f.n.dirty[b]; block != nil {
			at := b * blockSize
			copy(p[max(0, at-off):], block[max(0, off-at):])
		}
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// WriteAt implements walfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.n.mu.RLock()
	grows := off+int64(len(p)) > f.n.size
	f.n.mu.RUnlock()
	if err := f.d.trouble(walfs.OpWrite, f.path, grows); err != nil {
		return 0, err
	}
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	f.n.size = max(f.n.size, off+int64(len(p)))
	for done := 0; done < len(p); {
		at := off + int64(done)
		block, err := f.block(at / blockSize)
		if err != nil {
			return done, err
		}
		done += copy(block[at%blockSize:], p[done:])
	}
	return len(p), nil
}

// block returns a block to be written to. The inode is locked.
func (f *file) block(b int64) (*[blockSize]byte, error) {
	if block := f.n.dirty[b]; block != nil {
		return block, nil
	}
	block := new([blockSize]byte)
	if _, err := f.inner.ReadAt(block[:], b*blockSize); err != nil && err != io.EOF {
		return nil, err
	}
	f.n.dirty[b] = block
	return block, nil
}

// Sync implements walfs.File.
func (f *file) Sync() error {
	if err := f.d.trouble(walfs.OpSync, f.path, false); err != nil {
		return err
	}
	f.n.mu.Lock()
	for b, block := range f.n.dirty {
		if err := f.n.put(f.inner, b, block[:]); err != nil {
			f.n.mu.Unlock()
			return err
		}
	}
	clear(f.n.dirty)
	f.n.mu.Unlock()
	return f.inner.Sync()
}

// put writes one block, no further than the file goes.
func (n *inode) put(to walfs.File, b int64, block []byte) error {
	at := b * blockSize
	_, err := to.WriteAt(block[:max(0, min(blockSize, n.size-at))], at)
	return err
}

// Allocate implements walfs.File.
func (f *file) Allocate(size int64) error {
	if err := f.d.trouble(walfs.OpAllocate, f.path, true); err != nil {
		return err
	}
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	err := f.inner.Allocate(size)
	if now, serr := f.inner.Size(); err == nil && serr == nil {
		f.n.size = max(f.n.size, now)
	}
	return err
}

// Truncate implements walfs.File. It is durable at once.
func (f *file) Truncate(size int64) error {
	if err := f.d.trouble(walfs.OpTruncate, f.path, false); err != nil {
		return err
	}
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if err := f.inner.Truncate(size); err != nil {
		return err
	}
	for b, block := range f.n.dirty {
		switch at := b * blockSize; {
		case at >= size:
			delete(f.n.dirty, b)
		case at+blockSize > size:
			clear(block[size-at:])
		}
	}
	f.n.size = size
	return nil
}

// Size implements walfs.File.
func (f *file) Size() (int64, error) {
	f.n.mu.RLock()
	defer f.n.mu.RUnlock()
	return f.n.size, nil
}

// Close implements walfs.File.
func (f *file) Close() error { return f.inner.Close() }
