package main

import (
	"io/fs"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	hugePage = 2 << 20
	// hugeFloor is a recovery that is not worth the trouble.
	hugeFloor = 32 << 20
	// hugeShare of the memory is all that is prepared.
	hugeShare = 0.5
)

// recoverIntoHugePages has the heap grow into huge pages while the state in dir is rebuilt: a state of 300 MB is 80,000
// page faults otherwise, a third of the processor time of a restart. Go does not ask for them, and the system gives them to
// those who ask only (transparent_hugepage/enabled: madvise). So an object as large as the state will be is made and
// dropped untouched: its addresses, by then marked, are what the heap hands out next. done takes the mark off, so that the
// system leaves the heap alone from then on: what is in huge pages stays, but nothing is gathered into them.
//
// It is a matter of speed only; whatever fails leaves ordinary pages.
func recoverIntoHugePages(dir string) (done func()) {
	size := stateBytes(dir)
	if total := memoryTotal(); total > 0 {
		size = min(size, int64(float64(total)*hugeShare))
	}
	if size < hugeFloor {
		return func() {}
	}
	object := make([]byte, size)
	from := uintptr(unsafe.Pointer(unsafe.SliceData(object)))
	skip := -from & (hugePage - 1)
	length := (uintptr(size) - skip) &^ (hugePage - 1)
	marked := object[skip : skip+length]
	if unix.Madvise(marked, unix.MADV_HUGEPAGE) != nil {
		return func() {}
	}
	from += skip
	object, marked = nil, nil
	runtime.GC()
	return func() { _, _, _ = unix.Syscall(unix.SYS_MADVISE, from, length, unix.MADV_NOHUGEPAGE) }
}

// stateBytes is about what the state will take that the files of dir lead to: the log holds it with a little more around
// each message than memory does, snapshots hold it in half the space.
func stateBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		switch filepath.Ext(path) {
		case ".wal":
			n += info.Size() + info.Size()/4
		case ".snap":
			n += 2 * info.Size()
		}
		return nil
	})
	return n
}
