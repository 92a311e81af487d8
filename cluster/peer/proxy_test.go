package peer

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy stands between dialers and a node, and can be a bad network: frozen, it passes nothing and closes nothing.
type proxy struct {
	ln     net.Listener
	to     string
	frozen atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
	group sync.WaitGroup
	ended chan struct{}
}

// through makes all others reach r by way of a proxy. It must be called before start.
func through(t testing.TB, r *rig) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{ln: ln, to: r.peer.Addr, ended: make(chan struct{})}
	r.peer.Addr = ln.Addr().String()
	p.group.Add(1)
	go p.accept()
	t.Cleanup(p.close)
	return p
}

func (p *proxy) accept() {
	defer p.group.Done()
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		d, err := net.Dial("tcp", p.to)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, c, d)
		p.mu.Unlock()
		p.group.Add(2)
		go p.pump(c, d)
		go p.pump(d, c)
	}
}

func (p *proxy) pump(from, to net.Conn) {
	defer p.group.Done()
	defer from.Close()
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		for p.frozen.Load() {
			select {
			case <-p.ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
		if _, werr := to.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) close() {
	close(p.ended)
	p.ln.Close()
	p.cut()
	p.group.Wait()
}

// clock is the time of day, plus what a test adds.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }
