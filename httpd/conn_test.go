package httpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// eventually waits for something that happens soon, on a machine of any speed.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 40*time.Second, 2*time.Millisecond)
}

// gone reads until the server closes the connection, and returns what came before.
func gone(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		var network net.Error
		if e, ok := err.(net.Error); ok {
			network = e
			require.False(t, network.Timeout(), "the server did not close the connection")
		}
	}
	return string(b)
}

func TestKeepAliveAndPipelining(t *testing.T) {
	g := newRig(t)
	c := g.dial()
	r := bufio.NewReader(c)
	io.WriteString(c, g.request("PUT", "/v1/contexts/c", ""))
	a, err := readAnswer(r, "PUT")
	require.NoError(t, err)
	require.Equal(t, 201, a.status)
	// Errors of the API leave the connection usable, and bodies do not bleed from one request into the next.
	for range 3 {
		long := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("long ", 500))+`}`)
		short := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("s")+`}`)
		bad := g.request("POST", "/v1/contexts/c/messages", `{"message":}`)
		io.WriteString(c, long+bad+short+g.request("GET", "/v1/contexts/c/tail?limit=1", ""))
		for _, want := range []int{201, 400, 201, 200} {
			a, err := readAnswer(r, "GET")
			require.NoError(t, err)
			require.Equal(t, want, a.status)
			require.False(t, a.closed)
			if want == 200 {
				require.Contains(t, a.body, `"text":"s"`)
				require.Len(t, seqs(t, a.body), 1)
			}
		}
	}
	// HTTP/1.0 without keep-alive is answered and closed.
	io.WriteString(c, "GET /v1/contexts/c HTTP/1.0\r\n\r\n")
	a, err = readAnswer(r, "GET")
	require.NoError(t, err)
	require.Equal(t, 200, a.status)
	require.Empty(t, gone(t, c))
}

func TestHead(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	for _, path := range []string{"/v1/contexts/c", "/v1/contexts/c/tail", "/v1/contexts/c/messages", "/v1/contexts/c/context", "/health/live"} {
		get, head := g.do("GET", path, ""), g.do("HEAD", path, "")
		require.Equal(t, 200, head.status, path)
		require.Empty(t, head.body)
		require.Equal(t, itoa(len(get.body)), head.header.Get("Content-Length"))
		require.Equal(t, get.header.Get("Content-Type"), head.header.Get("Content-Type"))
	}
	require.Equal(t, 404, g.do("HEAD", "/v1/contexts/none", "").status)
	require.Equal(t, 405, g.do("HEAD", "/v1/contexts/c/stream", "").status)
}

func TestHeadersSayNothingOfTheServer(t *testing.T) {
	g := newRig(t)
	a := g.do("GET", "/v1/contexts/c", "")
	require.Empty(t, a.header.Get("Server"))
	require.Len(t, a.header, 2, "%v", a.header) // Content-Type, Content-Length
}

func TestExpectContinue(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	body := `{"message":` + textMessage("x") + `}`
	head := func(size int) string {
		return "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: " + itoa(size) + "\r\n\r\n"
	}
	c := g.dial()
	r := bufio.NewReader(c)
	io.WriteString(c, head(len(body)))
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	r.ReadString('\n')
	io.WriteString(c, body)
	a, err := readAnswer(r, "POST")
	require.NoError(t, err)
	require.Equal(t, 201, a.status)

	// Too large: refused before any of it is sent.
	a = g.raw(head(64<<10 + 1))
	g.isError(a, 413, "payload_too_large")
	require.True(t, a.closed)
}

