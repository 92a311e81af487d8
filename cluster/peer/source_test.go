package peer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSourceEndsAsTheConnectionDoes: reads by system calls end when and as those of package net do, its words included. Each case gets the
// end that reads and the other one.
func TestSourceEndsAsTheConnectionDoes(t *testing.T) {
	past := time.Unix(1, 0)
	for name, c := range map[string]struct {
		end  func(own, other *net.TCPConn)
		want error
	}{
		"deadline": {func(own, _ *net.TCPConn) { own.SetReadDeadline(past) }, os.ErrDeadlineExceeded},
		"closed":   {func(own, _ *net.TCPConn) { own.Close() }, net.ErrClosed},
		"end":      {func(_, other *net.TCPConn) { other.CloseWrite() }, io.EOF},
		"reset":    {func(_, other *net.TCPConn) { other.SetLinger(0); other.Close() }, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			said := func(bySystemCalls, waits bool) string {
				own, other := tcpPair(t)
				defer own.Close()
				defer other.Close()
				var r source
				r.init(own)
				if !bySystemCalls {
					r.raw = nil
				}
				b := make([]byte, 10)
				_, err := other.Write([]byte("abc"))
				require.NoError(t, err)
				n, err := r.Read(b)
				require.NoError(t, err)
				require.Equal(t, "abc", string(b[:n]))
				end := func() { c.end(own.(*net.TCPConn), other.(*net.TCPConn)) }
				if waits {
					time.AfterFunc(20*time.Millisecond, end)
				} else {
					end()
				}
				n, err = r.Read(b)
				require.ErrorIs(t, err, c.want)
				require.Zero(t, n)
				return strings.NewReplacer(own.LocalAddr().String(), "own", own.RemoteAddr().String(), "other").Replace(err.Error())
			}
			require.Equal(t, said(false, false), said(true, false))
			require.Equal(t, said(false, true), said(true, true))
		})
	}
}

// TestSourceAfterADeadline: one that passed is not the end, and no byte is lost to it.
func TestSourceAfterADeadline(t *testing.T) {
	own, other := tcpPair(t)
	defer own.Close()
	defer other.Close()
	var r source
	r.init(own)
	_, err := other.Write([]byte("abc"))
	require.NoError(t, err)
	require.NoError(t, own.SetReadDeadline(time.Unix(1, 0)))
	b := make([]byte, 3)
	_, err = r.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, own.SetReadDeadline(time.Time{}))
	_, err = io.ReadFull(&r, b)
	require.NoError(t, err)
	require.Equal(t, "abc", string(b))
}

// TestSourceReadsAll: more than the connection holds at once, into buffers of all sizes. No read copies more than its bound.
func TestSourceReadsAll(t *testing.T) {
	own, other := tcpPair(t)
	defer own.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(rng.Uint32())
	}
	written := make(chan error, 1)
	go func() {
		_, err := other.Write(sent)
		written <- errors.Join(err, other.Close())
	}()
	var r source
	r.init(own)
	var got []byte
	for {
		b := make([]byte, 1+rng.IntN(4*readChunk))
		n, err := r.Read(b)
		got = append(got, b[:n]...)
		require.LessOrEqual(t, n, readChunk)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Positive(t, n)
	}
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(sent, got))
}

// TestLargeFramesAcrossReads: both ends of a connection read by system calls, and frames far larger than a read arrive whole.
func TestLargeFramesAcrossReads(t *testing.T) {
	a, b := pair(t, nil)
	for _, size := range []int{0, 1, readChunk - 20, readChunk, 5 << 20} {
		req := bytes.Repeat([]byte{byte(size), 7}, size/2)
		got, err := a.tr.Call(2, 9, req, nil, 2*time.Minute)
		require.NoError(t, err)
		require.True(t, bytes.Equal(append([]byte{1, 9}, req...), got), "%d bytes", size)
	}
	for _, r := range []*rig{a, b} {
		require.GreaterOrEqual(t, r.tr.counters.lanes[laneData].reads.Load(), uint64(5<<20/readChunk), "no read copies more than its bound")
	}
}

// TestNoDirectReadsPastBytesHeld: what somebody on the way holds, or decrypts, comes from there.
func TestNoDirectReadsPastBytesHeld(t *testing.T) {
	own, other := tcpPair(t)
	defer own.Close()
	defer other.Close()
	direct := func(c net.Conn) bool {
		var r source
		r.init(c)
		return r.raw != nil
	}
	read := &unread{Conn: own, first: []byte("a")}
	require.False(t, direct(read))
	require.False(t, direct(known(own, read)))
	_, err := read.Read(make([]byte, 1))
	require.NoError(t, err)
	require.True(t, direct(read))
	require.True(t, direct(known(own, read)))
	require.True(t, direct(&dialed{Conn: own, raw: own}))

	require.False(t, direct(&sniffed{Conn: own}), "nobody knows what it is")
	require.False(t, direct(known(own, tls.Server(read, &tls.Config{}))))
	require.False(t, direct(&dialed{Conn: tls.Client(own, &tls.Config{}), raw: own}))
	require.False(t, direct(opaque{own}))
}
