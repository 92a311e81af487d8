package httpd

import "fastpaca/shard"

// work is everything that one request needs besides fasthttp's own memory. It is pooled, so that a
// request in steady state allocates nothing.
type work struct {
	route route
	id    []byte // the decoded context id, part of the path or of decoded

	forwarded bool // by another node: authenticated there, and not to be forwarded again
	notLeader bool // the handler met CodeNotLeader: it wrote nothing and answered nothing
	unsure    bool // an attempt on another node may have been carried out

	decoded [maxID]byte

	view   shard.View
	parser parser
	tally  *tally
}

// release drops what would keep other memory alive while w waits in the pool.
func (w *work) release() {
	w.route, w.id, w.forwarded, w.notLeader, w.unsure = routeNone, nil, false, false, false
	w.view = shard.View{}
	w.parser.reset()
}

// honest returns CodeTimeout in place of a code that says that nothing was written where an attempt before may have been
// carried out: the next one's refusal is no word about that.
func (w *work) honest(c shard.Code) shard.Code {
	if !w.unsure {
		return c
	}
	switch c {
	case shard.CodeUnavailable, shard.CodeNotLeader, shard.CodeStorageFull, shard.CodeOverloaded, shard.CodeShuttingDown:
		return shard.CodeTimeout
	}
	return c // the state machine's word, which holds for every attempt with the same key
}