func TestMalformedHTTP(t *testing.T) {
	g := newRig(t)
	f := func(status int, code, request string) {
		t.Helper()
		a := g.raw(request)
		g.isError(a, status, code)
		require.True(t, a.closed)
	}
	f(400, "invalid_request", "nonsense\r\n\r\n")
	f(400, "invalid_request", "GET\r\n\r\n")
	f(400, "invalid_request", "GET /v1/contexts/c\r\n\r\n")
	f(400, "invalid_request", "GET /v1/contexts/c HTTP/1.1\r\n\r\n") // no Host
	f(400, "invalid_request", "GET /v1/contexts/c HTTP/1.1\r\nHost: x\r\nbroken header\r\n\r\n")
	f(400, "invalid_request", "GET /v1/contexts/c HTTP/1.1\r\nHost: x\r\nA\x00b: c\r\n\r\n")
	f(400, "invalid_request", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n") // TLS
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\ncontent-length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	f(400, "invalid_request", "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f(400, "invalid_request", "GET /v1/contexts/c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f(400, "invalid_request", "DELETE /v1/contexts/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n")
	f(431, "headers_too_large", "GET /v1/contexts/c HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("x", 10_000)+"\r\n\r\n")
	f(431, "headers_too_large", "GET /"+strings.Repeat("x", 10_000)+" HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Zero(t, g.store.writes.Load())
}

// TestHalfClosed: a client that has shut down its side still gets its answer; one that did so before its
// request was complete gets an error, and nothing is written.
func TestHalfClosed(t *testing.T) {
	g := newRig(t)
	g.ok(201, "PUT", "/v1/contexts/c", "")
	request := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	send := func(part string) *answer {
		t.Helper()
		c := g.dial()
		io.WriteString(c, part)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		a, err := readAnswer(bufio.NewReader(c), "POST")
		require.NoError(t, err)
		require.Empty(t, gone(t, c))
		return a
	}
	require.Equal(t, 201, send(request).status)
	writes := g.store.writes.Load()
	head := strings.Index(request, "\r\n\r\n") + 4
	for _, n := range []int{1, head - 30, head - 1, head, head + 1, len(request) - 1} {
		g.isError(send(request[:n]), 400, "invalid_request")
	}
	chunked := "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{\"message\":"
	g.isError(send(chunked), 400, "invalid_request")
	// Closed without a word, or reset in the middle: nobody to answer, nothing written.
	c := g.dial()
	c.(*net.TCPConn).CloseWrite()
	require.Empty(t, gone(t, c))
	c = g.dial()
	io.WriteString(c, request[:head+5])
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	require.Equal(t, writes, g.store.writes.Load())
	require.Equal(t, []int{1}, seqs(t, g.ok(200, "GET", "/v1/contexts/c/tail", "")))
}

func TestSlowSender(t *testing.T) {
	g := newRig(t, func(c *Config) { c.ReadTimeout, c.IdleTimeout = 200*time.Millisecond, 300*time.Millisecond })
	g.ok(201, "PUT", "/v1/contexts/c", "")
	writes := g.store.writes.Load()
	request := g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`)
	for _, n := range []int{0, 5, strings.Index(request, "\r\n\r\n") + 4, len(request) - 1} {
		c := g.dial()
		io.WriteString(c, request[:n])
		a, err := readAnswer(bufio.NewReader(c), "POST")
		require.NoError(t, err)
		g.isError(a, 408, "request_timeout")
		require.True(t, a.closed)
		gone(t, c)
	}
	// A byte now and then does not buy time: the limit is for the whole request.
	c := g.dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range len(request) {
			if _, err := io.WriteString(c, request[i:i+1]); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	a, err := readAnswer(bufio.NewReader(c), "POST")
	require.NoError(t, err)
	g.isError(a, 408, "request_timeout")
	c.Close()
	<-done
	require.Equal(t, writes, g.store.writes.Load())

	// An idle connection is closed without a word.
	c = g.dial()
	r := bufio.NewReader(c)
	io.WriteString(c, g.request("GET", "/v1/contexts/c", ""))
	_, err = readAnswer(r, "GET")
	require.NoError(t, err)
	_, err = r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// TestSlowReader: whoever does not read the answer loses the connection, and the worker is free again.
func TestSlowReader(t *testing.T) {
	g := newRig(t, func(c *Config) { c.WriteTimeout, c.MaxBodyBytes = 200*time.Millisecond, 16<<20 })
	g.ok(201, "PUT", "/v1/contexts/c", "")
	g.ok(201, "POST", "/v1/contexts/c/messages", `{"message":`+textMessage(strings.Repeat("x", 12<<20))+`}`)
	eventually(t, func() bool { return g.s.metrics.connections.Load() == 0 })
	c := g.dial()
	c.(*net.TCPConn).SetReadBuffer(4096)
	io.WriteString(c, g.request("GET", "/v1/contexts/c/tail", ""))
	eventually(t, func() bool { return g.s.metrics.connections.Load() == 1 })
	eventually(t, func() bool { return g.s.metrics.connections.Load() == 0 })
}

func TestTooManyConnections(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxConns = 2 })
	hold := func() net.Conn {
		c := g.dial()
		io.WriteString(c, g.request("GET", "/health/live", ""))
		_, err := readAnswer(bufio.NewReader(c), "GET")
		require.NoError(t, err)
		return c
	}
	first, _ := hold(), hold()
	for range 3 {
		a := g.do("PUT", "/v1/contexts/c", `{}`)
		g.isError(a, 503, "overloaded")
		require.True(t, a.closed)
	}
	require.Zero(t, g.store.writes.Load())
	first.Close()
	eventually(t, func() bool { return g.s.metrics.connections.Load() == 1 })
	g.ok(201, "PUT", "/v1/contexts/c", "")
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	before := runtime.NumGoroutine()
	store := newMemoryStore()
	g := newRig(t, func(c *Config) { c.Store = store })
	g.ok(201, "PUT", "/v1/contexts/c", "")
	store.hold = make(chan struct{})

	idle := g.dial()
	idleReader := bufio.NewReader(idle)
	io.WriteString(idle, g.request("GET", "/v1/contexts/c", ""))
	_, err := readAnswer(idleReader, "GET")
	require.NoError(t, err)

	const inFlight = 8
	answers := make(chan *answer, inFlight)
	var clients sync.WaitGroup
	for range inFlight {
		c := g.dial()
		clients.Go(func() {
			io.WriteString(c, g.request("POST", "/v1/contexts/c/messages", `{"message":`+textMessage("x")+`}`))
			a, err := readAnswer(bufio.NewReader(c), "POST")
			if err != nil {
				a = &answer{body: err.Error()}
			}
			answers <- a
		})
	}
	eventually(t, func() bool { return store.writes.Load() == 1+inFlight })

	stopped := make(chan error, 1)
	go func() { stopped <- g.s.Shutdown(context.Background()) }()
	require.ErrorIs(t, <-g.done, ErrServerClosed) // it no longer accepts
	// Accept fails a moment before the kernel closes the socket.
	eventually(t, func() bool {
		c, err := net.Dial("tcp", g.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown returned (%v) with requests under way", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(store.hold)
	require.NoError(t, <-stopped)
	clients.Wait()
	for range inFlight {
		a := <-answers
		require.Equal(t, 201, a.status, a.body)
		require.True(t, a.closed)
	}
	_, err = idleReader.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	for deadline := time.Now().Add(40 * time.Second); runtime.NumGoroutine() > before; { // eventually would be one more
		require.True(t, time.Now().Before(deadline), "goroutines are left")
		time.Sleep(time.Millisecond)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, g.s.Serve(ln), ErrServerClosed)
}

func TestShutdownIsBounded(t *testing.T) {
	g := newRig(t)
	c := g.dial()
	io.WriteString(c, "POST /v1/contexts/c/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	eventually(t, func() bool { return g.s.metrics.received() > 0 }) // a connection that has said nothing is closed at once
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, g.s.Shutdown(ctx), context.DeadlineExceeded)
	require.ErrorIs(t, <-g.done, ErrServerClosed)
	gone(t, c)
	eventually(t, func() bool { return g.s.metrics.connections.Load() == 0 })
}

// A listener that fails now and then is no reason to stop.
type flakyListener struct {
	net.Listener
	mu     sync.Mutex
	errors []error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	if len(l.errors) > 0 {
		err := l.errors[0]
		l.errors = l.errors[1:]
		l.mu.Unlock()
		return nil, err
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

func TestAcceptFailuresPass(t *testing.T) {
	g := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- g.s.Serve(&flakyListener{Listener: ln, errors: []error{
			&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)},
			&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ECONNABORTED)},
		}})
	}()
	g.addr = ln.Addr().String()
	g.ok(201, "PUT", "/v1/contexts/c", "")
	require.NoError(t, g.s.Shutdown(context.Background()))
	require.ErrorIs(t, <-done, ErrServerClosed)
}
