package lan

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Wire is a TCP proxy that can be slow, and away.
type Wire struct {
	target string
	l      net.Listener
	slow   atomic.Int64 // ns that each piece is late
	done   sync.WaitGroup

	mu     sync.Mutex
	refuse bool
	conns  map[net.Conn]bool // nil: closed
}

// NewWire starts a proxy at an address in front of target.
func NewWire(at, target string) (*Wire, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	w := &Wire{target: target, l: l, conns: map[net.Conn]bool{}}
	w.done.Add(1)
	go w.accept()
	return w, nil
}

// Addr is where it listens.
func (w *Wire) Addr() string { return w.l.Addr().String() }

// Slow lets each piece be late by d, in both directions.
func (w *Wire) Slow(d time.Duration) { w.slow.Store(int64(d)) }

// Refuse ends all connections, and new ones at once; or takes that back.
func (w *Wire) Refuse(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = on
	if on {
		for c := range w.conns {
			_ = c.Close()
		}
	}
}

// Close ends the proxy and all its connections.
func (w *Wire) Close() {
	_ = w.l.Close()
	w.Refuse(true)
	w.done.Wait()
}

func (w *Wire) accept() {
	defer w.done.Done()
	for {
		c, err := w.l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", w.target)
		if err != nil || !w.add(c, up) {
			_ = c.Close()
			if up != nil {
				_ = up.Close()
			}
			continue
		}
		w.done.Add(2)
		go w.pump(c, up)
		go w.pump(up, c)
	}
}

func (w *Wire) add(both ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse {
		return false
	}
	for _, c := range both {
		w.conns[c] = true
	}
	return true
}

func (w *Wire) pump(dst, src net.Conn) {
	defer w.done.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if d := w.slow.Load(); d > 0 {
			time.Sleep(time.Duration(d))
		}
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = dst.Close(), src.Close()
	w.mu.Lock()
	delete(w.conns, src)
	w.mu.Unlock()
}
