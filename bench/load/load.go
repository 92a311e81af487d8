// Package load is the load generator: many keep-alive connections over one epoll, on one thread.
//
// It must be far cheaper than what it measures. Requests are prebuilt bytes, responses are parsed for status and
// length only, nothing is allocated per request, and one clock reading serves the end of one request and the start of
// the next. A connection has at most one request under way.
package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"fastpaca/bench/hist"
)

// Plan is one run. Closed loop (Rate 0): every connection sends its next request as soon as it has the answer to the
// last. Open loop: requests fall due at a fixed rate whether or not answers came, and latency counts from then on, so
// that a server that stalls is charged for everyone who would have come meanwhile (no coordinated omission).
type Plan struct {
	Addr  netip.AddrPort
	Addrs []netip.AddrPort // in place of Addr: connection i goes to Addrs[i mod len]
	Conns int
	// Requests are sent in turn: request i (0, 1, 2, ... in the order of sending) is Requests[i mod len]. Never changed.
	Requests [][]byte
	// Build, where Requests is empty, appends request i to buf (which belongs to the connection) and returns it.
	Build  func(i uint64, buf []byte) []byte
	Status int // the only acceptable status

	Rate     float64       // requests a second; 0: closed loop
	Warmup   time.Duration // runs before Duration and is not counted
	Duration time.Duration // of the counted window; ignored where Count is set
	Count    uint64        // send exactly this many requests, all counted, and stop
	Stop     <-chan struct{}
	// OnSent, if set, is called now and then with the number of answers so far (progress); must be cheap.
	OnSent func(done uint64)
}

// Result is what a run found. Errors are not counted: the first one ends the run.
type Result struct {
	Requests  uint64        // answered within the window
	Total     uint64        // answered at all, warm-up and drain included
	BodyBytes uint64        // bytes of bodies received within the window
	Elapsed   time.Duration // of the window
	CPU       time.Duration // of this thread within the window
	Backlog   uint64        // open loop: the most requests that were due but had no free connection
	Latency   hist.H
}

// PerSecond is the throughput within the window.
func (r *Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

const (
	idleTimeout  = 20 * time.Second // no answer at all for this long ends a run
	drainTimeout = 20 * time.Second
	scratchBytes = 256 << 10
	headBytes    = 4 << 10 // a longer response head is an error
)

// ErrStopped is returned when Plan.Stop ends a run.
var ErrStopped = errors.New("stopped")

type conn struct {
	fd   int32
	slot int32
	// Where the answer under way is.
	busy      bool
	due       time.Duration // since the run's start: when the request was sent (closed) or should have been (open)
	body      int           // bytes of the body still to come; -1: the head is not complete
	bodyBytes int
	head      []byte // the beginning of a head that came in pieces
	out       []byte // what of the request is not written yet
	buf       []byte // the connection's own request buffer
}

type run struct {
	plan    *Plan
	res     *Result
	epoll   int
	conns   []conn
	free    []int32 // slots without a request under way
	scratch []byte  // shared by all connections: stays in the cache
	start   time.Time
	issued  uint64
	limit   uint64 // of requests to issue
	busy    int

	from, to time.Duration // the counted window, since start
	endIssue time.Duration // no request is issued after this
}

// Run executes p and fills res. It locks the calling goroutine to its thread while it runs.
func Run(p *Plan, res *Result) error {
	if p.Conns < 1 || (len(p.Requests) == 0 && p.Build == nil) || (p.Count == 0 && p.Duration <= 0) {
		return fmt.Errorf("load: bad plan: %d connections, %s", p.Conns, p.Duration)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	*res = Result{}
	r := &run{plan: p, res: res, scratch: make([]byte, scratchBytes), limit: ^uint64(0)}
	defer r.close()
	if err := r.connect(); err != nil {
		return err
	}
	if p.Count > 0 {
		r.limit, r.to, r.endIssue = p.Count, 1<<62, 1<<62
	} else {
		r.from, r.to = p.Warmup, p.Warmup+p.Duration
		r.endIssue = r.to
	}
	timerSlack(1)
	defer timerSlack(0)
	return r.loop()
}

func (r *run) connect() error {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		r.epoll = -1
		return fmt.Errorf("load: epoll_create1: %w", err)
	}
	r.epoll = ep
	r.conns = make([]conn, r.plan.Conns)
	for i := range r.conns {
		r.conns[i].fd = -1
	}
	for i := range r.conns {
		addr := r.plan.Addr
		if n := len(r.plan.Addrs); n > 0 {
			addr = r.plan.Addrs[i%n]
		}
		fd, err := dial(addr)
		if err != nil {
			return err
		}
		r.conns[i] = conn{fd: int32(fd), slot: int32(i), head: make([]byte, 0, headBytes)}
		ev := syscall.EpollEvent{Fd: int32(i), Events: syscall.EPOLLIN | syscall.EPOLLOUT | epollET}
		if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return fmt.Errorf("load: epoll_ctl: %w", err)
		}
	}
	for i := len(r.conns) - 1; i >= 0; i-- {
		r.free = append(r.free, int32(i))
	}
	return nil
}

