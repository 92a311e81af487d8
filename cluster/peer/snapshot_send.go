package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"fastpaca/raft"

	"github.com/klauspost/compress/s2"
)

// One snapshot on its own connection:
//
//	leader                                        follower
//	offer   | size v | message (codec.go) |  -->
//	                                         <--  accept  | 0 go on, 1 busy: u8 |
//	chunk   | flags u8 | data |              -->
//	chunk ...                                <--  ack     | bytes read so far v |
//	end     | crc32c of the whole u32 LE | size v |  -->
//	                                         <--  done    | 0 installed, 1 failed: u8 | why |
//
//	flags   bit 0: data is one s2 block, else it is as in the file
//
// The follower may say done at any time. A transfer that breaks is restarted from the beginning, by raft, with the newest
// snapshot of that time: the pieces of an old one are worth nothing.
const (
	// chunkSize is how much of the file one frame carries: the unit of checksum, pacing and acknowledgement.
	chunkSize = 256 << 10
	// snapshotWindow is how far the leader runs ahead of what the follower has read: it fills a link of 400 Mbit at 20 ms, and
	// bounds what lies in socket buffers, in the way of appends.
	snapshotWindow = 1 << 20
	// snapshotsPerPeer are sent to one node at a time: while one is being installed, another travels.
	snapshotsPerPeer = 2
	// snapshotQueueMax bounds those that wait for one node. A group has at most one under way to each.
	snapshotQueueMax = 512
	// snapshotsInMax are received at a time, all nodes together: each holds a file and a shard's state twice while it is installed.
	snapshotsInMax = 4
	// snapshotWait is how long an offer waits for one of these places. Those who wait are few (snapshotsPerPeer), and would
	// come again at the next heartbeat.
	snapshotWait = 20 * time.Second
	// snapshotQuiet is the longest silence within a transfer, installing included.
	snapshotQuiet = time.Minute

	chunkS2 = 1

	acceptGo, acceptBusy = 0, 1
	doneOK, doneFailed   = 0, 1

	// doneTextMax bounds the reason in a done frame, and controlFrameMax all frames of the follower.
	doneTextMax     = 1 << 10
	controlFrameMax = 2 << 10
)

var (
	errBusy     = errors.New("peer: the other node receives as many snapshots as it takes")
	errTransfer = errors.New("peer: not the frame that a snapshot's transfer expects")
)

// outgoing are the snapshots to one node, under peer.mu.
type outgoing struct {
	queue   []raft.Message
	running int
}

// snapshots is what all transfers share.
type snapshots struct {
	mu     sync.Mutex
	failed []raft.Message // never started; reported by housekeep, so that a report never comes from within SendSnapshot
	in     chan struct{}  // holds one for each that is being received
	log    throttle       // of those that failed
}

// report tells the node about those that never started. Once per sweep: a group that tries again at once does not spin.
func (s *snapshots) report(t *Transport) {
	node := t.view.Load().node
	if node == nil {
		return // before Start: it is told then
	}
	s.mu.Lock()
	failed := s.failed
	s.failed = nil
	s.mu.Unlock()
	for i := range failed {
		t.counters.snapshotsFailed.Add(1)
		node.ReportSnapshot(failed[i].Group, failed[i].To, false)
	}
}

func (s *snapshots) fail(m ...raft.Message) {
	s.mu.Lock()
	s.failed = append(s.failed, m...)
	s.mu.Unlock()
}

// SendSnapshot streams the newest snapshot that covers m.Snapshot.Index to m.To, in the background. It does not block.
// Exactly one Node.ReportSnapshot follows, unless the transport is closed before.
func (t *Transport) SendSnapshot(m raft.Message) {
	m.Snapshot = &raft.SnapshotMeta{Index: m.Snapshot.Index} // the message is the caller's; only this is needed of it
	p := t.view.Load().find(m.To)
	if p == nil {
		t.snapshots.fail(m)
		return
	}
	p.mu.Lock()
	if p.ctx.Err() != nil || len(p.out.queue) >= snapshotQueueMax {
		p.mu.Unlock()
		t.snapshots.fail(m)
		return
	}
	p.out.queue = append(p.out.queue, m)
	more := p.out.running < snapshotsPerPeer
	if more {
		p.out.running++
	}
	p.mu.Unlock() // Transport.mu, which goDo takes, comes before peer.mu
	if more && !t.goDo(p.sendSnapshots) {
		p.dropSnapshots()
	}
}

// dropSnapshots fails what waits; the peer was stopped.
func (p *peer) dropSnapshots() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.t.snapshots.fail(p.out.queue...)
	p.out.queue = nil
}

// sendSnapshots sends one after the other until none waits.
func (p *peer) sendSnapshots() {
	for {
		p.mu.Lock()
		if len(p.out.queue) == 0 {
			p.out.running--
			p.out.queue = nil
			p.mu.Unlock()
			return
		}
		m := p.out.queue[0]
		p.out.queue = p.out.queue[1:]
		p.mu.Unlock()
		err := p.sendSnapshot(m)
		t := p.t
		if err == nil {
			t.counters.snapshotsSent.Add(1)
		} else {
			t.counters.snapshotsFailed.Add(1)
			if n, ok := t.snapshots.log.allow(t.cfg.Now()); ok && p.ctx.Err() == nil {
				t.cfg.Logf("peer_snapshot_failed", "group", m.Group, "to", m.To, "name", p.Name, "error", err, "suppressed", n)
			}
		}
		t.view.Load().node.ReportSnapshot(m.Group, m.To, err == nil)
	}
}

