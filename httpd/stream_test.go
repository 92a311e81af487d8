package httpd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"
)

func TestStreamReplaysThenGoesLive(t *testing.T) {
	o := loadOpenAPI(t)
	s := startStreams(t, nil)
	s.store.create("c")
	s.store.append("c", 2, 10)  // version 1, seq 1 and 2
	s.store.compact("c")        // version 2
	s.store.append("c", 1, 100) // version 3, seq 3

	live := s.dialWS(t, "c", "")
	all := s.dialWS(t, "c", "?cursor=0")
	part := s.dialWS(t, "c", "?cursor=2&include_messages=false")
	s.store.append("c", 1, 10) // version 4, seq 4

	want := []string{"message 1 1", "message 1 2", "context 1 0", "compaction 2 0", "context 2 0", "message 3 3", "context 3 0", "message 4 4", "context 4 0"}
	read := func(c *wsClient, from int) {
		for _, w := range want[from:] {
			e := c.must()
			o.checkEvent(t, e.raw)
			require.Equal(t, w, fmt.Sprintf("%s %d %d", e.Type, e.Version, e.Seq), "%s", e.raw)
			if e.Type == "message" && c != part {
				var m struct {
					Seq  uint64
					Role string
				}
				require.NoError(t, json.Unmarshal(e.Message, &m))
				require.Equal(t, e.Seq, m.Seq)
				require.Equal(t, "user", m.Role)
			}
			require.Equal(t, e.Type == "message" && c != part, e.Message != nil)
		}
	}
	read(all, 0)
	read(part, 5)
	read(live, 7)
}

func TestStreamFromTheFutureResets(t *testing.T) {
	s := startStreams(t, nil)
	s.store.create("c")
	s.store.append("c", 1, 10)
	c := s.dialWS(t, "c", "?cursor=7")
	e := c.must()
	require.Equal(t, "reset", e.Type)
	require.Equal(t, uint64(1), e.Version)
	s.store.append("c", 1, 10)
	require.Equal(t, uint64(2), c.must().Seq)
}

// 512 streams of both kinds on one context, four writers: each gets every message once, in order.
func TestStreamsManyReadersManyWriters(t *testing.T) {
	const streams, writers, versions = 512, 4, 10
	s := startStreams(t, func(c *Config) { // a busy machine takes its time
		c.Streams.PingInterval, c.Streams.IdleTimeout, c.Streams.StallTimeout = time.Hour, time.Hour, time.Hour
	})
	s.store.create("c")

	var readers sync.WaitGroup
	fail := make(chan error, streams)
	read := func(next func() (event, error)) {
		defer readers.Done()
		seq, version, contexts := uint64(0), uint64(0), uint64(0)
		for contexts < writers*versions {
			e, err := next()
			switch {
			case err != nil:
			case e.Type == "message" && e.Seq == seq+1 && e.Version == version+1:
				seq++
				continue
			case e.Type == "context" && e.Version == version+1:
				version++
				contexts++
				continue
			default:
				err = fmt.Errorf("after seq %d, version %d: %s", seq, version, e.raw)
			}
			fail <- err
			return
		}
		if want := uint64(writers * versions * 3 / 2); seq != want {
			fail <- fmt.Errorf("%d messages, want %d", seq, want)
		}
	}
	for i := range streams {
		readers.Add(1)
		if i%4 == 0 {
			go read(s.dialSSE(t, "c", "", "").next)
		} else {
			go read(s.dialWS(t, "c", "").next)
		}
	}
	_, answer, err := s.tryWS("c", "", 0)
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusTooManyRequests, answer.StatusCode)

	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range versions {
				s.store.append("c", 1+(w+i)%2, 50)
			}
		})
	}
	writing.Wait()
	readers.Wait()
	close(fail)
	for err := range fail {
		t.Fatal(err)
	}
}

