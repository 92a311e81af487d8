//go:build linux && !race

package peer

import (
	"syscall"
	"unsafe"
)

// writeNow is write(2) on a socket that does not block. The scheduler is not told: it would only hand the processor to
// another thread and take it back.
func writeNow(fd uintptr, b []byte) (int, error) { return now(syscall.SYS_WRITE, fd, b) }

// readNow is read(2) in the same way.
func readNow(fd uintptr, b []byte) (int, error) { return now(syscall.SYS_READ, fd, b) }

func now(call, fd uintptr, b []byte) (int, error) {
	n, _, e := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
