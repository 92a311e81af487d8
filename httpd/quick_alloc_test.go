//go:build !race

package httpd

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// endless is a client that sends the same request for ever, count times.
type endless struct {
	script
	request []byte
	count   int
}

func (c *endless) Read(b []byte) (int, error) {
	if c.count == 0 {
		return 0, net.ErrClosed
	}
	c.count--
	return copy(b, c.request), nil
}

func (c *endless) Write(b []byte) (int, error) { return len(b), nil }

// TestQuickAllocatesNothing from the bytes of the request to those of the answer.
func TestQuickAllocatesNothing(t *testing.T) {
	s := New(Config{Store: &ackStore{memoryStore: newMemoryStore()}, Counter: testCounter(t), APIKey: "key"})
	g := &rig{t: t, auth: "key"}
	from := &endless{request: []byte(g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("word ", 40))+`}`))}
	c := &conn{Conn: from, l: &listener{s: s, period: time.Second}}
	b := make([]byte, readBufferSize)
	run := func() {
		from.count = 10
		c.quick.boundary = true
		if n, err := c.Read(b); n != 0 || err == nil || from.count != 0 {
			t.Fatal(n, err, from.count)
		}
	}
	run()
	require.Zero(t, testing.AllocsPerRun(100, run))
}
