package httpd

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fastpaca/shard"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// script is a connection whose client has sent everything already; what is written to it is kept.
type script struct {
	net.Conn // nil: nothing else is called
	in       [][]byte
	out      bytes.Buffer
}

func (c *script) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.in[0])
	c.in = c.in[1:]
	return n, nil
}

func (c *script) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }

// quickly gives requests, each of them one read, to the quick way. rest is what it leaves to fasthttp, if anything.
func quickly(s *Server, requests ...string) (answers, rest string) {
	l := &listener{s: s, period: time.Second}
	from := &script{}
	for _, r := range requests {
		from.in = append(from.in, []byte(r))
	}
	c := &conn{Conn: from, l: l}
	c.quick.state(fasthttp.StateNew)
	c.quick.state(fasthttp.StateActive)
	b := make([]byte, readBufferSize)
	n, _ := c.Read(b)
	return from.out.String(), string(b[:n])
}

// plainly has fasthttp serve the same: a header that the quick way does not take leads there.
func plainly(g *rig, request string) string {
	g.t.Helper()
	c := g.dial()
	defer c.Close()
	_, err := io.WriteString(c, strings.Replace(request, "Host:", "TE: trailers\r\nConnection: close\r\nHost:", 1))
	require.NoError(g.t, err)
	b, err := io.ReadAll(c)
	require.NoError(g.t, err)
	return strings.Replace(string(b), "Connection: close\r\n", "", 1)
}

// TestQuickAnswersAsFasthttpDoes: same requests, same state, same bytes.
func TestQuickAnswersAsFasthttpDoes(t *testing.T) {
	slow := newRig(t)
	slow.ok(201, "PUT", "/v1/contexts/c:1", "")
	quick := newRig(t)
	quick.ok(201, "PUT", "/v1/contexts/c:1", "")
	for _, body := range []string{
		`{"message":` + textMessage("one two three") + `}`,
		`{"message":` + textMessage("é\n\\") + `,"if_version":1}`,
		`{"message":{"role":"user","parts":[{"type":"x"}],"token_count":7,"metadata":{"a":1}}}`,
		`{"messages":[` + textMessage("a") + `,` + textMessage("b") + `]}`,
		`{"message":` + textMessage("stale") + `,"if_version":1}`, // 409
	} {
		request := slow.request("POST", "/v1/contexts/c:1/messages", body)
		want := plainly(slow, request)
		got, rest := quickly(quick.s, request)
		require.Equal(t, want, got)
		require.Empty(t, rest)
	}
	one := `{"message":` + textMessage("one") + `}`
	request := slow.request("POST", "/v1/contexts/nobody/messages", one)
	got, _ := quickly(quick.s, request)
	require.Equal(t, plainly(slow, request), got)

	for code := range outcomes {
		if code == shard.CodeNotLeader || code == shard.CodeConflict || code == shard.CodeSeqConflict {
			continue
		}
		slow.store.forced.Store(int32(code))
		quick.store.forced.Store(int32(code))
		request := slow.request("POST", "/v1/contexts/c:1/messages", one)
		got, rest := quickly(quick.s, request)
		require.Equal(t, plainly(slow, request), got, "%s", code)
		require.Empty(t, rest)
	}
	quick.store.forced.Store(int32(shard.CodeNotLeader))
	got, rest := quickly(quick.s, request)
	require.Empty(t, got)
	require.Equal(t, request, rest, "nothing was written: the router decides")
	for _, g := range []*rig{slow, quick} {
		g.store.forced.Store(int32(shard.CodeOK))
	}
	require.Equal(t, slow.ok(200, "GET", "/v1/contexts/c:1", "")[:20], quick.ok(200, "GET", "/v1/contexts/c:1", "")[:20])
}

