package sim

import (
	"math/rand/v2"
	"path/filepath"

	"fastpaca/wal"
	"fastpaca/wal/walfs"
)

// disk is one computer's disk. Power may fail in any call that changes it: the call panics with powerLoss, which takes
// the whole process with it (machine.guard), and of what was not synced the seed decides what is lost, torn and kept.
type disk struct {
	mem     *walfs.Mem
	blocks  bool // it has WriteBlocks
	changes int  // calls that changed something
	failAt  int  // power fails in this one; 0: never
	failEnd bool // at the end of it, done and never reported; else before anything happened
	failIO  func() error
}

// powerLoss is what a call panics with when the power fails in it.
type powerLoss struct{}

// newDisk returns an empty disk for the computer of that index: every other one is of the kind that logs write whole blocks to.
func newDisk(index int) *disk { return &disk{mem: walfs.NewMem(), blocks: index%2 == 1} }

// crash makes the disk what power loss leaves of it. Files that the dead process had open are files of the disk as it
// was: whatever is left of that process can do no harm.
func (d *disk) crash(rng *rand.Rand, o walfs.CrashOptions) {
	d.mem = d.mem.Crash(rng, o)
	d.failAt = 0
}

// armPowerLoss lets the power fail in the n-th change from now, n >= 1.
func (d *disk) armPowerLoss(n int, end bool) { d.failAt, d.failEnd = d.changes+n, end }

// change makes a call that changes the disk.
func (d *disk) change(call func() error) error {
	d.changes++
	dies := d.changes == d.failAt
	if dies && !d.failEnd {
		panic(powerLoss{})
	}
	var err error
	if d.failIO != nil {
		err = d.failIO()
	}
	if err == nil {
		err = call()
	}
	if dies {
		panic(powerLoss{})
	}
	return err
}

// fs returns the disk as a process sees it that starts now.
func (d *disk) fs() wal.FS {
	if d.blocks {
		return walfs.InBlocks(diskFS{d, d.mem})
	}
	return diskFS{d, d.mem}
}

type diskFS struct {
	d   *disk
	mem *walfs.Mem
}

func (f diskFS) MkdirAll(dir string) error          { return f.mem.MkdirAll(dir) }
func (f diskFS) List(dir string) ([]string, error)  { return f.mem.List(dir) }
func (f diskFS) Open(name string) (wal.File, error) { return f.file(f.mem.Open(name)) }
func (f diskFS) Remove(name string) error {
	return f.d.change(func() error { return f.mem.Remove(name) })
}
func (f diskFS) SyncDir(dir string) error {
	return f.d.change(func() error { return f.mem.SyncDir(filepath.Clean(dir)) })
}
func (f diskFS) Rename(from, to string) error {
	return f.d.change(func() error { return f.mem.Rename(from, to) })
}
func (f diskFS) Create(name string) (file wal.File, err error) {
	err = f.d.change(func() error {
		file, err = f.file(f.mem.Create(name))
		return err
	})
	return file, err
}

func (f diskFS) file(file walfs.File, err error) (wal.File, error) {
	if err != nil {
		return nil, err
	}
	return diskFile{file, f.d}, nil
}

type diskFile struct {
	walfs.File
	d *disk
}

func (f diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.d.change(func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}
func (f diskFile) Sync() error { return f.d.change(f.File.Sync) }
func (f diskFile) Truncate(size int64) error {
	return f.d.change(func() error { return f.File.Truncate(size) })
}
func (f diskFile) Allocate(size int64) error {
	return f.d.change(func() error { return f.File.Allocate(size) })
}
