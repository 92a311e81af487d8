package httpd

import "fastpaca/shard"

// work is everything that one request needs besides fasthttp's own memory. It is pooled, so that a
// request in steady state allocates nothing.
type work struct {
	route route
	id    []byte // the decoded context id, part of the path or of decoded

	forwarded bool // by another node: authenticated there, and not to be forwarded again
	notLeader bool // the handler met CodeNotLeader: it wrote nothing and answered nothing

	decoded [maxID]byte

	view   shard.View
	parser parser
	tally  *tally
}

// release drops what would keep other memory alive while w waits in the pool.
func (w *work) release() {
	w.route, w.id, w.forwarded, w.notLeader = routeNone, nil, false, false
	w.view = shard.View{}
	w.parser.reset()
}
