package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lockedBuffer is a sink that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) lines(t *testing.T) (out []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range strings.Split(strings.TrimSuffix(b.b.String(), "\n"), "\n") {
		if line == "" {
			continue
		}
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		out = append(out, m)
	}
	return out
}

func TestLogLinesAreJSON(t *testing.T) {
	var sink lockedBuffer
	l := NewLogger(&sink, LevelInfo)
	l.now = func() time.Time { return time.Date(2025, 1, 24, 12, 0, 15, 120e6, time.UTC) }
	l.Line(LevelDebug, "hidden").Send("below the level")
	l.Line(LevelInfo, "snapshot").Str("context_id", "a\"b\n\x00\u2028é").Bytes("raw", []byte{0xff, 'x'}).
		Uint("seq", 42).Int("delta", -1).Bool("ok", true).Dur("took_ms", 1500*time.Microsecond).
		Err(errors.New("no")).Err(nil).Send("taken")
	l.Func()(LevelError, "boxed", "with kv", "a", 1, "b", "two", "c", time.Second, "d", errors.New("e"), "f", 1.5, "odd")
	l.Close()

	got := sink.lines(t)
	require.Equal(t, []map[string]any{
		{"time": "2025-01-24T12:00:15.120Z", "level": "info", "type": "snapshot", "context_id": "a\"b\n\x00\u2028é",
			"raw": "\ufffdx", "seq": 42.0, "delta": -1.0, "ok": true, "took_ms": 1.5, "error": "no", "msg": "taken"},
		{"time": "2025-01-24T12:00:15.120Z", "level": "error", "type": "boxed", "a": 1.0, "b": "two", "c": 1000.0,
			"d": "e", "f": "1.5", "msg": "with kv"},
	}, got)
	require.Equal(t, 2, strings.Count(sink.b.String(), "\n"), "no value may break a line")
}

func TestLogLineIsBounded(t *testing.T) {
	var sink lockedBuffer
	l := NewLogger(&sink, LevelDebug)
	e := l.Line(LevelInfo, "long")
	for range 10 {
		e.Str("v", strings.Repeat("\x01", 3000)) // six bytes each when escaped
	}
	for range 2000 {
		e.Uint("n", 1)
	}
	e.Send("end")
	l.Close()
	require.Less(t, sink.b.Len(), logLineMax+200)
	require.Equal(t, true, sink.lines(t)[0]["truncated"])
}

// stuckSink blocks until it is opened.
type stuckSink struct {
	lockedBuffer
	open chan struct{}
}

func (s *stuckSink) Write(p []byte) (int, error) { <-s.open; return s.lockedBuffer.Write(p) }

func TestLogNeverBlocksAndCountsWhatItDrops(t *testing.T) {
	sink := &stuckSink{open: make(chan struct{})}
	l := NewLogger(sink, LevelInfo)
	const sent = 4 * logQueue
	for range sent {
		l.Line(LevelInfo, "flood").Send("x")
	}
	dropped := l.Dropped()
	require.Greater(t, dropped, uint64(0))
	close(sink.open)
	require.Eventually(t, func() bool { return len(l.queue) == 0 }, 10*time.Second, time.Millisecond)
	l.Line(LevelInfo, "after").Send("x") // the writer may have slept through the drops
	l.Close()

	flood, told := 0, 0.0
	for _, m := range sink.lines(t) {
		switch m["type"] {
		case "flood":
			flood++
		case "log_dropped":
			told += m["count"].(float64)
		}
	}
	require.Equal(t, sent, flood+int(dropped))
	require.Equal(t, float64(dropped), told)
}

func TestLogNilAndClosed(t *testing.T) {
	var l *Logger
	require.False(t, l.Enabled(LevelError))
	l.Line(LevelError, "x").Str("a", "b").Uint("c", 1).Err(errors.New("e")).Send("nothing")
	l.Func()(LevelError, "x", "nothing", "k", "v")
	l.appended([]byte("id"), 1, 1, 1)
	l.Close()
	require.Zero(t, l.Dropped())

	l = NewLogger(&lockedBuffer{}, LevelInfo)
	l.Close()
	l.Close()
	l.Line(LevelInfo, "late").Send("lost, without harm")
}

func TestParseLevel(t *testing.T) {
	for s, want := range map[string]Level{"debug": LevelDebug, "INFO": LevelInfo, "Warn": LevelWarn, "error": LevelError} {
		got, err := ParseLevel(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ParseLevel("verbose")
	require.ErrorContains(t, err, "debug, info, warn or error")
}

// TestLogNeverQuotesClients: what fasthttp could not parse may be a key or a piece of a message.
func TestLogNeverQuotesClients(t *testing.T) {
	var sink lockedBuffer
	log := NewLogger(&sink, LevelDebug)
	g := newRig(t, func(c *Config) { c.Logger = log })
	const post = "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\n"
	for _, request := range []string{
		"GET /secret\r\n\r\n",
		"secret\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nsecret\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nsecret : x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\x01\r\n\r\n",
		post + "Content-Length: secret\r\n\r\n",
		post + "Transfer-Encoding: secret\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\nsecret\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nsecret\r\n\r\n",
	} {
		g.isError(g.raw(request), 400, "invalid_request")
	}
	var lines []map[string]any
	eventually(t, func() bool { lines = sink.lines(t); return len(lines) >= 9 }) // each follows its answer
	log.Close()
	for _, line := range lines {
		require.NotContains(t, line["msg"], "secret")
		require.Contains(t, line["msg"], "127.0.0.1", "it still says where the trouble came from")
	}
}
