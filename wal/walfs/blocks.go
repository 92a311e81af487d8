package walfs

import (
	"fmt"
	"io"
	"unsafe"
)

// BlockWriter is what a File may be, too: one that can write and sync in one operation.
type BlockWriter interface {
	// WriteBlocks is WriteAt and then Sync. p is whole blocks: its address and length, and off, are multiples of
	// DirectAlign. Nothing that WriteAt has written may wait for a Sync.
	//
	// done is false where it cannot be done so now. Each sector of p's place is then as it was or as p has it, and WriteAt of all
	// of p and Sync have to follow. After an error the rules of Sync's hold.
	WriteBlocks(p []byte, off int64) (done bool, err error)
}

// InBlocks returns fs with files that are a BlockWriter each, by WriteAt and Sync: for tests of those who use one where there is
// no disk. Every so often it does half of it and says that it cannot. It panics where they break its rules.
func InBlocks(fs FS) FS { return blockFS{fs} }

type blockFS struct{ FS }

func (b blockFS) Create(name string) (File, error) { return inBlocks(b.FS.Create(name)) }

func (b blockFS) Open(name string) (File, error) { return inBlocks(b.FS.Open(name)) }

func inBlocks(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &blockFile{File: f}, nil
}

type blockFile struct {
	File
	unsynced bool
	writes   int
}

// blockRefusal is how many of a file's WriteBlocks it takes for one to be refused.
const blockRefusal = 7

// WriteAt leaves out what does not change: a disk writes such bytes again in any case, with the block that they are in, and what
// Mem takes from a block that was under way, it takes from the bytes that were written.
func (f *blockFile) WriteAt(p []byte, off int64) (int, error) {
	have := make([]byte, len(p))
	n, err := f.ReadAt(have, off)
	if err != nil && err != io.EOF {
		return 0, err
	}
	same := 0
	for same < n && p[same] == have[same] {
		same++
	}
	f.unsynced = true
	n, err = f.File.WriteAt(p[same:], off+int64(same))
	return same + n, err
}

func (f *blockFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	f.unsynced = false
	return nil
}

func (f *blockFile) WriteBlocks(p []byte, off int64) (done bool, err error) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	if f.unsynced || len(p) == 0 || (at|uintptr(len(p))|uintptr(off))%DirectAlign != 0 {
		panic(fmt.Sprintf("walfs: WriteBlocks of %d bytes at %#x to %d, unsynced: %v", len(p), at, off, f.unsynced))
	}
	if f.writes++; f.writes%blockRefusal == 0 {
		_, err := f.WriteAt(p[:len(p)/2], off)
		return false, err
	}
	if _, err := f.WriteAt(p, off); err != nil {
		return false, err
	}
	return true, f.Sync()
}
