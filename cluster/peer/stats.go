package peer

import (
	"sync/atomic"
	"time"
)

// LaneStats counts what passed one lane, all nodes together.
type LaneStats struct {
	BytesIn, BytesOut       uint64
	MessagesIn, MessagesOut uint64 // raft messages
	Reads, Writes           uint64 // system calls that moved bytes
	Dropped                 uint64 // raft messages for which there was no connection, or no room in its queue
}

// PeerStats is the state of the connections to one node.
type PeerStats struct {
	ID        uint64
	Name      string
	Address   string
	Alive     bool          // as Transport.Alive
	Connected bool          // control and data lane are up
	Heard     time.Duration // since a byte came of it; negative: never
	Queued    int           // bytes that wait for the data lane
	Snapshots int           // to it, waiting or under way
}

// Stats is what metrics and status need. Counters start with New.
type Stats struct {
	Control, Data LaneStats
	Nowhere       uint64 // raft messages for nodes that are no peers
	Connects      uint64 // control and data connections established by this node
	DialErrors    uint64
	Refused       [Reasons]uint64 // connections from outside, by Reason
	Exchanges     uint64          // answered

	Calls, CallsNotSent, CallsTimeout, CallsUnknown   uint64 // made here, and how those that failed ended
	LateAnswers                                       uint64 // that nobody waited for any more
	Served, ServeOverloaded, AnswersDropped           uint64 // calls of other nodes
	StreamsOpened, StreamsServed, StreamsRefused      uint64
	StreamsOut, StreamsIn                             int // open now
	SnapshotsSent, SnapshotsFailed, SnapshotsReceived uint64
	SnapshotsRefused                                  uint64 // of other nodes, and those that broke
	SnapshotBytesOut, SnapshotBytesIn                 uint64 // on the wire, after compression

	Peers []PeerStats
}

type laneCounters struct {
	bytesIn, bytesOut, messagesIn, messagesOut, reads, writes, dropped atomic.Uint64
}

func (c *laneCounters) load() LaneStats {
	return LaneStats{
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(), MessagesIn: c.messagesIn.Load(), MessagesOut: c.messagesOut.Load(),
		Reads: c.reads.Load(), Writes: c.writes.Load(), Dropped: c.dropped.Load(),
	}
}

type counters struct {
	lanes                                             [laneLimit]laneCounters
	nowhere, connects, dialErrors, exchanges          atomic.Uint64
	calls, callsNotSent, callsTimeout, callsUnknown   atomic.Uint64
	lateAnswers                                       atomic.Uint64
	served, serveOverloaded, answersDropped           atomic.Uint64
	streamsOpened, streamsServed, streamsRefused      atomic.Uint64
	snapshotsSent, snapshotsFailed, snapshotsReceived atomic.Uint64
	snapshotsRefused                                  atomic.Uint64
}

// Stats fills dst; it uses the memory of dst.Peers again.
func (t *Transport) Stats(dst *Stats) {
	c, peers := &t.counters, dst.Peers[:0]
	*dst = Stats{
		Control: c.lanes[laneControl].load(), Data: c.lanes[laneData].load(), Nowhere: c.nowhere.Load(),
		Connects: c.connects.Load(), DialErrors: c.dialErrors.Load(), Exchanges: c.exchanges.Load(),
		Calls: c.calls.Load(), CallsNotSent: c.callsNotSent.Load(), CallsTimeout: c.callsTimeout.Load(),
		CallsUnknown: c.callsUnknown.Load(), LateAnswers: c.lateAnswers.Load(),
		Served: c.served.Load(), ServeOverloaded: c.serveOverloaded.Load(), AnswersDropped: c.answersDropped.Load(),
		StreamsOpened: c.streamsOpened.Load(), StreamsServed: c.streamsServed.Load(), StreamsRefused: c.streamsRefused.Load(),
		SnapshotsSent: c.snapshotsSent.Load(), SnapshotsFailed: c.snapshotsFailed.Load(),
		SnapshotsReceived: c.snapshotsReceived.Load(), SnapshotsRefused: c.snapshotsRefused.Load(),
		SnapshotBytesOut: c.lanes[laneBulk].bytesOut.Load(), SnapshotBytesIn: c.lanes[laneBulk].bytesIn.Load(),
	}
	for i := range dst.Refused {
		dst.Refused[i] = t.refusals.count[i].Load()
	}
	t.mu.Lock()
	dst.StreamsOut, dst.StreamsIn = t.streams.out, t.streams.in
	t.mu.Unlock()
	now := t.cfg.Now().UnixNano()
	for _, p := range t.view.Load().peers {
		peers = append(peers, p.stats(now))
	}
	dst.Peers = peers
}

func (p *peer) stats(now int64) PeerStats {
	x := PeerStats{ID: p.ID, Name: p.Name, Address: *p.addr.Load(), Alive: p.alive(now), Heard: -1}
	if h := p.heard.Load(); h != 0 {
		x.Heard = time.Duration(max(now-h, 0))
	}
	x.Connected = p.data.session.Load() != nil && p.control.session.Load() != nil
	if data := p.shared(); data != nil {
		data.mu.Lock()
		x.Queued = len(data.buf)
		data.mu.Unlock()
	}
	p.mu.Lock()
	x.Snapshots = len(p.out.queue) + p.out.running
	p.mu.Unlock()
	return x
}
