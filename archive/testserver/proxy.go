package testserver

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Wire is a TCP proxy whose connections can be cut, held and refused.
type Wire struct {
	target string
	l      net.Listener

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	refuse bool
	wg     sync.WaitGroup

	budget atomic.Int64  // bytes towards the server before all connections are cut; < 0: no limit
	held   atomic.Bool   // nothing passes
	closed chan struct{} // the proxy is closed
}

// NewWire starts a proxy in front of addr that lets everything pass.
func NewWire(t testing.TB, addr string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{target: addr, l: l, conns: map[net.Conn]struct{}{}, closed: make(chan struct{})}
	w.budget.Store(-1)
	w.wg.Add(1)
	go w.accept()
	t.Cleanup(func() {
		close(w.closed)
		l.Close()
		w.Cut()
		w.wg.Wait()
	})
	return w
}

// Addr returns host and port of the proxy.
func (w *Wire) Addr() string { return w.l.Addr().String() }

// Cut closes all connections.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

// CutAfter cuts all connections once n more bytes have gone towards the server; what comes later may pass again.
func (w *Wire) CutAfter(n int64) { w.budget.Store(n) }

// Refuse closes new connections at once, or takes that back.
func (w *Wire) Refuse(on bool) {
	w.mu.Lock()
	w.refuse = on
	w.mu.Unlock()
	if on {
		w.Cut()
	}
}

// Hold swallows all bytes, in both directions, as a network that has failed without a word: connections stay open and
// what was swallowed is lost, so cut them before letting bytes pass again.
func (w *Wire) Hold(on bool) { w.held.Store(on) }

func (w *Wire) accept() {
	defer w.wg.Done()
	for {
		c, err := w.l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		refuse := w.refuse
		w.mu.Unlock()
		if refuse {
			c.Close()
			continue
		}
		up, err := net.Dial("tcp", w.target)
		if err != nil {
			c.Close()
			continue
		}
		w.mu.Lock()
		w.conns[c], w.conns[up] = struct{}{}, struct{}{}
		select {
		case <-w.closed:
			c.Close()
			up.Close()
		default:
		}
		w.mu.Unlock()
		w.wg.Add(2)
		go w.pump(up, c, true)
		go w.pump(c, up, false)
	}
}

func (w *Wire) pump(dst, src net.Conn, toServer bool) {
	defer w.wg.Done()
	defer func() {
		dst.Close()
		src.Close()
		w.mu.Lock()
		delete(w.conns, src)
		w.mu.Unlock()
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 && !w.held.Load() {
			if toServer {
				if left := w.budget.Load(); left >= 0 && !w.budget.CompareAndSwap(left, left-int64(n)) || left >= 0 && left < int64(n) {
					w.budget.Store(-1)
					_, _ = dst.Write(buf[:min(int64(n), max(left, 0))])
					w.Cut()
					return
				}
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Gate is an HTTP proxy that asks a function what to do with each request.
type Gate struct {
	srv   *httptest.Server
	fault atomic.Pointer[Fault]
}

// Fault decides about one request. It returns false to let it pass, or answers it itself and returns true. Panicking
// with http.ErrAbortHandler cuts the connection. next, when called, lets the request reach the server and drops the
// answer: a fault that calls it and then aborts has made the client lose the answer of a request that was done.
type Fault func(w http.ResponseWriter, r *http.Request, next func()) (answered bool)

// NewGate starts a proxy in front of the HTTP server at addr that lets everything pass.
func NewGate(t testing.TB, addr string) *Gate {
	t.Helper()
	g := &Gate{}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr}) // the Host header, which is signed, stays
	proxy.Transport = transport
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	g.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := g.fault.Load(); f != nil {
			if (*f)(w, r, func() { proxy.ServeHTTP(httptest.NewRecorder(), r) }) {
				_, _ = io.Copy(io.Discard, r.Body)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		g.srv.CloseClientConnections()
		g.srv.Close()
		transport.CloseIdleConnections()
	})
	return g
}

// Addr returns host and port of the proxy.
func (g *Gate) Addr() string { return g.srv.Listener.Addr().String() }

// Set makes f decide about all requests from now on; nil lets them pass.
func (g *Gate) Set(f Fault) {
	if f == nil {
		g.fault.Store(nil)
		return
	}
	g.fault.Store(&f)
}