// A client that comes and goes while others write misses nothing and sees nothing twice.
func TestStreamResumeIsSeamless(t *testing.T) {
	checkGoroutines(t)
	s := startStreamsOn(t, newNodeStore(t), nil)
	s.store.create("c")
	stop := make(chan struct{})
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(stop)
	for range 2 {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(r.IntN(300)) * time.Microsecond):
					s.store.append("c", 1+r.IntN(4), r.IntN(500))
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))

	t.Run("websocket", func(t *testing.T) {
		seq, version := uint64(0), uint64(0) // of the last version seen whole
		for range 50 {
			c := s.dialWS(t, "c", fmt.Sprintf("?cursor=%d", version))
			at := seq
			for n := 1 + r.IntN(40); n > 0; {
				e := c.must()
				switch e.Type {
				case "message":
					require.Equal(t, at+1, e.Seq)
					require.Equal(t, version+1, e.Version)
					at++
				case "context":
					require.Equal(t, version+1, e.Version)
					version, seq = e.Version, at
					n--
				default:
					require.Contains(t, []string{"compaction"}, e.Type, "%s", e.raw)
				}
			}
			c.Close()
		}
	})
	t.Run("sse", func(t *testing.T) {
		var v shard.View
		require.Equal(t, shard.CodeOK, s.store.Read([]byte("c"), &v))
		present := v.LiveCursor().Version
		seq, last := uint64(0), "0"
		for round := range 50 {
			c := s.dialSSE(t, "c", "", last)
			e := event{}
			// It ends anywhere, in the middle of a version too. The first round catches up with the writers.
			for n := 1 + r.IntN(60); n > 0 || round == 0 && e.Version < present; n-- {
				e = c.must()
				if e.Type == "message" {
					require.Equal(t, seq+1, e.Seq, "resumed after %s: %s", last, e.raw)
					seq++
				} else {
					require.Contains(t, []string{"context", "compaction"}, e.Type, "%s", e.raw)
				}
				last = e.id
			}
			c.conn.Close()
		}
	})
}

func TestSSEFormat(t *testing.T) {
	o := loadOpenAPI(t)
	s := startStreams(t, func(c *Config) { c.Streams.PingInterval = 10 * time.Millisecond })
	s.store.create("c")
	// A client may send its JSON with newlines of every kind in it.
	cmd := shard.BeginAppend(nil, shard.AppendHeader{ID: []byte("c"), Count: 1})
	fields := "\"role\": \"user\",\r\n \"parts\": [\n\n{\"type\":\"text\",\r\"text\":\"a\\nb\"}],\"metadata\":{}"
	s.store.do("c", shard.AppendMessage(cmd, &shard.Message{Fields: []byte(fields), Tokens: 1}))
	s.store.append("c", 3, 5)

	c := s.dialSSE(t, "c", "?cursor=0", "")
	require.Equal(t, 200, c.status)
	require.Contains(t, c.head, "Content-Type: text/event-stream")
	require.NotContains(t, c.head, "Content-Length")
	var ids []string
	for range 6 {
		e := c.must()
		o.checkEvent(t, e.raw)
		ids = append(ids, e.Type+" "+e.id)
		if e.Seq == 1 {
			var m struct{ Parts []struct{ Text string } }
			require.NoError(t, json.Unmarshal(e.Message, &m))
			require.Equal(t, "a\nb", m.Parts[0].Text)
		}
	}
	require.Equal(t, []string{"message 1", "context 1", "message 2:1", "message 2:2", "message 2", "context 2"}, ids)
	require.Equal(t, "1000", c.retry)

	for c.pings < 3 {
		s.store.append("c", 1, 5)
		c.must()
	}

	// The header of a browser that reconnects goes before the cursor of its URL.
	c = s.dialSSE(t, "c", "?cursor=0", "2:2")
	e := c.must()
	require.Equal(t, "2", e.id)
	require.Equal(t, uint64(4), e.Seq)
}

func TestSSEBatchIDsSurviveSeveralCuts(t *testing.T) {
	s := startStreams(t, nil)
	s.store.create("c")
	s.store.append("c", 5, 5)
	last := "0"
	for seq := uint64(1); seq <= 5; seq++ {
		c := s.dialSSE(t, "c", "", last)
		e := c.must()
		require.Equal(t, seq, e.Seq, "after %s", last)
		last = e.id
		c.conn.Close()
	}
	require.Equal(t, "1", last)
}

func TestStreamTombstone(t *testing.T) {
	s := startStreams(t, nil)
	s.store.create("c")
	ws, sse := s.dialWS(t, "c", ""), s.dialSSE(t, "c", "", "")
	s.store.append("c", 1, 5)
	s.store.delete("c")
	check := func(next func() event) {
		require.Equal(t, "message", next().Type)
		require.Equal(t, "context", next().Type)
		e := next()
		require.Equal(t, "tombstoned", e.Type)
		require.Equal(t, uint64(1), e.Version)
	}
	check(ws.must)
	code, reason := ws.closeCode()
	require.Equal(t, 1000, code)
	require.Equal(t, "tombstoned", reason)
	check(sse.must)
	_, err := sse.next()
	require.ErrorIs(t, err, io.EOF)

	late := s.dialWS(t, "c", "") // deleted before: told so at once
	require.Equal(t, "tombstoned", late.must().Type)
	code, _ = late.closeCode()
	require.Equal(t, 1000, code)
}

