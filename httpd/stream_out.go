package httpd

import (
	"errors"
	"net"
	"os"
	"time"
)

// outlet writes to the connection of a stream in bounded time.
//
// The difficulty is the last frame. A client that stalls shall find, when it reads again, everything up to
// some frame and then a close frame that says slow_consumer. By then its socket is full: there is no room for a
// close frame, and perhaps half a frame has been written. So a stream begins with a small send buffer, and when
// the client is given up the buffer is enlarged (the kernel allows that at any time), which makes room for
// the rest of the frame, which is short (wsFragment), and the close frame. Both are then the kernel's to deliver.
//
//	[ ... sent, unread ... | ... frame, cut | rest of the frame | close 1008 ]
//	                         SO_SNDBUF before ^                   ^ room made at the end
//
// On what is not a TCP socket (TLS, tests' pipes) enlarging does nothing: the last write may then time out, and
// the connection is closed without a close frame.
type outlet struct {
	conn   net.Conn
	raw    net.Conn // what conn wraps, for socket options
	buffer int      // SO_SNDBUF at the beginning
	stall  time.Duration
	slice  time.Duration // how often a blocked write looks around
}

// outletReserve is how much the send buffer grows for the last frames: the rest of a fragment, with the
// kernel's overhead for small segments, and a close frame.
const outletReserve = 2 * wsFragment

func (o *outlet) open(conn net.Conn, opt *StreamOptions) {
	o.conn, o.raw = conn, unwrap(conn)
	o.buffer, o.stall = opt.SendBuffer, opt.StallTimeout
	o.slice = max(min(o.stall/4, time.Second), time.Millisecond)
	if t, ok := o.raw.(interface{ SetWriteBuffer(int) error }); ok {
		t.SetWriteBuffer(o.buffer) // best effort: without it the last frame may not fit
	}
}

// unwrap finds the connection that knows socket options below fasthttp's and our own wrappers.
func unwrap(nc net.Conn) net.Conn {
	for {
		switch c := nc.(type) {
		case *conn: // of our listener
			nc = c.Conn
		case interface{ UnsafeConn() net.Conn }: // of fasthttp, hijacked
			nc = c.UnsafeConn()
		case interface{ NetConn() net.Conn }: // of crypto/tls
			nc = c.NetConn()
		default:
			return nc
		}
	}
}

// write writes p; a client that takes something now and then is given six times the stall for each streamBatch
// bytes (546 bytes a second by default). It returns how much of it was written and causeNone if that is all. While it is blocked it
// calls blocked again and again, which may end it with a cause of its own.
func (o *outlet) write(p []byte, blocked func() cause) (written int, c cause) {
	var began, moved time.Time
	patience := 6 * o.stall * time.Duration(1+len(p)/streamBatch)
	for {
		o.conn.SetWriteDeadline(time.Now().Add(o.slice))
		n, err := o.conn.Write(p[written:])
		written += n
		if err == nil {
			return written, causeNone
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, causeGone
		}
		now := time.Now()
		if began.IsZero() {
			began, moved = now.Add(-o.slice), now.Add(-o.slice)
		}
		if n > 0 {
			moved = now
		}
		if c := blocked(); c != causeNone {
			return written, c
		}
		if now.Sub(moved) >= o.stall || now.Sub(began) >= patience {
			return written, causeSlow
		}
	}
}

// last writes the last bytes of a stream and sends FIN. It returns false if they could not be handed to the
// kernel within streamFarewell.
func (o *outlet) last(p []byte) bool {
	if t, ok := o.raw.(interface{ SetWriteBuffer(int) error }); ok {
		t.SetWriteBuffer(o.buffer + outletReserve)
	}
	if len(p) > 0 {
		o.conn.SetWriteDeadline(time.Now().Add(streamFarewell))
		if _, err := o.conn.Write(p); err != nil {
			return false
		}
	}
	// Only our side: closing the whole socket while bytes of the client's are unread would make the kernel
	// send RST and throw away what the client has not yet got.
	if t, ok := o.raw.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite() == nil
	}
	return true
}
