//go:build race

package httpd

import "syscall"

// The race detector takes a read for what happens after every write that came before it, but only where it sees both: package
// syscall tells it, raw calls do not, and a test and the server in it would seem to share memory without any order.

const quickSyscalls = true

func rawRead(fd uintptr, b []byte) (int, syscall.Errno)  { return retried(syscall.Read, fd, b) }
func rawWrite(fd uintptr, b []byte) (int, syscall.Errno) { return retried(syscall.Write, fd, b) }

func retried(call func(int, []byte) (int, error), fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, err := call(int(fd), b)
		if err == nil {
			return n, 0
		}
		if e, _ := err.(syscall.Errno); e != syscall.EINTR {
			return 0, e
		}
	}
}