// TestQuickLeavesTheRest: what is not exactly an append that is all there goes to fasthttp untouched.
func TestQuickLeavesTheRest(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	body := `{"message":` + textMessage("x") + `}`
	good := g.request("POST", "/v1/contexts/c/messages", body)
	swap := func(old, new string) string {
		out := strings.Replace(good, old, new, 1)
		require.NotEqual(t, good, out)
		return out
	}
	for name, request := range map[string]string{
		"a part":             good[:len(good)-1],
		"a part of the head": good[:40],
		"two at once":        good + good,
		"another byte":       good + "x",
		"GET":                g.request("GET", "/v1/contexts/c/messages", ""),
		"PUT":                g.request("PUT", "/v1/contexts/c", "{}"),
		"another path":       swap("/messages", "/message"),
		"compact":            swap("/messages", "/compact"),
		"a query":            swap("/messages", "/messages?import=true"),
		"an escaped id":      swap("/c/", "/%63/"),
		"no id":              swap("/c/", "//"),
		"HTTP/1.0":           swap("HTTP/1.1", "HTTP/1.0"),
		"bare LF":            swap("test\r\n", "test\n"),
		"folding":            swap("test\r\n", "test\r\n folded\r\n"),
		"space before colon": swap("Host:", "Host :"),
		"no host":            swap("Host: test\r\n", ""),
		"two hosts":          swap("Host: test\r\n", "Host: test\r\nHost: test\r\n"),
		"a strange host":     swap("Host: test", "Host: te/st"),
		"two lengths":        swap("Host", "Content-Length: 1\r\nHost"),
		"a signed length":    swap("Content-Length: ", "Content-Length: +"),
		"chunked":            swap("Host", "Transfer-Encoding: chunked\r\nHost"),
		"expect":             swap("Host", "eXpect: 100-continue\r\nHost"),
		"close":              swap("Host", "Connection: close\r\nHost"),
		"upgrade":            swap("Host", "Upgrade: websocket\r\nHost"),
		"gzip":               swap("Host", "Content-Encoding: gzip\r\nHost"),
		"a key":              swap("Host", "Idempotency-Key: k\r\nHost"),
		"a control byte":     swap("Host", "X: \x01\r\nHost"),
		"a form":             swap("application/json", "text/plain"),
		"bad JSON":           swap(`"role"`, `'role'`),
		"no role":            swap(`"role"`, `"rule"`),
		"nothing":            "",
	} {
		t.Run(name, func(t *testing.T) {
			writes := g.store.writes.Load()
			answers, rest := quickly(g.s, request)
			require.Empty(t, answers)
			require.Equal(t, request, rest)
			require.Equal(t, writes, g.store.writes.Load())
		})
	}
	answers, rest := quickly(g.s, swap("Host", "ACCEPT: */*\r\nconnection: Keep-Alive\r\nhOST"), good, good[:30])
	require.Equal(t, 2, strings.Count(answers, "HTTP/1.1 201 Created\r\n"))
	require.Equal(t, good[:30], rest)
}

func TestQuickWantsTheKey(t *testing.T) {
	g := newRig(t, func(c *Config) { c.APIKey = "secret" })
	g.auth = "secret"
	g.ok(201, "PUT", "/v1/contexts/c", "")
	request := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	answers, _ := quickly(g.s, request)
	require.Contains(t, answers, " 201 ")
	for _, bad := range []string{"Bearer secreT", "Bearer ", "secret"} {
		answers, rest := quickly(g.s, strings.Replace(request, "Bearer secret", bad, 1))
		require.Empty(t, answers)
		require.NotEmpty(t, rest)
	}
	g.auth = ""
	g.refused(401, "unauthorized", "POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
}

// TestQuickAndPlainTakeTurns on one connection, with requests that come in pieces and several at a time.
func TestQuickAndPlainTakeTurns(t *testing.T) {
	g := newRig(t)
	c := g.dial()
	r := bufio.NewReader(c)
	post := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	put, get := g.request("PUT", "/v1/contexts/c", ""), g.request("GET", "/v1/contexts/c", "")
	large := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("long ", 5000))+`}`)
	for _, turn := range []struct {
		send []string
		want []int
	}{
		{[]string{post}, []int{404}},
		{[]string{put, post}, []int{201, 201}},
		{[]string{post}, []int{201}},
		{[]string{post + post + get + post[:50], post[50:] + post}, []int{201, 201, 200, 201, 201}},
		{[]string{post[:3], post[3:100], post[100:]}, []int{201}},
		{[]string{post, get, post, get}, []int{201, 200, 201, 200}},
		{[]string{large, post}, []int{201, 201}},
		{[]string{post, large}, []int{201, 201}},
	} {
		for _, b := range turn.send {
			io.WriteString(c, b)
			time.Sleep(time.Millisecond) // so that they are read apart, mostly
		}
		for _, want := range turn.want {
			a, err := readAnswer(r, "POST")
			require.NoError(t, err)
			require.Equal(t, want, a.status)
		}
	}
	require.Contains(t, g.ok(200, "GET", "/v1/contexts/c", ""), `"last_seq":13`)
}

