package httpd

import (
	"io"
	"net"
	"os"
	"syscall"
)

// quickSock reads and writes a client's socket by system calls that the scheduler does not hear of. Those of package
// net say that they may block, which neither does here: the socket is non-blocking, and waiting for it to be readable goes
// through the runtime's poller as ever. What is saved is the hand-over of the processor and back, three times a request.
//
// It belongs to the connection's goroutine.
type quickSock struct {
	raw         syscall.RawConn
	read, write func(fd uintptr) bool // try, once for all, so that a call allocates nothing
	buf         []byte                // of the call under way
	n           int                   // its result
	errno       syscall.Errno
}

// newQuickSock returns nil for a connection without a socket of its own (TLS, tests) and where the system calls are not
// known.
func newQuickSock(c net.Conn) *quickSock {
	tcp, ok := c.(*net.TCPConn)
	if !ok || !quickSyscalls {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &quickSock{raw: raw}
	s.read = func(fd uintptr) bool {
		s.n, s.errno = rawRead(fd, s.buf)
		return s.errno != syscall.EAGAIN
	}
	s.write = func(fd uintptr) bool {
		s.n, s.errno = rawWrite(fd, s.buf)
		return true
	}
	return s
}

// Read is net.Conn's, with its deadline.
func (s *quickSock) Read(b []byte) (int, error) {
	s.buf = b
	err := s.raw.Read(s.read)
	s.buf = nil
	switch {
	case err != nil:
		return 0, err
	case s.errno != 0:
		return 0, os.NewSyscallError("read", s.errno)
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// tryWrite writes what the socket takes at once, and returns how much that was; errors show to whoever writes the rest.
func (s *quickSock) tryWrite(b []byte) int {
	s.buf = b
	err := s.raw.Write(s.write)
	s.buf = nil
	if err != nil || s.errno != 0 {
		return 0
	}
	return s.n
}
