package cluster

import (
	"encoding/binary"
	"net"

	"fastpaca/cluster/peer"
	"fastpaca/shard"
)

// serve answers the calls of other nodes (peer.Config.Serve).
func (n *Node) serve(_ uint64, kind uint8, req, dst []byte) []byte {
	switch kind {
	case KindHTTP:
		return n.serveHTTP(req, dst)
	case KindBarrier:
		return n.serveBarrier(req, dst)
	case KindPropose, KindJoin, KindDrain:
		return n.servePlacement(kind, req, dst)
	case KindReport:
		return n.appendReport(dst)
	case KindMembers:
		return n.serveMembers(req, dst)
	case KindMessages:
		return n.serveMessages(req, dst)
	}
	return dst // of a newer version: an empty answer is none
}

// take offers the forwarded requests among calls to httpd (peer.Config.Take).
func (n *Node) take(_ uint64, calls []peer.Incoming) {
	if h := n.hand.Load(); h != nil && h.take != nil {
		h.take(calls)
	}
}

// serveHTTP has httpd answer a forwarded request.
func (n *Node) serveHTTP(req, dst []byte) []byte {
	if h := n.hand.Load(); h != nil && h.forwarded != nil {
		return h.forwarded(req, dst)
	}
	return append(dst, AnswerNotLeader)
}

// serveBarrier answers KindBarrier.
func (n *Node) serveBarrier(req, dst []byte) []byte {
	m := n.member.Load()
	if m == nil || len(req) != 4 {
		return append(dst, byte(shard.CodeUnavailable), 0, 0, 0, 0, 0, 0, 0, 0)
	}
	index, code := m.store.Barrier(binary.LittleEndian.Uint32(req))
	return binary.LittleEndian.AppendUint64(append(dst, byte(code)), index)
}

// serveStream serves a stream that another node carries to its client (peer.Config.ServeStream).
func (n *Node) serveStream(_ uint64, open []byte, c net.Conn) {
	if h := n.hand.Load(); h != nil && h.stream != nil {
		h.stream(open, c)
	}
}

// Remote is httpd.Router: a connection to a node that has a replica of id's shard and serves the stream that open
// describes, another one each time. The caller closes it.
func (n *Node) Remote(id, open []byte) (net.Conn, shard.Code) {
	m := n.member.Load()
	if m == nil {
		return nil, shard.CodeUnavailable
	}
	group := shard.Of(id)
	deadline := n.opt.Now().Add(forwardWait)
	for {
		set := m.machine.picture().Set(group)
		for range set {
			to := set[int(n.turn.Add(1))%len(set)]
			if to == m.id || !n.transport.Alive(to) {
				continue
			}
			if c, err := n.transport.OpenStream(to, open); err == nil {
				return c, shard.CodeOK
			}
		}
		left := deadline.Sub(n.opt.Now())
		if left <= 0 || n.ctx.Err() != nil {
			return nil, shard.CodeUnavailable
		}
		n.pause(nil, min(left, 5*retryPause))
	}
}
