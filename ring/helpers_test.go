package ring

import (
	"bytes"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run go test ./ring -update")
	require.Equal(t, string(want), string(got), "the format has changed: that needs a new version of the snapshot, see page.go")
}

// message returns the JSON of a message of n bytes that tells whether it has been damaged: it is a function of seq.
// n is at least 40.
func message(dst []byte, seq uint64, n int) []byte {
	at := len(dst)
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, `,"t":"`...)
	x := seq*0x9e3779b97f4a7c15 + 1
	for len(dst)-at < n-11 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		dst = append(dst, 'a'+byte(x%26))
	}
	sum := crc32.ChecksumIEEE(dst[at:])
	dst = append(dst, `",`...)
	dst = append(dst, fmt.Sprintf("%08x", sum)...)
	return append(dst, '}')
}

// checkMessages verifies what AppendMessages gave for [from, to].
func checkMessages(got []byte, from, to uint64) error {
	if from > to {
		if len(got) > 0 {
			return fmt.Errorf("%d bytes for the empty range %d to %d", len(got), from, to)
		}
		return nil
	}
	for seq := from; seq <= to; seq++ {
		end := bytes.IndexByte(got, '}')
		if end < 12 {
			return fmt.Errorf("seq %d: no message in %q", seq, got)
		}
		msg := got[:end+1]
		if err := checkMessage(msg, seq); err != nil {
			return err
		}
		got = got[end+1:]
		if seq < to {
			if len(got) == 0 || got[0] != ',' {
				return fmt.Errorf("seq %d: no comma behind it", seq)
			}
			got = got[1:]
		}
	}
	if len(got) > 0 {
		return fmt.Errorf("%q behind seq %d", got, to)
	}
	return nil
}

func checkMessage(msg []byte, seq uint64) error {
	prefix := append(strconv.AppendUint([]byte(`{"seq":`), seq, 10), ',')
	if !bytes.HasPrefix(msg, prefix) {
		return fmt.Errorf("%.40q in place of seq %d", msg, seq)
	}
	body, sum := msg[:len(msg)-11], msg[len(msg)-9:len(msg)-1]
	if string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) {
		return fmt.Errorf("seq %d: checksum of %q", seq, msg)
	}
	return nil
}

// add appends one version of the given messages' parts and publishes it; a message without parts is plain.
func add[E any](l *Log[E], liveFrom, used uint64, msgs ...[]Part) {
	version := l.version.Load() + 1
	for _, parts := range msgs {
		var aux []byte
		if len(parts) > 0 {
			aux = AppendAux(nil, parts)
		}
		l.Append(message(nil, l.Last()+1, 60), aux, Meta{Tokens: 10, Version: version})
	}
	l.SealVersion(liveFrom, used, false)
	l.Publish(Header{Version: version, LiveFrom: liveFrom, Used: used}, nil)
}

// fill appends n messages of size bytes and tokens tokens, one version each, and publishes them as one.
func fill[E any](l *Log[E], n, size int, tokens uint32) {
	version := l.version.Load()
	for range n {
		version++
		b := message(l.Reserve(size), l.Last()+1, size)
		l.Commit(len(b), 0, Meta{Tokens: tokens, Version: version})
		l.SealVersion(1, l.Cum(), false)
	}
	l.Publish(Header{Version: version, LiveFrom: firstOf(l), Used: l.Cum()}, nil)
}

func firstOf[E any](l *Log[E]) uint64 {
	var v View[E]
	l.Pending(&v)
	return v.First
}