func (r *run) close() {
	for i := range r.conns {
		if r.conns[i].fd >= 0 {
			_ = syscall.Close(int(r.conns[i].fd))
		}
	}
	if r.epoll >= 0 {
		_ = syscall.Close(r.epoll)
	}
}

// loop sends and receives until the window has passed or the count is reached, then drains what is under way.
func (r *run) loop() error {
	events := make([]syscall.EpollEvent, max(r.plan.Conns, 1))
	r.start = time.Now()
	var cpu, last time.Duration
	measuring := false
	for {
		now := time.Since(r.start)
		if !measuring && now >= r.from {
			measuring, cpu = true, threadCPU()
		}
		if now >= r.endIssue || r.issued >= r.limit {
			break
		}
		if err := r.issue(now); err != nil {
			return err
		}
		n, err := epollWait(r.epoll, events, r.pause(measuring))
		if err != nil {
			return err
		}
		if err := r.handle(events[:n]); err != nil {
			return err
		}
		if n > 0 {
			last = now
		} else if r.busy > 0 && now-last > idleTimeout {
			return fmt.Errorf("load: no answer for %s, %d requests under way", idleTimeout, r.busy)
		}
		select {
		case <-r.plan.Stop:
			return ErrStopped
		default:
		}
		if r.plan.OnSent != nil {
			r.plan.OnSent(r.res.Total)
		}
	}
	if r.plan.Count == 0 {
		r.res.CPU = threadCPU() - cpu
	}
	if err := r.drain(events); err != nil {
		return err
	}
	if r.plan.Count > 0 {
		r.res.CPU, r.res.Elapsed = threadCPU()-cpu, time.Since(r.start)
	} else {
		r.res.Elapsed = r.to - r.from
	}
	return nil
}

// issue sends what is due.
func (r *run) issue(now time.Duration) error {
	for len(r.free) > 0 && r.issued < r.limit {
		due := now
		if r.plan.Rate > 0 {
			if due = r.dueAt(r.issued); due > now {
				return nil
			}
		}
		slot := r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
		if err := r.send(&r.conns[slot], due); err != nil {
			return err
		}
	}
	if r.plan.Rate > 0 {
		should := uint64(now.Seconds() * r.plan.Rate)
		r.res.Backlog = max(r.res.Backlog, should-min(should, r.issued))
	}
	return nil
}

func (r *run) dueAt(i uint64) time.Duration {
	return time.Duration(float64(i) / r.plan.Rate * 1e9)
}

// pause is how long the next wait may last.
func (r *run) pause(measuring bool) time.Duration {
	now := time.Since(r.start)
	d := min(time.Second, r.endIssue-now)
	if !measuring {
		d = min(d, r.from-now)
	}
	if r.plan.Rate > 0 && len(r.free) > 0 {
		d = min(d, r.dueAt(r.issued)-now)
	}
	return d
}

func (r *run) send(c *conn, due time.Duration) error {
	if n := uint64(len(r.plan.Requests)); n > 0 {
		c.out = r.plan.Requests[r.issued%n]
	} else {
		c.buf = r.plan.Build(r.issued, c.buf[:0])
		c.out = c.buf
	}
	r.issued++
	r.busy++
	c.busy, c.due, c.body = true, due, -1
	c.head = c.head[:0]
	return r.flush(c)
}