func TestStreamPingPongKeepsAlive(t *testing.T) {
	s := startStreams(t, func(c *Config) {
		c.Streams.PingInterval, c.Streams.IdleTimeout = 20*time.Millisecond, 3*time.Second // a loaded machine stands still for long
	})
	s.store.create("c")
	var clients sync.WaitGroup
	for name, pong := range map[string]func(c *wsClient) error{
		"text":    func(c *wsClient) error { return c.WriteMessage(websocket.TextMessage, []byte(`{"type":"pong"}`)) },
		"control": func(c *wsClient) error { return c.WriteControl(websocket.PongMessage, nil, time.Now().Add(testWait)) },
		"ping": func(c *wsClient) error {
			return c.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(testWait))
		},
	} {
		c := s.dialWS(t, "c", "")
		clients.Go(func() {
			for begin := time.Now(); time.Since(begin) < 7*time.Second/2; { // longer than the silence allowed
				if e, err := c.next(); err != nil || e.Type != "ping" {
					t.Errorf("%s: %q %v", name, e.Type, err)
					return
				}
				if err := pong(c); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

func TestStreamSilenceCloses(t *testing.T) {
	s := startStreams(t, func(c *Config) {
		c.Streams.PingInterval, c.Streams.IdleTimeout = 20*time.Millisecond, 200*time.Millisecond
	})
	s.store.create("c")
	code, reason := s.dialWS(t, "c", "").closeCode()
	require.Equal(t, 1001, code)
	require.Equal(t, "idle_timeout", reason)
	// Not an SSE client, which has nothing to say.
	sse := s.dialSSE(t, "c", "", "")
	time.Sleep(500 * time.Millisecond)
	s.store.append("c", 1, 1)
	require.Equal(t, "message", sse.must().Type)
}

func TestStreamAnswersPingAndClose(t *testing.T) {
	s := startStreams(t, nil)
	s.store.create("c")
	c := s.dialWS(t, "c", "")
	got := ""
	c.SetPongHandler(func(p string) error { got = p; return errors.New("enough") })
	require.NoError(t, c.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(testWait)))
	_, err := c.next()
	require.ErrorContains(t, err, "enough")
	require.Equal(t, "hello", got)

	for _, code := range []int{1000, 1001, 4321, websocket.CloseNoStatusReceived} {
		c := s.dialWS(t, "c", "")
		require.NoError(t, c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "bye"), time.Now().Add(testWait)))
		echo, _ := c.closeCode()
		require.Equal(t, code, echo)
	}
}

func TestStreamShutdown(t *testing.T) {
	s := startStreams(t, nil)
	s.store.create("c")
	ws, sse := s.dialWS(t, "c", ""), s.dialSSE(t, "c", "", "")
	s.store.append("c", 1, 5)
	ws.must()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testWait)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	code, reason := ws.closeCode()
	require.Equal(t, 1001, code)
	require.Equal(t, "shutdown", reason)
	for {
		if _, err := sse.next(); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.NoError(t, <-done)
}

func TestStreamLimit(t *testing.T) {
	s := startStreams(t, func(c *Config) { c.StreamMax = 2 })
	s.store.create("c")
	a := s.dialWS(t, "c", "")
	s.dialSSE(t, "c", "", "")
	for _, path := range []string{"stream", "events"} {
		status, h, body := s.get(t, "/v1/contexts/c/"+path, wsHeaders)
		require.Equal(t, 429, status)
		require.Contains(t, body, `"error":"too_many_streams"`)
		require.NotEmpty(t, h.Get("Retry-After"))
		loadOpenAPI(t).checkAnswer(t, "GET", "/v1/contexts/{id}/"+path, status, h.Get("Content-Type"), []byte(body))
	}
	a.Close()
	require.Eventually(t, func() bool { // a slot is free again
		c, _, err := s.tryWS("c", "", 0)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, testWait, 5*time.Millisecond)
}

// A connection that breaks between request and stream does not keep its slot.
func TestStreamSlotOfABrokenConnectionComesBack(t *testing.T) {
	s := bareServer(t)
	s.streams.max = 1
	c := s.streams.reserve(kindWS, &localFeed{}, []byte("c"))
	require.NotNil(t, c)
	require.Nil(t, s.streams.reserve(kindSSE, &localFeed{}, nil))
	c.opened = c.opened.Add(-2 * streamOpenGrace)
	d := s.streams.reserve(kindSSE, &localFeed{}, nil)
	require.NotNil(t, d)
	require.False(t, s.streams.begin(c), "the slot is somebody else's now")
	require.True(t, s.streams.begin(d))
	s.streams.release(c)
	require.Equal(t, int64(1), s.metrics.streams.open[kindSSE].Load()+s.metrics.streams.open[kindWS].Load())
}

var wsHeaders = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AQIDBAUGBwgJCgsMDQ4PEA=="}}

// get makes a plain request.
func (s *streamServer) get(t *testing.T, path string, h http.Header) (int, http.Header, string) {
	t.Helper()
	return s.request(t, "GET", path, h, "")
}

func (s *streamServer) request(t *testing.T, method, path string, h http.Header, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(t, err)
	for k, v := range h {
		req.Header[k] = v
	}
	client := http.Client{Timeout: testWait, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, res.Header, string(b)
}

func TestStreamRefusals(t *testing.T) {
	o := loadOpenAPI(t)
	s := startStreams(t, func(c *Config) { c.APIKey = "secret" })
	s.store.create("c")
	key := func(h http.Header) http.Header {
		h = h.Clone()
		h.Set("Authorization", "Bearer secret")
		return h
	}
	old := wsHeaders.Clone()
	old.Set("Sec-Websocket-Version", "8")
	for _, c := range []struct {
		path, query, lastID string
		header              http.Header
		status              int
		code                string
	}{
		{"stream", "", "", wsHeaders, 401, "unauthorized"},
		{"events", "", "", http.Header{}, 401, "unauthorized"},
		{"stream", "?cursor=", "", key(wsHeaders), 400, "invalid_query"},
		{"stream", "?cursor=-1", "", key(wsHeaders), 400, "invalid_query"},
		{"stream", "?cursor=1.5", "", key(wsHeaders), 400, "invalid_query"},
		{"stream", "?cursor=99999999999999999999999", "", key(wsHeaders), 400, "invalid_query"},
		{"stream", "?cursor=1&cursor=2", "", key(wsHeaders), 400, "invalid_query"},
		{"stream", "?include_messages=maybe", "", key(wsHeaders), 400, "invalid_query"},
		{"stream", "?include_messages=false&include_messages=true", "", key(wsHeaders), 400, "invalid_query"},
		{"events", "?cursor=1&cursor=1", "", key(http.Header{}), 400, "invalid_query"},
		{"events", "", "x", key(http.Header{}), 400, "invalid_query"},
		{"events", "", "1:", key(http.Header{}), 400, "invalid_query"},
		{"events", "", "0:1", key(http.Header{}), 400, "invalid_query"},
		{"events", "", "1:2:3", key(http.Header{}), 400, "invalid_query"},
		{"stream", "", "", key(http.Header{}), 400, "invalid_query"}, // no upgrade
		{"stream", "", "", key(old), 400, "invalid_query"},
	} {
		if c.lastID != "" {
			c.header.Set("Last-Event-ID", c.lastID)
		}
		status, h, body := s.get(t, "/v1/contexts/c/"+c.path+c.query, c.header)
		require.Equal(t, c.status, status, "%+v: %s", c, body)
		require.Contains(t, body, `"error":"`+c.code+`"`, "%+v", c)
		o.checkAnswer(t, "GET", "/v1/contexts/{id}/"+c.path, status, h.Get("Content-Type"), []byte(body))
	}
	for _, path := range []string{"stream", "events"} {
		status, _, body := s.get(t, "/v1/contexts/unknown/"+path, key(wsHeaders))
		require.Equal(t, 404, status)
		require.Contains(t, body, `"error":"context_not_found"`)
	}
	require.Zero(t, s.metrics.streams.open[kindWS].Load(), "a refusal keeps no slot")
}

// Whatever a client throws at a stream, it ends and leaves nothing behind.
func TestStreamBadClients(t *testing.T) {
	s := startStreams(t, nil)
	s.store.create("c")
	t.Run("long message", func(t *testing.T) {
		c := s.dialWS(t, "c", "")
		require.NoError(t, c.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte("x"), 3*wsReadLimit)))
		code, _ := c.closeCode()
		require.Equal(t, 1009, code)
	})
	for name, junk := range map[string][]byte{
		"unmasked":        {0x81, 0x01, 'x'},
		"reserved bits":   {0xf1, 0x80, 0, 0, 0, 0},
		"bad opcode":      {0x83, 0x80, 0, 0, 0, 0},
		"long control":    {0x89, 0xfe, 1, 0, 0, 0, 0, 0},
		"negative length": {0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"http":            []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dialWS(t, "c", "")
			_, err := c.NetConn().Write(junk)
			require.NoError(t, err)
			for err == nil {
				_, err = c.next()
			}
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the server must close: %v", err)
		})
	}
	t.Run("half a frame, then gone", func(t *testing.T) {
		c := s.dialWS(t, "c", "")
		_, err := c.NetConn().Write([]byte{0x81})
		require.NoError(t, err)
		c.Close()
	})
	t.Run("sse client that talks, then goes", func(t *testing.T) {
		c := s.dialSSE(t, "c", "", "")
		_, err := c.conn.Write(bytes.Repeat([]byte("POST / HTTP/1.1\r\n\r\n"), 100))
		require.NoError(t, err)
		s.store.append("c", 1, 1)
		require.Equal(t, "message", c.must().Type)
		c.conn.Close()
	})
	require.Eventually(t, func() bool {
		return s.metrics.streams.open[kindWS].Load()+s.metrics.streams.open[kindSSE].Load() == 0
	}, testWait, time.Millisecond)
}
