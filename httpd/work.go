package httpd

import "fastpaca/shard"

// work is everything that one request needs besides fasthttp's own memory. It is pooled, so that a
// request in steady state allocates nothing.
type work struct {
	route   route
	id      []byte // the decoded context id, part of the path or of decoded
	decoded [maxID]byte

	view   shard.View
	parser parser
}

// release drops what would keep other memory alive while w waits in the pool.
func (w *work) release() {
	w.route, w.id = routeNone, nil
	w.view = shard.View{}
	w.parser.reset()
}
