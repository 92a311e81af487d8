package peer

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	rnd "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stranger opens a connection to r up to the 101.
func stranger(t testing.TB, r *rig) net.Conn {
	c, err := net.Dial("tcp", r.peer.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	require.NoError(t, requestUpgrade(c, r.peer.Addr))
	return c
}

func (r *rig) as(h Hello, secret string) *party {
	return &party{self: h, secret: []byte(secret), entropy: rand.Reader}
}

// silence reads what is still said until the connection ends.
func silence(c net.Conn) []byte {
	all, _ := io.ReadAll(c)
	return all
}

// TestStrangers: whoever is not a node of the cluster is refused, gets nothing but a nonce before it has proved the secret,
// is logged once, and changes nothing.
func TestStrangers(t *testing.T) {
	right := Hello{ClusterID: testCluster, ID: 2, Name: "n2", Incarnation: "inc-n2"}
	with := func(edit func(*Hello)) Hello { h := right; edit(&h); return h }
	dial := func(secret string, l lane, h Hello) func(t *testing.T, r *rig, c net.Conn) {
		return func(t *testing.T, r *rig, c net.Conn) {
			_, err := r.as(h, secret).dial(c, l)
			require.Error(t, err)
			require.Empty(t, silence(c))
		}
	}
	const secret = "correct horse"
	bytesOf := func(b []byte, answers int) func(t *testing.T, r *rig, c net.Conn) {
		return func(t *testing.T, r *rig, c net.Conn) {
			_, err := c.Write(b)
			require.NoError(t, err)
			require.NoError(t, c.(*net.TCPConn).CloseWrite())
			require.Len(t, silence(c), answers)
		}
	}
	hello := func(edit func([]byte)) []byte {
		g := greeting{Hello: right, lane: laneData}
		b := g.append(nil)
		edit(b)
		return appendFrame(nil, kindHello, b)
	}
	const challenge = frameHeader + 4 + 1 + nonceSize
	for _, c := range []struct {
		name   string
		reason Reason
		try    func(t *testing.T, r *rig, c net.Conn)
	}{
		{"no secret", ReasonSecret, dial("", laneData, right)},
		{"wrong secret", ReasonSecret, dial("correct horsf", laneControl, right)},
		{"other cluster", ReasonCluster, dial(secret, laneControl, with(func(h *Hello) { h.ClusterID = "other" }))},
		{"no cluster", ReasonCluster, dial(secret, laneBulk, with(func(h *Hello) { h.ClusterID = "" }))},
		{"unknown id", ReasonUnknown, dial(secret, laneData, with(func(h *Hello) { h.ID = 77 }))},
		{"wiped disk", ReasonUnknown, dial(secret, laneData, with(func(h *Hello) { h.Incarnation = "new" }))},
		{"this node's id", ReasonUnknown, dial(secret, laneData, with(func(h *Hello) { h.ID = 1 }))},
		{"copied directory", ReasonSelf, dial(secret, laneData, with(func(h *Hello) { h.Incarnation = "inc-n1" }))},
		{"old version", ReasonVersion, bytesOf(hello(func(b []byte) { b[4] = 0 }), challenge)},
		{"new version", ReasonVersion, bytesOf(hello(func(b []byte) { b[4] = protocolVersion + 1 }), challenge)},
		{"other magic", ReasonGarbage, bytesOf(hello(func(b []byte) { b[0] = 'X' }), 0)},
		{"no lane", ReasonGarbage, bytesOf(hello(func(b []byte) { b[5] = 99 }), 0)},
		{"hello cut short", ReasonGarbage, bytesOf(hello(func([]byte) {})[:30], 0)},
		{"gone after the hello", ReasonGarbage, bytesOf(hello(func([]byte) {}), challenge)},
		{"no hello", ReasonGarbage, bytesOf(appendFrame(nil, kindMessages, []byte("x")), 0)},
		{"long frame", ReasonGarbage, bytesOf(appendFrame(nil, kindHello, make([]byte, maxHandshakeFrame)), 0)},
		{"http", ReasonGarbage, bytesOf([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 0)},
		{"zeros", ReasonGarbage, bytesOf(make([]byte, 4096), 0)},
		{"nothing", ReasonGarbage, bytesOf(nil, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := newRig(t, 1, nil), newRig(t, 2, nil)
			a.start(a, b) // b is not started: it does not dial
			for range 3 {
				conn := stranger(t, a)
				c.try(t, a, conn)
				conn.Close()
			}
			eventually(t, "three refusals", func() bool { return a.tr.refusals.count[c.reason].Load() == 3 })
			lines := a.logged("peer_refused")
			require.Len(t, lines, 1, "logged once")
			require.Contains(t, lines[0], "reason "+c.reason.String())
			require.NotContains(t, lines[0], secret)
			require.Empty(t, a.messages())
			require.Zero(t, a.count(a.unreachable, 2)+a.count(a.down, 2))
			require.Zero(t, a.tr.handshakes())
		})
	}
}

func (t *Transport) handshakes() int { t.mu.Lock(); defer t.mu.Unlock(); return len(t.handshaking) }

// TestEarlyAndEmpty: before Start only exchanges work; an empty secret is a secret like another.
func TestEarlyAndEmpty(t *testing.T) {
	noSecret := func(_ *rig, c *Config) { c.Secret = nil }
	a := newRig(t, 1, noSecret)
	b := newRig(t, 2, nil)
	_, err := a.as(Hello{ID: 2, Incarnation: "inc-n2"}, "").dial(stranger(t, a), laneData)
	require.ErrorIs(t, err, refusedError(refusedEarly))
	_, err = a.as(Hello{Incarnation: "inc-n2"}, "").dial(stranger(t, a), laneAsk)
	require.NoError(t, err)
	_, _, err = ask(b, a.peer.Addr)
	require.ErrorIs(t, err, errNoWelcome)
	_, _, err = ask(a, b.peer.Addr)
	require.ErrorIs(t, err, errNoWelcome)
	c, d := pair(t, noSecret)
	_, err = c.tr.Call(d.peer.ID, 1, nil, nil, time.Minute)
	require.NoError(t, err)
}

// TestDialerIsCareful: the dialer believes nobody who does not prove the secret, and says who it was that answered.
func TestDialerIsCareful(t *testing.T) {
	a := newRig(t, 1, nil)
	fake := func(answer func(c net.Conn)) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				answer(c)
				c.Close()
			}
		}()
		return ln.Addr().String()
	}
	upgrade := func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		_, _ = expect(c, kindHello)
	}
	challenge := func(version byte) []byte {
		return appendFrame(nil, kindChallenge, append(append([]byte(magic), version), make([]byte, nonceSize)...))
	}
	g := greeting{Hello: Hello{ClusterID: testCluster, ID: 2, Incarnation: "inc-n2"}, lane: laneAsk}
	for _, x := range []struct {
		name, want string
		answer     func(c net.Conn)
	}{
		{"not http", "not a fastpaca node", func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("SSH-2.0 ", 500)) }},
		{"http", `"HTTP/1.1 404 Not Found"`, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}},
		{"says nothing", "", func(net.Conn) {}},
		{"other version", "protocol version 9", func(c net.Conn) {
			upgrade(c)
			_, _ = c.Write(challenge(9))
			silence(c)
		}},
		{"speaks out of turn", "HTTP/1.1 101", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\nsurprise")
			silence(c)
		}},
		{"reflects the proof", "not know the secret", func(c net.Conn) {
			upgrade(c)
			_, _ = c.Write(challenge(protocolVersion))
			proof, _ := expect(c, kindProof)
			_, _ = c.Write(appendFrame(nil, kindWelcome, append(g.append([]byte{byte(welcome)}), proof...)))
			silence(c)
		}},
		{"welcomes without proof", "not the frame", func(c net.Conn) {
			upgrade(c)
			_, _ = c.Write(challenge(protocolVersion))
			_, _ = c.Write(appendFrame(nil, kindWelcome, []byte{byte(welcome)}))
			silence(c)
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			addr := fake(x.answer)
			h, _, err := ask(a, addr)
			require.ErrorContains(t, err, x.want)
			require.Zero(t, h)
		})
	}

	// A node of the cluster, but not the one that is expected at that address.
	b, c := newRig(t, 2, nil), newRig(t, 3, nil)
	c.peer.Addr = b.peer.Addr
	a.start(a, b, c)
	b.start(a, b, c)
	eventually(t, "a line", func() bool {
		for _, line := range a.logged("peer_connect_failed") {
			if strings.Contains(line, "inc-n2") && strings.Contains(line, `expected "n3"`) {
				return true
			}
		}
		return false
	})
	require.False(t, a.tr.Alive(3))
}