// TestQuickConnectionsEnd: idle for too long, or with a request that does not go on, or at Shutdown.
func TestQuickConnectionsEnd(t *testing.T) {
	g := newRig(t, func(c *Config) { c.IdleTimeout, c.ReadTimeout = 200*time.Millisecond, 200*time.Millisecond })
	g.ok(201, "PUT", "/v1/contexts/c", "")
	post := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	// begin appends once; nil where this machine was so slow that the connection had been closed before.
	begin := func() (net.Conn, *bufio.Reader) {
		c := g.dial()
		r := bufio.NewReader(c)
		io.WriteString(c, post)
		if a, err := readAnswer(r, "POST"); err != nil || a.status != 201 {
			return nil, nil
		}
		return c, r
	}
	eventually(t, func() bool {
		_, r := begin()
		if r == nil {
			return false
		}
		_, err := r.ReadByte()
		require.ErrorIs(t, err, io.EOF, "without a word")
		return true
	})
	eventually(t, func() bool {
		c, r := begin()
		if r == nil {
			return false
		}
		io.WriteString(c, post[:60])
		a, err := readAnswer(r, "POST")
		if err != nil {
			return false // it was idle for too long
		}
		g.isError(a, 408, "request_timeout")
		return true
	})
}

func TestShutdownClosesQuickConnections(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	c := g.dial()
	r := bufio.NewReader(c)
	io.WriteString(c, g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`))
	_, err := readAnswer(r, "POST")
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, g.s.Shutdown(t.Context()))
	require.Less(t, time.Since(began), 30*time.Second)
	require.ErrorIs(t, <-g.done, ErrServerClosed)
	_, err = r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// TestQuickDoesNotBeginToWait while the server drains: Shutdown has closed those that waited already, and would wait for this
// one until its time is up.
func TestQuickDoesNotBeginToWait(t *testing.T) {
	g := newRig(t)
	request := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	_, rest := quickly(g.s, request)
	require.Empty(t, rest)
	g.s.draining.Store(true)
	answers, rest := quickly(g.s, request)
	require.Empty(t, answers)
	require.Empty(t, rest, "not read")
}

// doPanics is a store with a bug.
type doPanics struct{ *memoryStore }

func (doPanics) Do(uint32, *shard.Request) { panic("planted") }

func TestQuickPanicIs500(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Store = doPanics{newMemoryStore()} })
	request := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	got, _ := quickly(g.s, request)
	require.Contains(t, got, "HTTP/1.1 500 Internal Server Error\r\n")
	require.Contains(t, got, `{"error":"internal_error",`)
}

// FuzzQuickHead: what the quick way takes, fasthttp takes, and reads the same.
func FuzzQuickHead(f *testing.F) {
	const good = "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "Host", "Authorization: Bearer k\r\nConnection: keep-alive\r\nX-y_z:\t a b \r\nhOst", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h quickHead
		if !h.parse(b) {
			return
		}
		var req fasthttp.Request
		r := bufio.NewReader(bytes.NewReader(b))
		require.NoError(t, req.Read(r), "%q", b)
		require.Zero(t, r.Buffered())
		require.Equal(t, contextsPrefix+string(h.id)+"/messages", string(req.RequestURI()))
		route, id := match(req.RequestURI())
		require.Equal(t, routeMessages, route)
		require.Equal(t, string(h.id), string(id))
		require.Equal(t, string(b[h.body:]), string(req.Body()))
		require.Equal(t, string(h.contentType), string(req.Header.ContentType()))
		require.Equal(t, string(h.authorization), string(req.Header.PeekBytes(headerAuthorization)))
		require.False(t, req.ConnectionClose())
		require.Empty(t, req.Header.PeekBytes(headerIdempotencyKey))
		require.False(t, twoLengths(&req.Header))
	})
}

// received is what clients have sent so far, in bytes.
func (m *Metrics) received() uint64 {
	m.fold()
	return m.bytesIn.Get()
}

// tokenCount is how many messages were appended so far.
func (m *Metrics) tokenCount() uint64 {
	m.fold()
	return m.tokens.Count()
}
