package peer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lan is a network in memory: time in a synctest bubble stands still while bytes travel on it.
type lan map[string]*pipeListener

type pipeListener struct {
	name   string
	conns  chan net.Conn
	closed chan struct{}
}

func (l lan) listen(name string) *pipeListener {
	p := &pipeListener{name: name, conns: make(chan net.Conn), closed: make(chan struct{})}
	l[name] = p
	return p
}

func (l lan) dial(ctx context.Context, addr string) (net.Conn, error) {
	p := l[addr]
	if p == nil {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipeListener) Addr() net.Addr  { return p }
func (p *pipeListener) Network() string { return "pipe" }
func (p *pipeListener) String() string  { return p.name }

// bubble runs f with a network in memory, in fake time.
func bubble(t *testing.T, f func(t *testing.T, node func(id uint64) *rig)) {
	synctest.Test(t, func(t *testing.T) {
		l := lan{}
		f(t, func(id uint64) *rig {
			return newRigOn(t, id, l.listen(fmt.Sprintf("host%d:1", id)), func(_ *rig, c *Config) { c.Dial = l.dial })
		})
	})
}

// TestIdleForAnHour: connections that nobody uses stay, and whoever asks is told that the others are alive.
func TestIdleForAnHour(t *testing.T) {
	bubble(t, func(t *testing.T, node func(uint64) *rig) {
		a, b := node(1), node(2)
		a.start(a, b)
		b.start(a, b)
		time.Sleep(time.Second)
		for range 3600 {
			time.Sleep(time.Second)
			require.True(t, a.tr.Alive(2) && b.tr.Alive(1))
		}
		require.Zero(t, a.count(a.unreachable, 2)+b.count(b.unreachable, 1))
		var s Stats
		a.tr.Stats(&s)
		require.EqualValues(t, 2, s.Connects)
		require.LessOrEqual(t, s.Control.Writes+s.Data.Writes, uint64(4*2*3601+10), "idle: two pings a second on each connection")
	})
}

// TestHandshakesAreBounded: those who say nothing take up a bounded number of places, for a bounded time, and keep nobody out.
func TestHandshakesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, node func(uint64) *rig) {
		a, b := node(1), node(2)
		open := func() net.Conn {
			c, err := b.tr.cfg.Dial(t.Context(), a.peer.Addr)
			require.NoError(t, err)
			require.NoError(t, requestUpgrade(c, a.peer.Addr))
			return c
		}
		var conns []net.Conn
		for range handshakesMax {
			conns = append(conns, open())
			synctest.Wait() // so that they are in this order
		}
		require.Equal(t, handshakesMax, a.tr.handshakes())
		began := time.Now()
		_, _, err := ask(b, a.peer.Addr)
		require.NoError(t, err)
		require.Empty(t, silence(conns[0]))
		require.Zero(t, time.Since(began), "the oldest made room, at once")
		synctest.Wait()
		require.EqualValues(t, 1, a.tr.refusals.count[ReasonBusy].Load())
		for _, c := range conns {
			require.Empty(t, silence(c))
		}
		require.Equal(t, handshakeTimeout, time.Since(began))
		synctest.Wait()
		require.Zero(t, a.tr.handshakes())
		require.EqualValues(t, handshakesMax-1, a.tr.refusals.count[ReasonTimeout].Load())
		require.Len(t, a.logged("peer_refused"), 2, "one line for each reason")
	})
}

// TestRedialBacksOff: a node that is not there costs at most two attempts a second and lane, and is found within a second.
func TestRedialBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T, node func(uint64) *rig) {
		a := node(1)
		late := Peer{ID: 2, Name: "n2", Incarnation: "inc-n2", Addr: "host2:1"}
		a.start(a, &rig{peer: late})
		time.Sleep(time.Minute)
		n := a.tr.counters.dialErrors.Load()
		time.Sleep(time.Minute)
		n = a.tr.counters.dialErrors.Load() - n
		require.LessOrEqual(t, n, uint64(2*2*60+2))
		require.GreaterOrEqual(t, n, uint64(2*60-2))
		require.Len(t, a.logged("peer_connect_failed"), 2)
		b := node(2)
		b.start(a, b)
		time.Sleep(50 * time.Millisecond) // it dials, and so is dialed
		require.True(t, a.tr.Alive(2) && b.tr.Alive(1))
	})
}

// TestFlappingBacksOff: a connection that is lost as soon as it is up is not dialed in a loop.
func TestFlappingBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T, node func(uint64) *rig) {
		a := node(1)
		ln := lan{}.listen("x")
		defer ln.Close()
		a.tr.cfg.Dial = lan{"host2:1": ln}.dial
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
				h := Hello{ClusterID: testCluster, ID: 2, Name: "n2", Incarnation: "inc-n2"}
				_, _, err = a.as(h, "correct horse").accept(c, func(Hello, lane) verdict { return welcome })
				if err != nil {
					t.Error(err)
				}
				c.Close()
			}
		}()
		a.start(&rig{peer: Peer{ID: 2, Name: "n2", Incarnation: "inc-n2", Addr: "host2:1"}})
		time.Sleep(time.Minute)
		var s Stats
		a.tr.Stats(&s)
		require.Positive(t, s.Connects)
		attempts := s.Connects + s.DialErrors // a pipe closed early enough is an error already
		require.LessOrEqual(t, attempts, uint64(2*2*60+20))
		require.GreaterOrEqual(t, attempts, uint64(2*60-2))
		require.LessOrEqual(t, a.count(a.unreachable, 2), 130)
	})
}

// TestTimeouts: calls, exchanges and dials end when they should with a node that is stopped: it accepts and says nothing.
func TestTimeouts(t *testing.T) {
	bubble(t, func(t *testing.T, node func(uint64) *rig) {
		a, b := node(1), node(2)
		a.start(a, b)
		b.start(a, b)
		leave := make(chan struct{})
		b.tr.cfg.Serve = func(_ uint64, _ uint8, _, dst []byte) []byte { <-leave; return dst }
		time.Sleep(time.Second)
		began := time.Now()
		_, err := a.tr.Call(2, 1, nil, nil, 300*time.Millisecond)
		require.ErrorIs(t, err, ErrTimeout)
		require.InDelta(t, 300, time.Since(began).Milliseconds(), float64(sweepEvery.Milliseconds()))
		close(leave)

		stopped := lan{}.listen("x")
		defer stopped.Close()
		hold := make(chan net.Conn, 10)
		go func() {
			for {
				c, err := stopped.Accept()
				if err != nil {
					return
				}
				hold <- c
			}
		}()
		a.tr.cfg.Dial = lan{"stopped:1": stopped}.dial
		began = time.Now()
		_, _, err = ask(a, "stopped:1")
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, handshakeTimeout, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		_, _, err = a.tr.Ask(ctx, "stopped:1", nil)
		require.Error(t, err)
		require.Equal(t, time.Second, time.Since(began))
		for len(hold) > 0 {
			(<-hold).Close()
		}
	})
}
