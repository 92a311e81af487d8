package lan

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	inside, code, err := Sandbox()
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need root, or user namespaces:", err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestLinks: packets travel between namespaces, and each kind of bad link shows.
func TestLinks(t *testing.T) {
	s := NewSwitch(1)
	a, err := NewHost(s, 1)
	require.NoError(t, err)
	defer a.Close()
	b, err := NewHost(s, 2)
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, Join(s, 100))

	listen := func(h *Host) (c *net.UDPConn) {
		h.Do(func() { c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: Addr(h.ID).AsSlice(), Port: 9}) })
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	ca, cb := listen(a), listen(b)
	// arrives counts how many of n packets get through.
	arrives := func(from, to *net.UDPConn, n int) (got int) {
		for range n {
			_, err := from.WriteToUDP([]byte("x"), to.LocalAddr().(*net.UDPAddr))
			require.NoError(t, err)
		}
		buf := make([]byte, 10)
		for {
			require.NoError(t, to.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
			if _, err := to.Read(buf); err != nil {
				return got
			}
			got++
		}
	}
	const n = 50
	require.Equal(t, n, arrives(ca, cb, n))
	s.Set(1, 2, Link{Cut: true})
	require.Equal(t, 0, arrives(ca, cb, n), "cut")
	require.Equal(t, n, arrives(cb, ca, n), "one way only")
	s.Set(1, 2, Link{Loss: 0.5})
	got := arrives(ca, cb, n)
	require.True(t, 0 < got && got < n, "%d of %d arrived over a lossy link", got, n)
	s.Set(1, 2, Link{Duplicate: 1})
	require.Equal(t, 2*n, arrives(ca, cb, n))
	s.Set(1, 2, Link{Delay: 150 * time.Millisecond})
	began := time.Now()
	require.Equal(t, 1, arrives(ca, cb, 1))
	require.GreaterOrEqual(t, time.Since(began), 150*time.Millisecond)
	s.Heal()
	require.Equal(t, n, arrives(ca, cb, n))

	own, err := net.Dial("udp4", "10.77.0.2:9") // from this process' namespace
	require.NoError(t, err)
	require.Equal(t, Addr(100).String(), own.LocalAddr().(*net.UDPAddr).IP.String())
	require.NoError(t, own.Close())
}
