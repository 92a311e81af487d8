package peer

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrameGolden(t *testing.T) {
	var b strings.Builder
	dump(&b, "ping", appendFrame(nil, kindPing, nil))
	dump(&b, "call 5 of kind 1", appendFrame(nil, kindCall, []byte("\x05\x01GET /v1/contexts/a")))
	g := greeting{Hello: Hello{ClusterID: "cluster", ID: 7, Name: "fastpaca-1", Incarnation: "incarnation", Address: "10.0.0.1:8080"}, lane: laneData}
	for i := range g.nonce {
		g.nonce[i] = byte(i)
	}
	hello := g.append(nil)
	dump(&b, "hello", appendFrame(nil, kindHello, hello))
	p := party{secret: []byte("secret")}
	dump(&b, "proof of the dialer", appendFrame(nil, kindProof, p.proof("dialer", hello, []byte("challenge"))))
	dump(&b, "proof of the acceptor", appendFrame(nil, kindProof, p.proof("acceptor", hello, []byte("challenge"), []byte("welcome"))))
	golden(t, "frames_v2.txt", []byte(b.String()))
	var back greeting
	require.NoError(t, back.decode(hello))
	require.Equal(t, g, back)
}

// TestReadFrameTakesNoMore: bytes behind the frame are somebody else's.
func TestReadFrameTakesNoMore(t *testing.T) {
	var mem []byte
	for _, size := range []int{0, 1, 500, 64 << 10, 1 << 20} {
		body := bytes.Repeat([]byte("b"), size)
		r := bytes.NewReader(append(appendFrame(nil, 9, body), "rest"...))
		kind, got, err := readFrame(r, &mem, 2<<20)
		require.NoError(t, err)
		require.EqualValues(t, 9, kind)
		require.True(t, bytes.Equal(body, got))
		require.Equal(t, 4, r.Len())
	}
}

// TestFrameDamage: no flipped bit goes unnoticed, and no length makes memory that the bytes do not fill.
func TestFrameDamage(t *testing.T) {
	whole := appendFrame(nil, kindCall, []byte("some request"))
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := readFrame(bytes.NewReader(b), nil, maxFrame)
		require.Error(t, err, "bit %d", bit)
	}
	for n := range whole {
		_, _, err := readFrame(bytes.NewReader(whole[:n]), nil, maxFrame)
		require.Error(t, err)
	}
	huge := make([]byte, frameHeader+1000)
	binary.LittleEndian.PutUint32(huge, maxFrame)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := readFrame(bytes.NewReader(huge), nil, maxFrame)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// chopped gives a stream in pieces of random sizes.
type chopped struct {
	net.Conn
	rnd *rand.Rand
	b   []byte
}

func (c *chopped) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(len(c.b), 1+c.rnd.IntN(1<<c.rnd.IntN(18)))])
	c.b = c.b[n:]
	return n, nil
}

// TestInbox: frames of all sizes, in pieces of all sizes, come out whole and in order; what was pinned never changes.
func TestInbox(t *testing.T) {
	random := fileOf(1<<20, false)
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var sent [][]byte
		var stream []byte
		for range 200 {
			at := rnd.IntN(1 << 19)
			body := random[at : at+rnd.IntN(1<<rnd.IntN(19))]
			sent = append(sent, body)
			stream = appendFrame(stream, kindCall, body)
		}
		c := &chopped{rnd: rnd, b: stream}
		var in inbox
		var kept [][]byte
		need, seen := frameHeader, 0
		for seen < len(sent) {
			in.room(need)
			require.Less(t, in.w, len(in.buf))
			require.LessOrEqual(t, len(in.buf), max(readChunk, 2*(in.w-in.r)+readRoom, need))
			n, err := c.Read(in.buf[in.w:])
			require.NoError(t, err)
			in.w += n
			for {
				_, body, n, more, err := parseFrame(in.buf[in.r:in.w], maxFrame)
				require.NoError(t, err)
				if need = more; n == 0 {
					break
				}
				in.r += n
				require.True(t, bytes.Equal(sent[seen], body), "frame %d", seen)
				if rnd.IntN(3) == 0 {
					in.pinned = true
					kept = append(kept, body, sent[seen])
				}
				seen++
			}
		}
		for i := 0; i < len(kept); i += 2 {
			require.True(t, bytes.Equal(kept[i], kept[i+1]), "what was kept has changed")
		}
	}
}
