// Package walfs is the file system as the write-ahead log sees it: a handful of calls with exactly the
// durability rules that the log relies on, and no more.
//
// Three implementations: [OS] is the operating system, [Mem] is a memory file system that can lose or
// tear whatever was not synced, and [Faulty] wraps either to inject errors, short writes, full disks and
// syncs that hang. Files may be a [BlockWriter], too: those of [OS] on Linux are, and [InBlocks] has any be one.
//
// The rules, which [Mem] enforces as harshly as POSIX allows:
//
//   - Written bytes survive a crash only after a Sync of the file that returned nil. Without it any 4 KiB
//     block may be old, new, or torn at 512-byte sectors.
//   - A name (created, renamed or removed) survives only after a SyncDir of its directory that returned
//     nil. Without it each change is lost or kept on its own, in any combination.
//   - A rename is atomic: after a crash the file has its old name, its new name, or (when its creation was
//     never synced) none.
package walfs

// File is an open file. ReadAt may be called from any goroutine; the rest belongs to one writer.
type File interface {
	// ReadAt fills p from offset off, and returns io.EOF when the file ends before p is full.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes p at offset off and grows the file if need be. A short count comes with an error.
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes the file's bytes and size durable (fdatasync). After an error nothing may be assumed
	// about any byte written since the last success: the page cache can no longer be believed.
	Sync() error
	// Allocate reserves space for size bytes at once, so that a full disk shows before they are written,
	// and may grow the file. It does not make writes free of metadata. Where a system cannot, it does
	// nothing.
	Allocate(size int64) error
	// Truncate sets the size; a larger size reads as zeros.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
	// Close releases the file. It makes nothing durable.
	Close() error
}

// FS opens files and changes directories. Paths are the operating system's. Errors match
// [io/fs.ErrNotExist], [io/fs.ErrExist] and syscall.ENOSPC through errors.Is.
type FS interface {
	// MkdirAll creates a directory and its parents, which may exist.
	MkdirAll(dir string) error
	// Create makes a new empty file for reading and writing; the name must not exist.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Rename moves a file within its directory. The new name must not exist.
	Rename(oldName, newName string) error
	// Remove deletes a file's name.
	Remove(name string) error
	// List returns the names (not paths) of the files in dir, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
}