// TestThrottle: one line a minute says how many there were.
func TestThrottle(t *testing.T) {
	var l throttle
	now := time.Unix(1000, 0)
	_, ok := l.allow(now)
	require.True(t, ok)
	for range 5 {
		_, ok = l.allow(now.Add(logPeriod - 1))
		require.False(t, ok)
	}
	n, ok := l.allow(now.Add(logPeriod))
	require.True(t, ok)
	require.Equal(t, 5, n)
}

// TestHandshakeCutAnywhere records what a dialer says and plays every part of it: nothing but the whole is accepted, and the
// whole only once, because the next challenge is another.
func TestHandshakeCutAnywhere(t *testing.T) {
	secret := []byte("s")
	fixed := func() *party { // always the same nonce
		return &party{self: Hello{Name: "n1"}, secret: secret, entropy: rnd.NewChaCha8([32]byte{})}
	}
	yes := func(Hello, lane) verdict { return welcome }
	near, far := net.Pipe()
	var said bytes.Buffer
	done := make(chan error, 1)
	go func() {
		p := party{self: Hello{Name: "n2", ClusterID: testCluster, ID: 2}, secret: secret, entropy: rand.Reader}
		h, err := p.dial(&recorder{near, &said}, laneData)
		if err == nil && h.Name != "n1" {
			t.Errorf("welcomed by %+v", h)
		}
		done <- err
	}()
	h, l, err := fixed().accept(far, yes)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, laneData, l)
	require.Equal(t, "n2", h.Name)
	whole := said.Bytes()
	for n := range whole {
		s := &script{Reader: bytes.NewReader(whole[:n])}
		_, _, err := fixed().accept(s, yes)
		require.Error(t, err, "%d of %d bytes", n, len(whole))
	}
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := fixed().accept(&script{Reader: bytes.NewReader(b)}, yes)
		require.Error(t, err, "bit %d", bit)
	}
	_, _, err = fixed().accept(&script{Reader: bytes.NewReader(whole)}, yes)
	require.NoError(t, err, "the recording is good")
	fresh := &party{self: Hello{Name: "n1"}, secret: secret, entropy: rand.Reader}
	_, _, err = fresh.accept(&script{Reader: bytes.NewReader(whole)}, yes)
	require.ErrorIs(t, err, errSecret, "a replay")
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	said *bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) { r.said.Write(b); return r.Conn.Write(b) }

