package lan

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// namespaces is why there are none here.
var namespaces error

func TestMain(m *testing.M) {
	inside, code, err := Sandbox()
	switch {
	case err != nil:
		namespaces = err
		fmt.Fprintln(os.Stderr, "NO NAMESPACES HERE: the switch is not tested, and jepsen/run uses proxies:", err)
	case !inside:
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestProxies: connections travel between loopback addresses, and each kind of bad link shows.
func TestProxies(t *testing.T) {
	const port = 4321
	p, err := NewProxies(1, 2, port)
	require.NoError(t, err)
	defer p.Close()
	l, err := net.Listen("tcp", netip.AddrPortFrom(p.Addr(2), port).String())
	require.NoError(t, err)
	defer l.Close()
	go func() { // an echo
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.Addr(1).AsSlice()}}
	c, err := d.Dial("tcp", netip.AddrPortFrom(p.Front(2), port).String())
	require.NoError(t, err)
	defer c.Close()
	// echo says whether what is sent now comes back within a moment, or after waiting for so long.
	echo := func(wait time.Duration) bool {
		_, err := c.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(wait)))
		_, err = io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	const patience = 30 * time.Second
	require.True(t, echo(patience))
	for _, cut := range [][2]int{{1, 2}, {2, 1}} {
		p.Set(cut[0], cut[1], Link{Cut: true})
		require.False(t, echo(200*time.Millisecond), "cut")
		p.Heal()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err, "it comes when the link is good again")
	}
	p.Both(1, 2, Link{Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond})
	began := time.Now()
	require.True(t, echo(patience))
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
	p.Both(1, 2, Link{Loss: 1})
	began = time.Now()
	require.True(t, echo(patience))
	require.GreaterOrEqual(t, time.Since(began), 2*retransmit)
	require.Positive(t, p.Stats().Lost)

	p.Set(1, 2, Link{Cut: true})
	late, err := d.Dial("tcp", netip.AddrPortFrom(p.Front(2), port).String())
	require.NoError(t, err)
	defer late.Close()
	nobody, err := net.Dial("tcp", netip.AddrPortFrom(p.Front(2), port).String())
	require.NoError(t, err)
	defer nobody.Close()
	c = nobody
	require.True(t, echo(patience), "whose source is unknown is not cut")
	c = late
	require.False(t, echo(200*time.Millisecond), "a connection that is made over a cut link")
}

// TestLinks: packets travel between namespaces, and each kind of bad link shows.
func TestLinks(t *testing.T) {
	if namespaces != nil {
		t.Skip(namespaces)
	}
	s := NewSwitch(1)
	a, err := NewHost(s, 1)
	require.NoError(t, err)
	defer a.Close()
	b, err := NewHost(s, 2)
	require.NoError(t, err)
	defer b.Close()
	leave, err := Join(s, 100)
	require.NoError(t, err)
	defer leave()

	listen := func(h *Host) (c *net.UDPConn) {
		h.Do(func() { c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: Addr(h.ID).AsSlice(), Port: 9}) })
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	ca, cb := listen(a), listen(b)
	// arrives counts how many of n packets get through: least, however long they take, and those that follow soon.
	arrives := func(from, to *net.UDPConn, n, least int) (got int) {
		for range n {
			_, err := from.WriteToUDP([]byte("x"), to.LocalAddr().(*net.UDPAddr))
			require.NoError(t, err)
		}
		buf := make([]byte, 10)
		for {
			wait := 300 * time.Millisecond
			if got < least {
				wait = 30 * time.Second
			}
			require.NoError(t, to.SetReadDeadline(time.Now().Add(wait)))
			if _, err := to.Read(buf); err != nil {
				return got
			}
			got++
		}
	}
	const n = 50
	require.Equal(t, n, arrives(ca, cb, n, n))
	s.Set(1, 2, Link{Cut: true})
	require.Equal(t, 0, arrives(ca, cb, n, 0), "cut")
	require.Equal(t, n, arrives(cb, ca, n, n), "one way only")
	s.Set(1, 2, Link{Loss: 0.5})
	got := arrives(ca, cb, n, 1)
	require.True(t, 0 < got && got < n, "%d of %d arrived over a lossy link", got, n)
	s.Set(1, 2, Link{Duplicate: 1})
	require.Equal(t, 2*n, arrives(ca, cb, n, 2*n))
	s.Set(1, 2, Link{Delay: 150 * time.Millisecond})
	began := time.Now()
	require.Equal(t, 1, arrives(ca, cb, 1, 1))
	require.GreaterOrEqual(t, time.Since(began), 150*time.Millisecond)
	s.Heal()
	require.Equal(t, n, arrives(ca, cb, n, n))

	own, err := net.Dial("udp4", "10.77.0.2:9") // from this process' namespace
	require.NoError(t, err)
	require.Equal(t, Addr(100).String(), own.LocalAddr().(*net.UDPAddr).IP.String())
	require.NoError(t, own.Close())
}
