package httpd

import (
	"net"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), which package syscall does not name.
const tcpUserTimeout = 0x12

// setUserTimeout makes the kernel give up a connection whose peer has not acknowledged anything for d. It is how
// a dead SSE client is noticed: it never speaks, and the pings to it fit into the send buffer for hours.
func setUserTimeout(conn net.Conn, d time.Duration) {
	t, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := t.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d/time.Millisecond))
		})
	}
}
