package walfs

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cachedShare: a file of which less than one page in so many is in the page cache is read past it. What is not there would
// have to be allocated, filled and copied from, for nobody to look at again: a third of what reading costs the processor.
const cachedShare = 8

// OpenOnce implements OnceOpener.
func (osFS) OpenOnce(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if mostlyCached(f) {
		return &osFile{f: f}, nil
	}
	direct, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return &osFile{f: f}, nil // a file system without it
	}
	return onceFile{&osFile{f: f}, direct}, nil
}

// onceFile reads whole blocks past the page cache, and all else through it.
type onceFile struct {
	*osFile
	direct *os.File
}

func (o onceFile) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off%DirectAlign == 0 && len(p) > 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%DirectAlign == 0 {
		whole := len(p) &^ (DirectAlign - 1)
		var err error
		if n, err = o.direct.ReadAt(p[:whole], off); n == len(p) || n < whole && !errors.Is(err, unix.EINVAL) {
			return n, err
		}
	}
	m, err := o.osFile.ReadAt(p[n:], off+int64(n))
	return n + m, err
}

func (o onceFile) Close() error { return errors.Join(o.direct.Close(), o.osFile.Close()) }

// mostlyCached says whether more than one page in cachedShare is in the page cache, or nobody knows.
func mostlyCached(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return true
	}
	page := int64(os.Getpagesize())
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return true
	}
	defer func() { _ = unix.Munmap(m) }() // nothing was written
	pages := make([]byte, (st.Size()+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)),
		uintptr(unsafe.Pointer(unsafe.SliceData(pages)))); errno != 0 {
		return true
	}
	in := 0
	for _, p := range pages {
		in += int(p & 1)
	}
	return in*cachedShare > len(pages)
}
