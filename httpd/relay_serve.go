package httpd

import (
	"net"
	"time"

	"fastpaca/shard"
)

// relayShare bounds the streams that a node carries for others: so many times StreamMax. Each is a stream of a client
// of another node, and counts there.
const relayShare = 4

// relayPatience is how much longer a relaying node may take nothing than a client may: it has a client of its own, to
// which it says slow_consumer when the time has come.
const relayPatience = 12

// ServeRemoteStream serves a stream from this node's replica to a node that has none: the other end of Router.Remote.
// It owns c and returns when the stream has ended. open is not kept.
func (s *Server) ServeRemoteStream(open []byte, c net.Conn) {
	defer c.Close()
	st, version, code := s.openRelay(open)
	c.SetWriteDeadline(time.Now().Add(streamFarewell))
	if _, err := c.Write(appendRelayFrame(nil, 0, relayHello, byte(code), version)); err != nil && code == shard.CodeOK {
		s.streams.release(st)
		return
	}
	if code == shard.CodeOK {
		st.run(c, relayTransport{})
	}
}

func (s *Server) openRelay(open []byte) (st *stream, version uint64, code shard.Code) {
	id, p, err := parseRelayOpen(open)
	switch {
	case err != nil:
		s.log.Line(LevelError, "relay_request").Str("error", err.Error()).Send("another node's request for a stream cannot be read; " +
			"nodes of very different versions run side by side")
		return nil, 0, shard.CodeUnavailable
	case s.draining.Load():
		return nil, 0, shard.CodeShuttingDown
	}
	f, version, code := s.localFeed(id, &p)
	if code != shard.CodeOK {
		return nil, 0, code
	}
	if st = s.streams.reserve(kindRelay, f, id); st == nil {
		return nil, 0, shard.CodeOverloaded
	}
	st.params, st.place.version = p, version
	return st, version, shard.CodeOK
}

// relayTransport is a stream to another node.
type relayTransport struct{}

func (relayTransport) hello(dst []byte) []byte            { return dst } // said before
func (relayTransport) pong(dst, _ []byte) []byte          { return dst }
func (relayTransport) goodbye(dst []byte, _ cause) []byte { return dst }

// frameEnd does not complete a cut frame: the other end throws it away.
func (relayTransport) frameEnd([]byte, int) int { return 0 }

func (relayTransport) ping(dst []byte) []byte { return appendRelayFrame(dst, 0, relayPing, 0, 0) }

// next encodes the event behind the place of its frame's head.
func (relayTransport) next(s *stream, dst []byte) (out []byte, kind eventKind, ok bool) {
	at := len(dst)
	var head [relayFrameHead]byte
	out, e, ok := s.nextEvent(append(dst, head[:]...))
	if !ok {
		return out[:at], eventOther, false
	}
	flags := byte(0)
	if e.last {
		flags = relayLast
	}
	appendRelayFrame(out[:at], len(out)-at-relayFrameHead, relayEvent, flags, e.version)
	return out, e.kind, true
}

// read waits for the end of the connection; there is nothing to be said in this direction.
func (relayTransport) read(s *stream, r *streamReader) {
	setUserTimeout(s.out.raw, relaySilence)
	r.discard()
	s.end(causeGone)
}
