package wal

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arrivals lets a goroutine wait until everybody whose socket has something by now is there to run, and no longer.
//
// It waits for a descriptor of its own, as one does for a socket, and makes it ready when it has begun to. So the scheduler runs
// whoever is there to run, asks the system which descriptors are ready, and is told of this one behind all that were ready
// before it (epoll keeps them in that order, and Go takes each once). No other goroutine has to do anything for it. Where there
// always is something else to run, Go's monitor thread asks in its place, every 10 ms: that bounds the wait.
//
// It belongs to the writer.
type arrivals struct {
	asked bool // for the descriptor
	file  *os.File
	raw   syscall.RawConn       // its own; nil: it is not to be had
	try   func(fd uintptr) bool // once for all, so that a call allocates nothing
	made  bool                  // ready, in the wait under way
	buf   [8]byte
}

// open says whether wait can be called.
func (a *arrivals) open() bool {
	if !a.asked {
		a.asked = true
		if fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err == nil {
			a.file, a.try = os.NewFile(uintptr(fd), "arrivals"), a.attempt
			a.raw, _ = a.file.SyscallConn() // nil if it fails
		}
	}
	return a.raw != nil
}

// attempt is RawConn's: false says that the descriptor is to be waited for. Neither system call can block.
func (a *arrivals) attempt(fd uintptr) bool {
	if a.made {
		_, _, _ = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&a.buf)), 8) // not ready any more
		return true
	}
	a.made = true
	a.buf = [8]byte{1}
	n, _, _ := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&a.buf)), 8)
	return n != 8 // it will not become ready
}

func (a *arrivals) wait() {
	a.made = false
	_ = a.raw.Read(a.try) // fails where the system has no way to wait for such a descriptor: then there was none
}

func (a *arrivals) close() {
	if a.file != nil {
		_ = a.file.Close() // there is nothing in it
	}
}
