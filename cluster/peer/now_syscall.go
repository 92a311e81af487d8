//go:build !linux || race

package peer

import "syscall"

// writeNow is write(2) on a socket that does not block. The race detector learns from package syscall that what was written
// comes before what is read of it.
func writeNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }

// readNow is read(2) in the same way.
func readNow(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }
