package load

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// The generator talks to the kernel directly: on the two cores that client and server share, every microsecond that
// the client spends is one that the server does not get. Sockets never block, so the raw form of the system calls is
// safe; only waiting goes through the scheduler.

const (
	sysEpollPwait2  = 441 // the same on every architecture
	prSetTimerSlack = 29
	epollET         = 1 << 31
)

// dial connects a non-blocking TCP socket without Nagle's delay.
func dial(addr netip.AddrPort) (fd int, err error) {
	if !addr.Addr().Is4() {
		return -1, fmt.Errorf("load: %s is not an IPv4 address", addr)
	}
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("load: socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = syscall.Close(fd)
		}
	}()
	if err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return -1, fmt.Errorf("load: connect %s: %w", addr, err)
	}
	if err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return -1, fmt.Errorf("load: TCP_NODELAY: %w", err)
	}
	if err = syscall.SetNonblock(fd, true); err != nil {
		return -1, fmt.Errorf("load: non-blocking: %w", err)
	}
	return fd, nil
}

func rawRead(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

func rawWrite(fd int32, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

// epollWait waits for events, at most d, with the resolution of nanoseconds that an open loop needs.
func epollWait(ep int, events []syscall.EpollEvent, d time.Duration) (int, error) {
	ts := syscall.NsecToTimespec(int64(max(d, 0)))
	n, _, e := syscall.Syscall6(sysEpollPwait2, uintptr(ep), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if e == syscall.EINTR {
		return 0, nil
	}
	if e != 0 {
		return 0, fmt.Errorf("load: epoll_pwait2: %w", e)
	}
	return int(n), nil
}

// timerSlack sets by how much the kernel may let this thread's timers oversleep; 0 restores the default (50 us).
func timerSlack(d time.Duration) {
	// Best effort: without it an open loop's sends are up to 50 us late, and counted so.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, uintptr(d), 0)
}

// threadCPU is the CPU time of the calling thread.
func threadCPU() time.Duration {
	var ru syscall.Rusage
	const rusageThread = 1
	if err := syscall.Getrusage(rusageThread, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
