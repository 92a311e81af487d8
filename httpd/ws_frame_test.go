package httpd

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// wsFrame is a decoded frame of a server's.
type wsFrame struct {
	op      byte
	fin     bool
	payload []byte
}

// decodeFrames reads whole frames and fails on anything a client would refuse.
func decodeFrames(t *testing.T, b []byte) (out []wsFrame) {
	t.Helper()
	for len(b) > 0 {
		require.GreaterOrEqual(t, len(b), 2)
		f := wsFrame{op: b[0] & 0xf, fin: b[0]&wsFin != 0}
		require.Zero(t, b[0]&0x70, "reserved bits")
		require.Zero(t, b[1]&0x80, "a server never masks")
		n := int(b[1])
		b = b[2:]
		if n == 126 {
			n = int(binary.BigEndian.Uint16(b))
			require.Greater(t, n, 125, "shortest length encoding")
			b = b[2:]
		}
		require.NotEqual(t, 127, n)
		require.GreaterOrEqual(t, len(b), n)
		f.payload, b = b[:n], b[n:]
		out = append(out, f)
	}
	return out
}

func TestFrameText(t *testing.T) {
	var spare []byte
	for _, n := range []int{0, 1, 125, 126, 65535, wsFragment - 1, wsFragment, wsFragment + 1, 2 * wsFragment, 2*wsFragment + 7, 1 << 20} {
		payload := make([]byte, n)
		for i := range payload {
			payload[i] = byte(i*7 + i>>8)
		}
		dst := append([]byte(nil), "before"...)
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		dst = append(dst, payload...)
		dst, spare = frameText(dst, at, spare)
		require.Equal(t, "before", string(dst[:at]))
		frames := decodeFrames(t, dst[at:])
		var got []byte
		for i, f := range frames {
			require.Equal(t, i == len(frames)-1, f.fin)
			require.LessOrEqual(t, len(f.payload), wsFragment)
			if i == 0 {
				require.Equal(t, byte(wsText), f.op)
			} else {
				require.Equal(t, byte(wsContinuation), f.op)
			}
			got = append(got, f.payload...)
		}
		require.True(t, bytes.Equal(payload, got), n)
	}
}

func TestFrameEnd(t *testing.T) {
	var buf []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{0, 3, 125, 126, 1000, wsFragment} {
		buf = appendFrame(buf, wsFin|wsText, make([]byte, n))
		ends[len(buf)] = true
	}
	want := len(buf)
	for n := len(buf); n >= 0; n-- {
		if ends[n] {
			want = n
		}
		if got := frameEnd(buf, n); got != want {
			t.Fatalf("frameEnd(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestCloseFrame(t *testing.T) {
	f := decodeFrames(t, appendClose(nil, 1008, "slow_consumer"))
	require.Equal(t, []wsFrame{{op: wsClose, fin: true, payload: []byte("\x03\xf0slow_consumer")}}, f)
	f = decodeFrames(t, appendClose(nil, wsNoStatus, ""))
	require.Equal(t, []wsFrame{{op: wsClose, fin: true, payload: []byte{}}}, f)
	for c := causeNone + 1; c < causeCount; c++ {
		require.LessOrEqual(t, 2+len(causes[c].reason), wsControlMax)
		require.NotEmpty(t, causes[c].label)
	}
}