// sendSnapshot does one transfer.
func (p *peer) sendSnapshot(m raft.Message) error {
	t := p.t
	meta, size, file, err := t.view.Load().node.OpenSnapshot(m.Group, m.Snapshot.Index, m.Term)
	if err != nil {
		return fmt.Errorf("opening the snapshot of group %d: %w", m.Group, err)
	}
	defer file.Close()
	c, _, err := t.connect(p.ctx, *p.addr.Load(), laneBulk, &p.Peer)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(p.ctx, func() { _ = c.Close() })()
	m.Snapshot = &meta
	u := &upload{t: t, ctx: p.ctx, c: c, size: size, compress: true}
	err = u.run(&m, file)
	if errors.Is(err, errInstalled) {
		return nil
	}
	return err
}

// errInstalled: the follower said done before the end: it has what it needs.
var errInstalled = errors.New("peer: installed")

// upload is the sending end of a transfer.
type upload struct {
	t   *Transport
	ctx context.Context
	c   net.Conn

	size, sent, acked int64
	sum               uint32
	compress          bool // has paid so far
	frame, in         []byte
}

func (u *upload) run(m *raft.Message, file io.Reader) error {
	b := beginFrame(u.frame, kindOffer)
	b = binary.AppendUvarint(b, uint64(u.size))
	if err := u.write(endFrame(appendMessage(b, m), 0)); err != nil {
		return err
	}
	if err := u.await(kindAccept); err != nil {
		return err
	}
	chunk := make([]byte, chunkSize)
	for u.sent < u.size {
		n, err := io.ReadFull(file, chunk[:min(chunkSize, u.size-u.sent)])
		if err != nil {
			return fmt.Errorf("reading the snapshot: %w", unexpected(err))
		}
		if err := u.chunk(chunk[:n]); err != nil {
			return err
		}
		for u.sent-u.acked >= snapshotWindow {
			if err := u.await(kindAck); err != nil {
				return err
			}
		}
	}
	b = beginFrame(u.frame[:0], kindEnd)
	b = binary.LittleEndian.AppendUint32(b, u.sum)
	b = binary.AppendUvarint(b, uint64(u.size))
	if err := u.write(endFrame(b, 0)); err != nil {
		return err
	}
	for {
		if err := u.await(kindAck); err != nil {
			return err
		}
	}
}

// chunk sends one piece of the file, paced.
func (u *upload) chunk(raw []byte) error {
	b := append(beginFrame(u.frame[:0], kindChunk), 0)
	at := len(b)
	if u.compress {
		need := at + s2.MaxEncodedLen(len(raw))
		if cap(b) < need {
			b = append(make([]byte, 0, need), b...)
		}
		block := s2.Encode(b[at:need], raw)
		// Files of shards are compressed already: what does not save an eighth is not tried again.
		if u.compress = len(block) <= len(raw)-len(raw)/8; u.compress {
			b[at-1] |= chunkS2
			b = b[:at+len(block)]
		}
	}
	if !u.compress {
		b = append(b, raw...)
	}
	if err := u.t.pace.take(u.ctx, len(b), u.t.cfg.Now()); err != nil {
		return err
	}
	u.sum = crc32.Update(u.sum, castagnoli, raw)
	u.sent += int64(len(raw))
	return u.write(endFrame(b, 0))
}

// write sends a frame, whose memory it keeps for the next.
func (u *upload) write(frame []byte) error {
	u.frame = frame
	if err := u.c.SetDeadline(u.t.cfg.Now().Add(snapshotQuiet)); err != nil {
		return err
	}
	n, err := u.c.Write(frame)
	u.t.counters.lanes[laneBulk].bytesOut.Add(uint64(n))
	return err
}

// await reads one frame of the follower, which must be of kind want, or done.
func (u *upload) await(want byte) error {
	if err := u.c.SetDeadline(u.t.cfg.Now().Add(snapshotQuiet)); err != nil {
		return err
	}
	kind, body, err := readFrame(u.c, &u.in, controlFrameMax)
	if err != nil {
		return unexpected(err)
	}
	d := decoder{b: body}
	switch {
	case kind == kindDone && len(body) > 0 && body[0] == doneOK:
		return errInstalled
	case kind == kindDone && len(body) > 0:
		return fmt.Errorf("peer: the other node could not install the snapshot: %q", body[1:])
	case kind != want:
		return errTransfer
	case kind == kindAck:
		acked := d.uvarint()
		if d.bad || acked > uint64(u.sent) {
			return errTransfer
		}
		u.acked = int64(acked)
	case kind == kindAccept:
		if v := d.byte(); v == acceptBusy {
			return errBusy
		} else if d.bad || v != acceptGo {
			return errTransfer
		}
	}
	return nil
}
