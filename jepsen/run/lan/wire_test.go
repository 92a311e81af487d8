package lan

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWire: bytes pass both ways, late when it is slow, and not at all when it refuses; afterwards they pass again.
func TestWire(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
	w, err := NewWire("127.0.0.1:0", l.Addr().String())
	require.NoError(t, err)
	defer w.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", w.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
		return c
	}
	echo := func(c net.Conn) error {
		_, err := c.Write([]byte("x"))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		return err
	}
	c := dial()
	require.NoError(t, echo(c))
	w.Slow(40 * time.Millisecond)
	began := time.Now()
	require.NoError(t, echo(c))
	require.GreaterOrEqual(t, time.Since(began), 80*time.Millisecond)
	w.Slow(0)
	w.Refuse(true)
	require.Error(t, echo(c))
	require.Error(t, echo(dial()))
	w.Refuse(false)
	require.NoError(t, echo(dial()))
}