// script is a connection that was recorded: it says what it says, whatever it is told.
type script struct {
	io.Reader
	out bytes.Buffer
}

func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }

// FuzzAccept: whatever a stranger says, it is refused without a panic and hears no more than a challenge.
func FuzzAccept(f *testing.F) {
	g := greeting{Hello: Hello{ClusterID: testCluster, ID: 2}, lane: laneData}
	hello := appendFrame(nil, kindHello, g.append(nil))
	f.Add(hello)
	f.Add(appendFrame(bytes.Clone(hello), kindProof, make([]byte, proofSize)))
	f.Add(appendFrame(bytes.Clone(hello), kindProof, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		// As if it could compute checksums, which are no secret.
		for at := 0; at+frameHeader <= len(b); {
			n := int(binary.LittleEndian.Uint32(b[at:])) + frameHeader - 1
			if n < frameHeader || n > len(b)-at {
				break
			}
			endFrame(b[:at+n], at)
			at += n
		}
		p := party{self: Hello{Name: "n1"}, secret: []byte("unknown to the fuzzer"), entropy: rand.Reader}
		s := &script{Reader: bytes.NewReader(b)}
		_, _, err := p.accept(s, func(Hello, lane) verdict { t.Fatal("judged without proof"); return welcome })
		require.Error(t, err)
		require.LessOrEqual(t, s.out.Len(), frameHeader+len(magic)+1+nonceSize)
	})
}