// flush writes what of the request is left; the rest goes when epoll says so.
func (r *run) flush(c *conn) error {
	for len(c.out) > 0 {
		n, e := rawWrite(c.fd, c.out)
		switch e {
		case 0:
			c.out = c.out[n:]
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
		default:
			return fmt.Errorf("load: write: %w", e)
		}
	}
	return nil
}

func (r *run) handle(events []syscall.EpollEvent) error {
	for i := range events {
		c := &r.conns[events[i].Fd]
		if len(c.out) > 0 {
			if err := r.flush(c); err != nil {
				return err
			}
		}
		if events[i].Events&^uint32(syscall.EPOLLOUT) == 0 {
			continue
		}
		done, err := r.receive(c)
		if err != nil {
			return err
		}
		if !done {
			continue
		}
		now := time.Since(r.start)
		r.complete(c, now)
		if r.plan.Rate == 0 && now < r.endIssue && r.issued < r.limit {
			if err := r.send(c, now); err != nil {
				return err
			}
		} else {
			r.free = append(r.free, c.slot)
		}
	}
	return nil
}

func (r *run) complete(c *conn, now time.Duration) {
	c.busy = false
	r.busy--
	r.res.Total++
	if now < r.from || now >= r.to {
		return
	}
	r.res.Requests++
	r.res.BodyBytes += uint64(c.bodyBytes)
	r.res.Latency.Record(now - c.due)
}

// receive reads what there is of the answer and reports whether it is complete. Events are edge-triggered: it reads
// until the answer is complete (nothing can follow it: no pipelining) or the socket is empty.
func (r *run) receive(c *conn) (done bool, err error) {
	for {
		n, e := rawRead(c.fd, r.scratch)
		if e == syscall.EAGAIN {
			return false, nil
		}
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return false, fmt.Errorf("load: read: %w", e)
		}
		if n == 0 {
			return false, fmt.Errorf("load: the server closed connection %d", c.slot)
		}
		if done, err = r.take(c, r.scratch[:n]); done || err != nil {
			return done, err
		}
		if n < len(r.scratch) {
			return false, nil // the socket is empty: the next bytes raise a new edge
		}
	}
}

// take consumes b as the continuation of c's answer.
func (r *run) take(c *conn, b []byte) (done bool, err error) {
	if !c.busy {
		return false, fmt.Errorf("load: bytes without a request: %.80q", b)
	}
	n := len(b) // how many of them belong to the body
	if c.body < 0 {
		whole, before := b, len(c.head)
		if before > 0 { // the head came in pieces: gather it
			c.head = append(c.head, b[:min(len(b), headBytes-before)]...)
			whole = c.head
		}
		h, err := parseHead(whole)
		switch {
		case err == errIncomplete && len(whole) < headBytes:
			if before == 0 {
				c.head = append(c.head, b...)
			}
			return false, nil
		case err != nil:
			return false, fmt.Errorf("load: %w", err)
		case h.status != r.plan.Status:
			return false, fmt.Errorf("load: status %d, want %d: %.400q", h.status, r.plan.Status, whole[h.bytes:])
		}
		c.bodyBytes, c.body = h.body, h.body
		n = before + len(b) - h.bytes
	}
	c.body -= n
	if c.body < 0 {
		return false, fmt.Errorf("load: %d bytes more than Content-Length", -c.body)
	}
	return c.body == 0, nil
}

// drain waits for the requests under way, so that no write is left with an unknown outcome.
func (r *run) drain(events []syscall.EpollEvent) error {
	r.limit = r.issued // nothing new
	deadline := time.Now().Add(drainTimeout)
	for r.busy > 0 {
		if time.Now().After(deadline) {
			return fmt.Errorf("load: %d requests unanswered after %s", r.busy, drainTimeout)
		}
		n, err := epollWait(r.epoll, events, 100*time.Millisecond)
		if err != nil {
			return err
		}
		if err := r.handle(events[:n]); err != nil {
			return err
		}
	}
	return nil
}
