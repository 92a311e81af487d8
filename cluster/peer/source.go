package peer

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// source reads a connection by system calls that the scheduler does not hear of, if that is a TCP connection with nothing in
// between. Those of package net say that they may block, which they do not: the socket is non-blocking, and waiting for it goes
// through the runtime's poller either way. It belongs to the session's reader.
//
// Each read begins with a system call that often finds nothing. To wait at once where the last one took all there was, frames would have
// to be handled within one RawConn.Read, which at its start forgets that bytes came. But Close waits until that returns, and who closes
// may hold what handling a frame needs (Transport.Close: its mu), or be who handles it.
type source struct {
	conn net.Conn
	raw  syscall.RawConn // nil: reads are conn's
	try  func(fd uintptr) bool

	into []byte // of the read under way
	n    int    // its result
	err  error
}

// readsOn is a connection whose reads are another one's, unchanged; nil if not, as while it holds bytes itself.
type readsOn interface{ ReadsFrom() net.Conn }

func (r *source) init(c net.Conn) {
	r.conn, r.try = c, r.read
	r.raw = socketBelow(c, func(c net.Conn) net.Conn {
		if x, ok := c.(readsOn); ok {
			return x.ReadsFrom()
		}
		return nil
	})
}

// Read is net.Conn's, but for a bound on what the kernel copies meanwhile: about 10 us.
func (r *source) Read(b []byte) (int, error) {
	if r.raw == nil {
		return r.conn.Read(b)
	}
	r.into = b[:min(len(b), readChunk)]
	err := r.raw.Read(r.try)
	r.into = nil
	switch {
	case err != nil:
		return 0, r.failed(err)
	case r.err != nil:
		return 0, r.failed(os.NewSyscallError("read", r.err))
	case r.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// read is one attempt; false says that the connection is to be waited for.
func (r *source) read(fd uintptr) bool {
	for {
		r.n, r.err = readNow(fd, r.into)
		if r.err != syscall.EINTR {
			return r.err != syscall.EAGAIN
		}
	}
}

// failed makes err what package net calls it, with both addresses.
func (r *source) failed(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return &net.OpError{Op: "read", Net: "tcp", Source: r.conn.LocalAddr(), Addr: r.conn.RemoteAddr(), Err: err}
}
