//go:build !race

package httpd

import (
	"syscall"
	"unsafe"
)

const quickSyscalls = true

func rawRead(fd uintptr, b []byte) (int, syscall.Errno) {
	return again(func() (uintptr, syscall.Errno) {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return n, e
	})
}

func rawWrite(fd uintptr, b []byte) (int, syscall.Errno) {
	return again(func() (uintptr, syscall.Errno) {
		n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return n, e
	})
}

// again repeats a call that a signal interrupted.
func again(call func() (uintptr, syscall.Errno)) (int, syscall.Errno) {
	for {
		n, e := call()
		switch e {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}
