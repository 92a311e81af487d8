package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

func echoStream(_ *rig, c *Config) {
	c.MaxStreams = 3
	c.ServeStream = func(from uint64, open []byte, conn net.Conn) {
		_, _ = conn.Write(append([]byte{byte(from)}, open...))
		_, _ = io.Copy(conn, conn)
	}
}

func TestStreams(t *testing.T) {
	a, b := pair(t, echoStream)
	_, err := a.tr.OpenStream(9, nil)
	require.ErrorIs(t, err, ErrNotSent)
	_, err = a.tr.OpenStream(2, make([]byte, openMax))
	require.ErrorIs(t, err, ErrNotSent)
	var open []net.Conn
	for range 3 {
		c, err := a.tr.OpenStream(2, []byte("open"))
		require.NoError(t, err)
		_, err = c.Write([]byte("and more"))
		require.NoError(t, err)
		got := make([]byte, len("\x01openand more"))
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, "\x01openand more", string(got))
		open = append(open, c)
	}
	_, err = a.tr.OpenStream(2, nil)
	require.ErrorIs(t, err, ErrOverloaded)
	var s Stats
	b.tr.Stats(&s)
	require.Equal(t, 3, s.StreamsIn)
	for _, c := range open {
		require.NoError(t, c.Close())
		_ = c.Close() // twice does not count twice
	}
	eventually(t, "all closed", func() bool { b.tr.Stats(&s); return s.StreamsIn == 0 })
	a.tr.Stats(&s)
	require.Zero(t, s.StreamsOut)

	// The serving end has limits of its own.
	b.tr.mu.Lock()
	b.tr.streams.in = 3
	b.tr.mu.Unlock()
	c, err := a.tr.OpenStream(2, nil)
	if err == nil { // the refusal comes when the stream is read
		require.Empty(t, silence(c))
		require.NoError(t, c.Close())
	}
	b.tr.mu.Lock()
	b.tr.streams.in = 0
	b.tr.mu.Unlock()

	b.ln.Close()
	b.cut()
	_, err = a.tr.OpenStream(2, nil)
	require.ErrorIs(t, err, ErrNotSent)
}

// TestCloseEndsEverything: whatever is under way when a transport is closed ends, on both sides, and nothing is called
// afterwards. TestMain looks for goroutines.
func TestCloseEndsEverything(t *testing.T) {
	serving := make(chan struct{}, 1)
	a, b := pair(t, func(r *rig, c *Config) {
		echoStream(r, c)
		c.SnapshotBytesPerSecond = 1 << 20
		c.Serve = func(_ uint64, _ uint8, _, dst []byte) []byte {
			serving <- struct{}{}
			time.Sleep(20 * time.Millisecond)
			return dst
		}
	})
	a.serveFile(fileOf(64*chunkSize, false))
	reading := make(chan struct{})
	ended := make(chan error, 1)
	b.receive = func(_ raft.Message, r io.Reader) error {
		_, err := io.ReadFull(r, make([]byte, 10))
		close(reading)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		ended <- err
		return err
	}
	c, err := a.tr.OpenStream(2, nil)
	require.NoError(t, err)
	defer c.Close()
	a.tr.SendSnapshot(snapshotMessage(1, 2))
	for g := range uint32(10) {
		a.tr.SendSnapshot(snapshotMessage(g+10, 9)) // to nobody
	}
	<-reading
	call := make(chan error, 1)
	go func() {
		_, err := a.tr.Call(2, 1, nil, nil, time.Hour)
		call <- err
	}()
	<-serving
	half := stranger(t, a) // in the handshake
	require.NoError(t, a.tr.Close())
	require.ErrorIs(t, <-call, ErrUnknown)
	require.Error(t, <-ended)
	require.Len(t, a.reported(), 11)
	silence(c)
	silence(half)
	a.tr.Send(sampleMessages(1, 2))
	a.tr.SetPeers([]Peer{b.peer})
	a.tr.SendSnapshot(snapshotMessage(1, 2))
	_, err = a.tr.Call(2, 1, nil, nil, time.Second)
	require.ErrorIs(t, err, ErrNotSent)
	_, err = a.tr.OpenStream(2, nil)
	require.ErrorIs(t, err, ErrNotSent)
	_, _, err = ask(a, b.peer.Addr)
	require.ErrorIs(t, err, ErrClosed)
	require.False(t, a.tr.Alive(2))
	require.NoError(t, a.tr.Close())
	require.Len(t, a.reported(), 11)
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLS: one port serves both; nodes that dial with TLS check the certificate.
func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	var good atomic.Bool
	good.Store(true)
	edit := func(r *rig, c *Config) {
		r.ln = SniffTLS(r.ln, &tls.Config{Certificates: []tls.Certificate{cert}})
		c.TLS = &tls.Config{RootCAs: pool}
		if !good.Load() {
			c.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		}
	}
	a, b := pair(t, edit)
	a.tr.Send(sampleMessages(1, 2))
	eventually(t, "all messages", func() bool { return len(b.messages()) == len(sampleMessages(1, 2)) })
	got, err := a.tr.Call(2, 7, make([]byte, 1<<20), nil, time.Minute)
	require.NoError(t, err)
	require.Len(t, got, 1<<20+2)

	plain := newRig(t, 3, nil)
	_, _, err = ask(plain, b.peer.Addr)
	require.NoError(t, err, "plain on the same port")
	good.Store(false)
	distrusts := newRig(t, 4, edit)
	_, _, err = ask(distrusts, b.peer.Addr)
	require.ErrorContains(t, err, "certificate")
}

// known is a connection whose first byte has said that it is what c is.
func known(conn, c net.Conn) *sniffed {
	s := &sniffed{Conn: conn}
	s.c.Store(&c)
	return s
}

// TestNothingPlainOnTLS: what is written while somebody else is in the connection, as its reader is for a moment with each Read, is
// as secret as the rest.
func TestNothingPlainOnTLS(t *testing.T) {
	cert, pool := certificate(t)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln := SniffTLS(plain, &tls.Config{Certificates: []tls.Certificate{cert}})
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	client := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	defer client.Close()
	accepted, err := ln.Accept()
	require.NoError(t, err)
	c := accepted.(*sniffed)
	defer c.Close()
	const hello = "hello"
	sent := make(chan error, 1)
	go func() { _, err := client.Write([]byte(hello)); sent <- err }()
	got := make([]byte, len(hello))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.NoError(t, <-sent)

	c.mu.Lock()
	_, err = c.Write([]byte(hello))
	c.mu.Unlock()
	require.NoError(t, err)
	_, err = io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, hello, string(got))
}

func TestSniff(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	require.Same(t, ln, SniffTLS(ln, nil))
	s := SniffTLS(ln, &tls.Config{})
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	c, err := s.Accept() // does not wait for a byte
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, c.SetReadDeadline(time.Time{})) // a deadline that passed is not the end
	_, err = client.Write([]byte("GET"))
	require.NoError(t, err)
	got := make([]byte, 3)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "GET", string(got))
	_, err = c.Write([]byte("200"))
	require.NoError(t, err)
	require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
	require.Equal(t, "200", string(silence(client)))
}
