package httpd

import (
	"fastpaca/shard"
)

// work is everything that one request needs besides fasthttp's own memory. It is pooled, so that a
// request in steady state allocates nothing.
type work struct {
	route   route
	id      []byte // the decoded context id; points into path or decoded
	decoded [maxID]byte
	errCode string // of the error answered, for the log

	view   shard.View
	parser parser
}

func newWork() *work { return &work{} }

// reset readies w for a request.
func (w *work) reset() {
	w.route, w.id, w.errCode = routeNone, nil, ""
}

// release drops what would keep other memory alive while w waits in the pool.
func (w *work) release() {
	w.id = nil
	w.view.Reset()
	w.parser.reset()
}
