package httpd

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// lingerTime and lingerBytes bound what is read and thrown away after an answer that came before its
	// request was read in full. Closing with unread bytes would make the kernel send a reset, which can
	// destroy the answer before the client has seen it (RFC 9112, section 9.6).
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
	// maxRejecting bounds the goroutines that turn connections away.
	maxRejecting = 64
	// peerReserve connections beyond MaxConns are there for other nodes only, so that clients who take all of them do not
	// cut the cluster in pieces: 4 nodes with 4 lanes each, and as many once more to come again. Whoever gets one
	// has reserveWait to say that it is a node.
	peerReserve = 32
	reserveWait = 2 * time.Second
	// acceptPauseMax is the longest pause after a failed accept, as when file descriptors run out.
	acceptPauseMax = time.Second
)

// listener counts connections, turns away those beyond the limit with a JSON answer, and survives
// passing failures of accept, on which fasthttp would give up.
type listener struct {
	net.Listener
	s *Server

	rejecting chan struct{} // a token for each goroutine in reject
	group     sync.WaitGroup
	closed    chan struct{}
	once      sync.Once
	period    time.Duration // between two sweeps
	clock     atomic.Int64  // elapsed ns at the last sweep
	began     time.Time     // see elapsed
	swept     chan struct{} // closed when the connections are, by closeConns
	sweptOnce sync.Once

	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newListener(s *Server, ln net.Listener) *listener {
	l := &listener{
		Listener: ln, s: s,
		rejecting: make(chan struct{}, maxRejecting),
		closed:    make(chan struct{}),
		swept:     make(chan struct{}),
		conns:     make(map[*conn]struct{}),
		began:     time.Now(),
		period:    sweepEvery(s.cfg.ReadTimeout, s.cfg.WriteTimeout, s.cfg.IdleTimeout),
	}
	l.group.Add(1)
	go l.sweep()
	return l
}

// Accept returns the next connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if !passing(err) {
				return nil, err
			}
			l.s.log.Line(LevelWarn, "accept_failed").Str("error", err.Error()).Int("pause_ms", pause.Milliseconds()).
				Send("a connection could not be accepted; if descriptors ran out, raise the limit of open files or lower the limit of connections")
			select {
			case <-time.After(pause):
			case <-l.closed:
			}
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		pause = 5 * time.Millisecond
		l.s.metrics.accepted.Inc()
		beyond := l.s.metrics.connections.Add(1) - int64(l.s.cfg.MaxConns)
		if beyond > peerReserve || beyond > 0 && l.s.cfg.Peer == nil {
			l.s.metrics.connections.Add(-1)
			l.reject(c)
			continue
		}
		wrapped := &conn{Conn: c, l: l, reserved: beyond > 0}
		wrapped.quick.sock = newQuickSock(c)
		l.mu.Lock()
		l.conns[wrapped] = struct{}{}
		l.mu.Unlock()
		return wrapped, nil
	}
}

// passing says whether a failed accept is worth trying again: out of descriptors or memory, or a
// connection that was gone before it was accepted.
func passing(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Close stops accepting. It may be called again, as Shutdown and fasthttp both do.
func (l *listener) Close() (err error) {
	l.once.Do(func() {
		err = l.Listener.Close()
		close(l.closed)
	})
	return err
}

// closeQuick closes the connections that wait for a request in the quick way, where fasthttp does not see that they are
// idle.
func (l *listener) closeQuick() {
	l.mu.Lock()
	var idle []*conn
	for c := range l.conns {
		if c.quick.at.CompareAndSwap(quickWaiting, quickClosed) {
			idle = append(idle, c)
		}
	}
	l.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// closeConns closes what is still open, and waits for the goroutines of the listener.
func (l *listener) closeConns() {
	l.sweptOnce.Do(func() { close(l.swept) })
	l.mu.Lock()
	open := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Conn.Close()
	}
	l.group.Wait()
}

const overloadedMessage = "this node has as many connections as it takes; close idle ones or retry after a pause"

const overloadedAnswer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: "

// reject answers 503 overloaded, without waiting for the request, and closes.
func (l *listener) reject(c net.Conn) {
	const body = `{"error":"overloaded","message":"` + overloadedMessage + `"}`
	answer := overloadedAnswer + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	l.s.metrics.observe(routeNone, errOverloaded.status, 0)
	select {
	case l.rejecting <- struct{}{}:
	default:
		c.Close()
		return
	}
	l.group.Add(1)
	go func() {
		defer l.group.Done()
		defer func() { <-l.rejecting }()
		defer c.Close()
		c.SetDeadline(time.Now().Add(lingerTime))
		if _, err := io.WriteString(c, answer); err == nil {
			drain(c, lingerTime/4)
		}
	}()
}

// conn is a connection that is counted, and closes gently when told to.
type conn struct {
	net.Conn
	l      *listener
	linger atomic.Bool
	once   sync.Once

	read, write lazyDeadline
	direct      atomic.Bool // deadlines go to the connection at once: it belongs to a stream
	reserved    bool        // beyond MaxConns: for other nodes
	peer        atomic.Bool // another node's: its bytes are not a client's, and it is read by way of peerConn only

	quick quick
}

func (c *conn) Read(b []byte) (int, error) {
	if c.quick.boundary && !c.direct.Load() {
		return c.readQuick(b)
	}
	if c.peer.Load() {
		return 0, errNoneBuffered
	}
	n, err := c.Conn.Read(b)
	c.l.s.metrics.bytesIn.Add(n)
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if !c.direct.Load() {
		c.write.set(c.l.after(c.l.s.cfg.WriteTimeout), c.Conn.SetWriteDeadline)
	}
	n, err := c.Conn.Write(b)
	c.write.at.Store(0)
	if !c.peer.Load() {
		c.l.s.metrics.bytesOut.Add(n)
	}
	return n, err
}

// Close closes the connection; after linger, once the client has stopped sending or had its time.
func (c *conn) Close() (err error) {
	if c.quick.at.Load() == quickServing {
		return nil // fasthttp, which is told to stop, takes it for idle; it ends after the answer
	}
	c.once.Do(func() {
		if c.linger.Load() {
			drain(c.Conn, lingerTime)
		}
		err = c.Conn.Close()
		c.l.mu.Lock()
		delete(c.l.conns, c)
		c.l.mu.Unlock()
		c.l.s.metrics.connections.Add(-1)
	})
	return err
}

// drain says that nothing more will be written and reads what still comes, within bounds.
func drain(c net.Conn, wait time.Duration) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(wait))
	io.Copy(io.Discard, io.LimitReader(c, lingerBytes))
}

// reserved says whether the request of ctx came over a connection that is there for other nodes only, now.
func (s *Server) reserved(ctx *fasthttp.RequestCtx) bool {
	if s.metrics.connections.Load() <= int64(s.cfg.MaxConns) {
		return false
	}
	c, ok := ctx.Conn().(*conn)
	return ok && c.reserved
}

// linger makes the connection of ctx close gently: its request has not been read in full.
func linger(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}
