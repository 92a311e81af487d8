package walfs

import "sync"

// Op names a call of FS or File.
type Op uint8

// The calls that Faulty counts and can make fail.
const (
	OpMkdir Op = iota + 1
	OpCreate
	OpOpen
	OpRename
	OpRemove
	OpList
	OpSyncDir
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpAllocate
	OpSize
)

// String returns the call's name.
func (o Op) String() string {
	names := [...]string{"?", "mkdir", "create", "open", "rename", "remove", "list", "syncdir", "read", "write", "sync", "truncate", "allocate", "size"}
	if int(o) < len(names) {
		return names[o]
	}
	return names[0]
}

// Changes says whether the call may change the disk.
func (o Op) Changes() bool {
	switch o {
	case OpOpen, OpList, OpRead, OpSize:
		return false
	}
	return true
}

// Call is one call about to be made.
type Call struct {
	Op   Op
	Path string // of the file or directory; the old name of a rename
	N    int    // how many calls were made before it, of all kinds
	Off  int64  // OpRead, OpWrite
	Len  int    // OpRead, OpWrite
}

// Fault is what happens to a call. The zero value lets it through.
type Fault struct {
	Err error // returned in place of making the call
	// Short, with Err on a write: so many bytes are written before the error.
	Short int
	// Hang blocks the call until the channel is closed; then Err or the call itself follows.
	Hang <-chan struct{}
	// After makes the call, and returns Err in spite of its success.
	After bool
}

// Faulty wraps a file system and asks inject about every call but Close. inject may be called from
// several goroutines at once, with N in the order of the calls.
type Faulty struct {
	FS     FS
	inject func(Call) Fault

	mu sync.Mutex
	n  int
}

// NewFaulty wraps fs.
func NewFaulty(fs FS, inject func(Call) Fault) *Faulty { return &Faulty{FS: fs, inject: inject} }

// Calls returns the number of calls so far.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *Faulty) ask(c Call) Fault {
	fault := f.decide(c)
	if fault.Hang != nil {
		<-fault.Hang
	}
	return fault
}

func (f *Faulty) decide(c Call) Fault {
	f.mu.Lock()
	defer f.mu.Unlock() // also if inject panics, which is a way to stop a process in the middle of a call
	c.N = f.n
	f.n++
	return f.inject(c)
}

// do makes a call with its fault.
func (f *Faulty) do(c Call, call func() error) error {
	fault := f.ask(c)
	if fault.Err != nil && !fault.After {
		return fault.Err
	}
	if err := call(); err != nil {
		return err
	}
	return fault.Err
}

func (f *Faulty) file(c Call, open func(string) (File, error)) (file File, err error) {
	err = f.do(c, func() error {
		inner, err := open(c.Path)
		if err == nil {
			file = &faultyFile{fs: f, inner: inner, path: c.Path}
		}
		return err
	})
	if err != nil && file != nil {
		_ = file.Close()
		file = nil
	}
	return file, err
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(dir string) error {
	return f.do(Call{Op: OpMkdir, Path: dir}, func() error { return f.FS.MkdirAll(dir) })
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) {
	return f.file(Call{Op: OpCreate, Path: name}, f.FS.Create)
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	return f.file(Call{Op: OpOpen, Path: name}, f.FS.Open)
}

// Rename implements FS.
func (f *Faulty) Rename(oldName, newName string) error {
	return f.do(Call{Op: OpRename, Path: oldName}, func() error { return f.FS.Rename(oldName, newName) })
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	return f.do(Call{Op: OpRemove, Path: name}, func() error { return f.FS.Remove(name) })
}

// List implements FS.
func (f *Faulty) List(dir string) (names []string, err error) {
	err = f.do(Call{Op: OpList, Path: dir}, func() error {
		names, err = f.FS.List(dir)
		return err
	})
	return names, err
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(dir string) error {
	return f.do(Call{Op: OpSyncDir, Path: dir}, func() error { return f.FS.SyncDir(dir) })
}

type faultyFile struct {
	fs    *Faulty
	inner File
	path  string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fs.do(Call{Op: OpRead, Path: f.path, Off: off, Len: len(p)}, func() error {
		n, err = f.inner.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (n int, err error) {
	fault := f.fs.ask(Call{Op: OpWrite, Path: f.path, Off: off, Len: len(p)})
	if fault.Err != nil && !fault.After {
		p = p[:min(fault.Short, len(p))]
	}
	if len(p) > 0 {
		if n, err = f.inner.WriteAt(p, off); err != nil {
			return n, err
		}
	}
	return n, fault.Err
}

func (f *faultyFile) Sync() error {
	return f.fs.do(Call{Op: OpSync, Path: f.path}, f.inner.Sync)
}

func (f *faultyFile) Truncate(size int64) error {
	return f.fs.do(Call{Op: OpTruncate, Path: f.path}, func() error { return f.inner.Truncate(size) })
}

func (f *faultyFile) Allocate(size int64) error {
	return f.fs.do(Call{Op: OpAllocate, Path: f.path}, func() error { return f.inner.Allocate(size) })
}

func (f *faultyFile) Size() (n int64, err error) {
	err = f.fs.do(Call{Op: OpSize, Path: f.path}, func() error {
		n, err = f.inner.Size()
		return err
	})
	return n, err
}

func (f *faultyFile) Close() error { return f.inner.Close() }
