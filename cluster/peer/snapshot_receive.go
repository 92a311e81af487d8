package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"fastpaca/raft"

	"github.com/klauspost/compress/s2"
)

// drainTime bounds the wait for the sender to have read how its transfer ended.
const drainTime = 2 * time.Second

var errDamaged = errors.New("peer: the snapshot did not arrive as it was sent")

// receiveSnapshot serves a connection of the bulk lane: it hands the transfer to the node as a reader.
func (t *Transport) receiveSnapshot(c net.Conn, h Hello) {
	p := t.known(h)
	if p == nil {
		return
	}
	defer context.AfterFunc(p.ctx, func() { _ = c.Close() })()
	d := &download{t: t, c: c}
	m, err := d.offer(p)
	if err != nil {
		t.refused(c, h, ReasonProtocol, err)
		return
	}
	if !t.snapshots.enter(p.ctx) {
		t.counters.snapshotsRefused.Add(1)
		_ = d.write(kindAccept, []byte{acceptBusy})
		return
	}
	defer t.snapshots.leave()
	if d.write(kindAccept, []byte{acceptGo}) != nil {
		return
	}
	end := []byte{doneOK}
	if err := t.view.Load().node.ReceiveSnapshot(m, d); err != nil {
		t.counters.snapshotsRefused.Add(1)
		end = append([]byte{doneFailed}, err.Error()...)
		end = end[:min(len(end), doneTextMax)]
	} else {
		t.counters.snapshotsReceived.Add(1)
	}
	if d.write(kindDone, end) == nil {
		// Closing with unread bytes would send a reset, which can destroy what was just written.
		_ = c.SetReadDeadline(t.cfg.Now().Add(drainTime))
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 2*snapshotWindow))
	}
}

// enter waits for one of snapshotsInMax places.
func (s *snapshots) enter(ctx context.Context) bool {
	timer := time.NewTimer(snapshotWait)
	defer timer.Stop()
	select {
	case s.in <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (s *snapshots) leave() { <-s.in }

// download is the receiving end of a transfer: an io.Reader of the file. io.EOF comes only when the whole of it has been
// read and its length and checksum are those that the sender computed; every other end is another error, for good.
type download struct {
	t *Transport
	c net.Conn

	size, read int64
	acked      int64
	arrived    int64 // bytes of the file in all chunks so far
	sum        uint32
	chunk      []byte // what is left of the last one
	frame, raw []byte // memory
	err        error
}

// offer reads what is being offered.
func (d *download) offer(p *peer) (raft.Message, error) {
	kind, body, err := d.next()
	if err != nil {
		return raft.Message{}, err
	}
	if kind != kindOffer {
		return raft.Message{}, errTransfer
	}
	dec := decoder{b: body}
	size := dec.uvarint()
	msgs, err := DecodeMessages(append([]byte(nil), dec.b...), p.ID, d.t.self().ID, nil)
	if err != nil {
		return raft.Message{}, err
	}
	if dec.bad || size > 1<<62 || len(msgs) != 1 || msgs[0].Type != raft.MsgSnapshot || msgs[0].Snapshot == nil {
		return raft.Message{}, errTransfer
	}
	d.size = int64(size)
	return msgs[0], nil
}

// next reads a frame, within snapshotQuiet.
func (d *download) next() (kind byte, body []byte, err error) {
	if err := d.c.SetDeadline(d.t.cfg.Now().Add(snapshotQuiet)); err != nil {
		return 0, nil, err
	}
	kind, body, err = readFrame(d.c, &d.frame, 2*chunkSize)
	if err != nil {
		return 0, nil, unexpected(err)
	}
	d.t.counters.lanes[laneBulk].bytesIn.Add(uint64(frameHeader + len(body)))
	return kind, body, nil
}

func (d *download) write(kind byte, body []byte) error {
	if err := d.c.SetDeadline(d.t.cfg.Now().Add(snapshotQuiet)); err != nil {
		return err
	}
	_, err := d.c.Write(appendFrame(nil, kind, body))
	return err
}

// Read reads the file.
func (d *download) Read(p []byte) (int, error) {
	for len(d.chunk) == 0 && d.err == nil && len(p) > 0 {
		d.err = d.advance()
	}
	if len(d.chunk) == 0 && d.err != nil {
		return 0, d.err
	}
	n := copy(p, d.chunk)
	d.chunk = d.chunk[n:]
	d.read += int64(n)
	return n, nil
}

// advance acknowledges what has been read, and gets the next chunk; io.EOF at a good end.
func (d *download) advance() error {
	if d.read > d.acked {
		d.acked = d.read
		if err := d.write(kindAck, binary.AppendUvarint(nil, uint64(d.acked))); err != nil {
			return fmt.Errorf("receiving a snapshot: %w", err)
		}
	}
	kind, body, err := d.next()
	if err != nil {
		return fmt.Errorf("receiving a snapshot after %d of %d bytes: %w", d.read, d.size, err)
	}
	switch {
	case kind == kindChunk && len(body) > 1:
		return d.unpack(body[0], body[1:])
	case kind == kindEnd:
		e := decoder{b: body}
		sum, size := e.bytes(4), e.uvarint()
		if e.bad || int64(size) != d.size || d.arrived != d.size || binary.LittleEndian.Uint32(sum) != d.sum {
			return fmt.Errorf("%w: %d of %d bytes, or another checksum", errDamaged, d.arrived, d.size)
		}
		return io.EOF
	}
	return errTransfer
}

func (d *download) unpack(flags byte, data []byte) error {
	switch flags {
	case 0:
		d.chunk = data
	case chunkS2:
		n, err := s2.DecodedLen(data)
		if err == nil && n > chunkSize {
			err = fmt.Errorf("a chunk of %d bytes", n)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if d.raw, err = s2.Decode(d.raw[:cap(d.raw)], data); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		d.chunk = d.raw
	default:
		return errTransfer
	}
	if len(d.chunk) == 0 || len(d.chunk) > chunkSize || d.arrived+int64(len(d.chunk)) > d.size {
		d.chunk = nil
		return fmt.Errorf("%w: more than the %d bytes that were offered", errDamaged, d.size)
	}
	d.arrived += int64(len(d.chunk))
	d.sum = crc32.Update(d.sum, castagnoli, d.chunk)
	return nil
}
