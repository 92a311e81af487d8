package walfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync flushes the file's bytes, and of its metadata only what is needed to read them back. On a
// file whose blocks are written already that is no metadata at all (ANCHORS D.2: 80 against 130-240 us).
//
// Fd leaves the file in blocking mode, which regular files are in anyway. EINTR is retried: it says that
// a signal came before the flush, not that the flush failed.
func fdatasync(f *os.File) error {
	if tried, err := theHeld.sync(f); tried {
		return err
	}
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}

// fallocate reserves blocks. A file system that cannot says so, and gets the space as it is written.
func fallocate(f *os.File, size int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, 0, size); err {
		case unix.EINTR:
		case unix.EOPNOTSUPP, unix.ENOSYS:
			return nil
		default:
			return err
		}
	}
}
