// Package floor holds the two servers that the product is measured against: what this machine can do at all.
//
//   - the floor answers every request with fixed bytes and does nothing else: the cost of HTTP, of the kernel's TCP
//     and of the load generator;
//   - the durable floor appends every POST body to a log and answers when an fdatasync has covered it: the cost of
//     durability with a perfect group commit and no product around it.
//
// They run as processes of their own (the benchmark executes itself again), with the GOMAXPROCS that the product
// gets, so that client and server share the cores in the same way.
package floor

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// ControlPath is where PUT sets the answer of every other request: the body is the body to answer with, the query
// argument status the status code. It saves a process per kind of answer.
const ControlPath = "/_floor"

// writeBuffer lets an answer of 50 messages leave in one write: fasthttp default of 4 KiB splits it in two, which
// costs the floor 15 to 25% (PERF.md). The floor is meant to be hard to reach.
const writeBuffer = 32 << 10

// Config says what a floor server does.
type Config struct {
	Listener net.Listener
	Log      *Log // nil: the plain floor. Otherwise POST bodies are logged durably before the answer.
}

// answer is what every request gets. Immutable once published.
type answer struct {
	status int
	body   []byte
}

// Serve answers requests until the listener is closed.
func Serve(cfg Config) error {
	var fixed atomic.Pointer[answer]
	fixed.Store(&answer{status: fasthttp.StatusOK, body: []byte("{}")})
	srv := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			if ctx.IsPut() && string(ctx.Path()) == ControlPath {
				control(ctx, &fixed)
				return
			}
			if cfg.Log != nil && ctx.IsPost() {
				if err := cfg.Log.Append(ctx.PostBody()); err != nil {
					ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
					return
				}
			}
			a := fixed.Load()
			ctx.Response.Header.SetContentType("application/json")
			ctx.SetStatusCode(a.status)
			ctx.Response.SetBodyRaw(a.body)
		},
		WriteBufferSize:       writeBuffer,
		MaxRequestBodySize:    16 << 20,
		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
	}
	if err := srv.Serve(cfg.Listener); err != nil {
		return fmt.Errorf("floor server: %w", err)
	}
	return nil
}

// control handles PUT /_floor?status=N.
func control(ctx *fasthttp.RequestCtx, fixed *atomic.Pointer[answer]) {
	status, err := strconv.Atoi(string(ctx.QueryArgs().Peek("status")))
	if err != nil || status < 200 || status > 599 {
		ctx.Error("status must be a number from 200 to 599", fasthttp.StatusBadRequest)
		return
	}
	fixed.Store(&answer{status: status, body: append([]byte(nil), ctx.PostBody()...)})
}

// Main is the floor's process: it listens on a free port of the loopback, prints its address as one line to out, and
// serves. logPath empty: the plain floor.
func Main(out io.Writer, logPath string, opts LogOptions) error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("floor: listen: %w", err)
	}
	cfg := Config{Listener: ln}
	if logPath != "" {
		if cfg.Log, err = OpenLog(logPath, opts); err != nil {
			return err
		}
		defer cfg.Log.Close()
	}
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return fmt.Errorf("floor: report address: %w", err)
	}
	return Serve(cfg)
}
