package httpd

import (
	"time"

	"fastpaca/shard"
)

// feedPause is the first pause between two attempts to find a feed, doubled up to feedPauseMax.
const (
	feedPause    = 25 * time.Millisecond
	feedPauseMax = time.Second
)

// findFeed finds a feed for a stream of a client's, within wait; stop ends the search. version is where it begins.
func (s *Server) findFeed(id []byte, p *streamParams, wait time.Duration, stop <-chan struct{}) (f feed, version uint64, code shard.Code) {
	return s.tryFeeds(s.anyFeed, id, p, wait, stop)
}

// findFeedHere is findFeed for a stream of another node's, which looks elsewhere where this one has no replica.
func (s *Server) findFeedHere(id []byte, p *streamParams, wait time.Duration, stop <-chan struct{}) (f feed, version uint64, code shard.Code) {
	return s.tryFeeds(func(id []byte, p *streamParams) (feed, uint64, shard.Code) {
		f, version, code := s.localFeed(id, p)
		if code != shard.CodeOK {
			return nil, 0, code // not f, which would be a feed that is nil
		}
		return f, version, code
	}, id, p, wait, stop)
}

// tryFeeds calls try until it says something final, wait is over or stop closed.
func (s *Server) tryFeeds(try func([]byte, *streamParams) (feed, uint64, shard.Code),
	id []byte, p *streamParams, wait time.Duration, stop <-chan struct{},
) (f feed, version uint64, code shard.Code) {
	deadline := time.Now().Add(wait)
	for pause := feedPause; ; pause = min(2*pause, feedPauseMax) {
		f, version, code = try(id, p)
		switch code {
		case shard.CodeOK, shard.CodeNotFound, shard.CodeStorageFull:
			return f, version, code
		}
		if s.router == nil || s.draining.Load() || time.Now().Add(pause).After(deadline) {
			return nil, 0, code
		}
		select {
		case <-time.After(pause):
		case <-stop:
			return nil, 0, code
		}
	}
}

// anyFeed is one attempt: this node's replica, or another's.
func (s *Server) anyFeed(id []byte, p *streamParams) (feed, uint64, shard.Code) {
	local, version, code := s.localFeed(id, p)
	if code == shard.CodeOK {
		return local, version, code
	}
	if code != shard.CodeNotLeader || s.router == nil {
		return nil, 0, code
	}
	conn, code := s.router.Remote(id, appendRelayOpen(nil, id, p))
	if code != shard.CodeOK {
		return nil, 0, code
	}
	relay, version, code := newRelayFeed(conn, &s.streams.bufs)
	if code != shard.CodeOK {
		return nil, 0, code
	}
	return relay, version, shard.CodeOK
}

// localFeed finds the context on this node, as of a moment after the call.
func (s *Server) localFeed(id []byte, p *streamParams) (f *localFeed, version uint64, code shard.Code) {
	var source *shard.Context
	if s.router != nil {
		source, code = s.router.Stream(id)
	} else {
		source, code = s.store.Context(id)
	}
	if code != shard.CodeOK {
		return nil, 0, code
	}
	f, version = newLocalFeed(source, p)
	return f, version, shard.CodeOK
}

// reattach gives the stream another feed after its own was lost, or ends it: with 1001, so that the client comes
// back with its cursor, here or to another node. One that loses feed after feed has Reattach from the first on.
func (s *stream) reattach() cause {
	now := time.Now()
	if s.lost.IsZero() || now.Sub(s.attached) > s.opt.Reattach {
		s.lost = now
	}
	left := s.opt.Reattach - now.Sub(s.lost)
	if left <= 0 {
		return causeLost
	}
	s.feed.close()
	s.params.resume, s.params.version = true, s.place.version
	find := s.set.find
	if s.kind == kindRelay {
		find = s.set.findHere // or else the node that asked looks elsewhere
	}
	f, _, code := find([]byte(s.id), &s.params, left, s.quit)
	if c := s.ended(); c != causeNone {
		if code == shard.CodeOK {
			f.close()
		}
		return c
	}
	if code != shard.CodeOK {
		return causeLost
	}
	s.set.metrics.reattached.Inc()
	s.feed, s.attached = f, time.Now()
	s.resume.begin(s.place)
	s.feed.start(s.wake)
	return causeNone
}
