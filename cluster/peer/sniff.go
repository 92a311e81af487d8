package peer

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// recordHandshake is the first byte of every TLS connection (RFC 8446, section 5.1), and of no HTTP request.
const recordHandshake = 0x16

// SniffTLS serves TLS and plain connections on one listener, told apart by the first byte that the client sends. The byte is
// waited for in the first Read, under the deadlines of the connection, and never in Accept. A nil cfg returns ln.
func SniffTLS(ln net.Listener, cfg *tls.Config) net.Listener {
	if cfg == nil {
		return ln
	}
	return &sniffer{Listener: ln, cfg: cfg}
}

type sniffer struct {
	net.Listener
	cfg *tls.Config
}

// Accept returns the next connection, of which it is not known yet whether it speaks TLS.
func (l *sniffer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffed{Conn: c, cfg: l.cfg}, nil
}

// sniffed is a connection that becomes what its first byte says. The embedded Conn is the plain one: addresses and deadlines
// are its own in either case.
type sniffed struct {
	net.Conn
	cfg *tls.Config

	mu sync.Mutex               // held while the first byte is waited for
	c  atomic.Pointer[net.Conn] // what reads and writes go to, set once; nil: not known yet
}

// unread is a connection whose first byte was read already.
type unread struct {
	net.Conn
	first []byte
}

func (u *unread) Read(b []byte) (int, error) {
	if len(u.first) > 0 && len(b) > 0 {
		n := copy(b, u.first)
		u.first = u.first[n:]
		return n, nil
	}
	return u.Conn.Read(b)
}

// decide waits for the first byte if it has not come yet.
func (s *sniffed) decide() (net.Conn, error) {
	if c := s.WritesTo(); c != nil {
		return c, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.WritesTo(); c != nil {
		return c, nil
	}
	var first [1]byte
	for {
		n, err := s.Conn.Read(first[:])
		if n == 1 {
			break
		}
		if err != nil {
			return nil, err // as a deadline: the next Read tries again
		}
	}
	var c net.Conn = &unread{Conn: s.Conn, first: first[:]}
	if first[0] == recordHandshake {
		c = tls.Server(c, s.cfg)
	}
	s.c.Store(&c)
	return c, nil
}

// decided returns what the connection is, as far as is known: plain until the first byte has come. It asks nobody's leave: once
// a connection is known to speak TLS, not a byte is written to it in the plain, whatever else goes on at it.
func (s *sniffed) decided() net.Conn {
	if c := s.WritesTo(); c != nil {
		return c
	}
	return s.Conn
}

// Read reads, after having found out what the connection is.
func (s *sniffed) Read(b []byte) (int, error) {
	c, err := s.decide()
	if err != nil {
		return 0, err
	}
	return c.Read(b)
}

// WritesTo says where writes go; nil: not known yet.
func (s *sniffed) WritesTo() net.Conn {
	if c := s.c.Load(); c != nil {
		return *c
	}
	return nil
}

// ReadsFrom says where reads come from, likewise.
func (s *sniffed) ReadsFrom() net.Conn { return s.WritesTo() }

// ReadsFrom says where reads come from, once the first byte has been read; and not while somebody reads.
func (u *unread) ReadsFrom() net.Conn {
	if len(u.first) > 0 {
		return nil
	}
	return u.Conn
}

// WritesTo says where writes go.
func (u *unread) WritesTo() net.Conn { return u.Conn }

// Write writes; plain, if the client has not said anything yet: a server that speaks first refuses the connection.
func (s *sniffed) Write(b []byte) (int, error) { return s.decided().Write(b) }

// Close closes the connection, with TLS's goodbye where there is TLS.
func (s *sniffed) Close() error { return s.decided().Close() }

// CloseWrite says that nothing more will be written.
func (s *sniffed) CloseWrite() error {
	c := s.decided()
	if u, ok := c.(*unread); ok {
		c = u.Conn
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}
