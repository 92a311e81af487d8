package peer

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// TestOneConnectionForBoth: both nodes send on the connection that the lower id has dialed, and when it is lost on the
// other one, until it is back. Calls and messages go both ways all the time.
func TestOneConnectionForBoth(t *testing.T) {
	a, b := pair(t, nil)
	settled := func() {
		t.Helper()
		eventually(t, "both send on a's connection", func() bool {
			x, y := a.tr.view.Load().peers[0].shared(), b.tr.view.Load().peers[0].shared()
			return x != nil && x.dialed && y != nil && !y.dialed
		})
	}
	talk := func() {
		t.Helper()
		for from, to := range map[*rig]*rig{a: b, b: a} {
			eventually(t, "a call from "+from.name, func() bool {
				_, err := from.tr.Call(to.peer.ID, 1, []byte("x"), nil, time.Minute)
				return err == nil
			})
			before := len(to.messages())
			eventually(t, "a message from "+from.name, func() bool {
				from.tr.Send([]raft.Message{{Type: raft.MsgAppend, To: to.peer.ID, Group: 1, Term: 1}})
				return len(to.messages()) > before
			})
		}
	}
	settled()
	talk()
	first := a.tr.view.Load().peers[0].data.session.Load()
	first.fail(errSilent)
	talk() // on b's connection, or on a's next one
	settled()
	require.NotSame(t, first, a.tr.view.Load().peers[0].shared())
	talk()
}

// TestDirectWrites: loops that write by themselves, the writer and large batches take turns on one connection; every frame
// arrives whole and, from each sender, in order.
func TestDirectWrites(t *testing.T) {
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	const senders, each = 4, 300
	var mu sync.Mutex
	var last [senders]uint64
	total := 0
	b.onDeliver = func(_ uint64, msgs []raft.Message) {
		mu.Lock()
		defer mu.Unlock()
		for i := range msgs {
			m := &msgs[i]
			if m.Type != raft.MsgAppend {
				continue
			}
			if m.Index <= last[m.Group] {
				t.Errorf("sender %d: %d after %d", m.Group, m.Index, last[m.Group])
			}
			if last[m.Group] = m.Index; binary.LittleEndian.Uint64(m.Entries[0].Data) != m.Index {
				t.Error("another message's data")
			}
			total++
		}
	}
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	require.NotNil(t, a.tr.view.Load().peers[0].shared().direct.raw, "plain TCP takes direct writes")
	eventually(t, "on both sides", func() bool { s := b.tr.view.Load().peers[0].shared(); return s != nil && !s.dialed })
	var work sync.WaitGroup
	for g := range uint32(senders) {
		work.Go(func() {
			for i := range uint64(each) {
				size := 100
				if i%50 == 49 {
					size = 3 * directMax // the writer's, and more than the socket takes at once
				}
				data := binary.LittleEndian.AppendUint64(make([]byte, 0, size), i+1)
				entry := raft.Entry{Term: 1, Index: i + 2, Data: append(data, make([]byte, size-8)...)}
				a.tr.Send([]raft.Message{{Type: raft.MsgAppend, To: 2, Group: g, Term: 1, Index: i + 1, Entries: []raft.Entry{entry}}})
				if i%20 == 0 {
					if _, err := a.tr.Call(2, 1, []byte("x"), nil, time.Minute); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	work.Wait()
	eventually(t, "all arrive", func() bool { mu.Lock(); defer mu.Unlock(); return total == senders*each })
}

// TestControlLaneWritesByItself: whoever sends heartbeats, votes or pings writes them, and wakes nobody; without direct writes, as
// past TLS, the writer is woken.
func TestControlLaneWritesByItself(t *testing.T) {
	s, server := loneSession(t, laneControl)
	p, tr := s.p, s.t
	beat := []raft.Message{{Type: raft.MsgHeartbeat, To: 2, Group: 1, Term: 1}, {Type: raft.MsgVote, To: 2, Group: 2, Term: 1}}
	require.Equal(t, 2, p.send(beat, laneControl, s))
	s.ping()
	require.Zero(t, s.queued())
	require.Empty(t, s.wake)
	require.EqualValues(t, 2, tr.counters.lanes[laneControl].writes.Load())
	var mem []byte
	for _, want := range []byte{kindMessages, kindPing} {
		kind, _, err := readFrame(server, &mem, 100)
		require.NoError(t, err)
		require.Equal(t, want, kind)
	}

	s = newSession(p, laneControl, opaque{s.conn}, true)
	require.Equal(t, 2, p.send(beat, laneControl, s))
	require.Len(t, s.wake, 1)
	require.Positive(t, s.queued())
}

// TestAnswersToHeartbeatsWait: for the next thing that leaves on their connection, and not longer than answerSweeps sweeps. What
// somebody waits for leaves at once, with them.
func TestAnswersToHeartbeatsWait(t *testing.T) {
	s, _ := loneSession(t, laneControl)
	p, tr := s.p, s.t
	answer := raft.Message{Type: raft.MsgHeartbeatResp, To: 2, Group: 1, Term: 1}
	writes := func() int { return int(tr.counters.lanes[laneControl].writes.Load()) }
	send := func(msgs ...raft.Message) {
		t.Helper()
		require.Equal(t, len(msgs), p.send(msgs, laneControl, s))
	}
	round, damaged := answer, answer
	round.Round, damaged.Damaged = 7, true
	for i, m := range []raft.Message{
		{Type: raft.MsgHeartbeat, To: 2, Group: 9, Term: 1}, {Type: raft.MsgVote, To: 2, Group: 9, Term: 1}, round, damaged,
	} {
		send(answer, answer)
		require.Positive(t, s.queued())
		require.Empty(t, s.wake, "nobody is woken for them")
		require.Equal(t, i, writes())
		send(answer, m)
		require.Zero(t, s.queued(), m.Type)
		require.Equal(t, i+1, writes(), "all in one write")
	}
	send(answer)
	s.ping()
	require.Zero(t, s.queued())

	// Nothing comes: each batch has all its sweeps.
	for range 3 {
		s.flushWaiting() // finds nothing
		send(answer)
		for range answerSweeps - 1 {
			s.flushWaiting()
			require.Positive(t, s.queued())
			send(answer) // does not put it off
		}
		s.flushWaiting()
		require.Zero(t, s.queued())
	}
	// One that was taken between two sweeps was not found twice.
	send(answer)
	s.flushWaiting()
	s.flush()
	send(answer)
	s.flushWaiting()
	require.Positive(t, s.queued())
}

// TestAnswersToHeartbeatsArrive: by the housekeeping alone, past TLS, too.
func TestAnswersToHeartbeatsArrive(t *testing.T) {
	for name, edit := range map[string]func(*rig, *Config){
		"plain":      nil,
		"no sockets": func(_ *rig, c *Config) { c.Dial = dialThrough(func(c net.Conn) net.Conn { return opaque{c} }) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, edit)
			a.tr.Send([]raft.Message{{Type: raft.MsgHeartbeatResp, To: 2, Group: 5, Term: 1}})
			eventually(t, "it arrives", func() bool { return len(b.messages()) == 1 })
		})
	}
}

// TestSlowPeerDoesNotHoldALoop: a peer that reads nothing. Send returns, whatever is queued; what finds no room is dropped and
// counted, and when the connection is lost, calls in its buffer are known not to have been sent.
func TestSlowPeerDoesNotHoldALoop(t *testing.T) {
	s, _ := loneSession(t, laneData)
	p, tr := s.p, s.t
	ended := make(chan error, 1)
	go func() { ended <- s.run() }()
	p.data.session.Store(s)
	big := raft.Message{Type: raft.MsgAppend, To: 2, Group: 1, Term: 1, Entries: []raft.Entry{{Term: 1, Index: 1, Data: make([]byte, directMax/2)}}}
	for range 4 * dataQueueMax / directMax { // twice what the queue takes
		p.send([]raft.Message{big}, laneData, s)
	}
	require.Positive(t, tr.counters.lanes[laneData].dropped.Load())
	s.mu.Lock()
	require.True(t, s.busy, "the writer waits for the peer")
	require.LessOrEqual(t, len(s.buf), dataQueueMax+directMax)
	s.mu.Unlock()
	_, err := s.call(1, []byte("x"), nil, time.Now().Add(time.Minute).UnixNano())
	require.ErrorIs(t, err, ErrOverloaded)
	s.fail(errStalled)
	require.ErrorIs(t, <-ended, errStalled)
}

// TestLeftAnswersLeaveWithFlush: and not before, save for the housekeeping's look every 50 ms.
func TestLeftAnswersLeaveWithFlush(t *testing.T) {
	s, server := loneSession(t, laneData)
	p, tr := s.p, s.t
	p.data.session.Store(s)
	Caller{s, 1}.Leave([]byte("one"))
	Caller{s, 2}.Leave([]byte("two"))
	require.Positive(t, s.queued())
	require.True(t, p.left.Load())
	p.flush()
	require.Zero(t, s.queued())
	require.False(t, p.left.Load())
	require.EqualValues(t, 1, tr.counters.lanes[laneData].writes.Load())
	var mem []byte
	for _, want := range []string{"\x01\x00one", "\x02\x00two"} {
		kind, body, err := readFrame(server, &mem, 100)
		require.NoError(t, err)
		require.EqualValues(t, kindAnswer, kind)
		require.Equal(t, want, string(body))
	}

	// Forgotten, and found.
	Caller{s, 3}.Leave([]byte("three"))
	s.rouseIfForgotten()
	require.Len(t, s.wake, 1)
	s.fail(errSilent)
	Caller{s, 4}.Leave([]byte("four"))
	require.EqualValues(t, 1, tr.counters.answersDropped.Load())
}

// TestNoDirectWritesPastTLS: writes to what is below TLS would not be encrypted.
func TestNoDirectWritesPastTLS(t *testing.T) {
	client, server := tcpPair(t)
	defer client.Close()
	defer server.Close()
	var d direct
	d.init(&dialed{Conn: opaque{client}, raw: client})
	require.Nil(t, d.raw)
	d.init(known(client, opaque{client}))
	require.Nil(t, d.raw)
	d.init(known(client, &unread{Conn: client}))
	require.NotNil(t, d.raw)
	require.Equal(t, 3, d.now([]byte("abc")))
	got := make([]byte, 3)
	_, err := server.Read(got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(got, []byte("abc")))
}

// opaque stands for a connection that changes what is written to it.
type opaque struct{ net.Conn }

// loneSession is the session of one end of a connection, without its goroutines, and the other end.
func loneSession(t *testing.T, l lane) (s *session, server net.Conn) {
	client, server := tcpPair(t)
	tr := New(Config{Self: Hello{Incarnation: "x"}})
	t.Cleanup(func() {
		tr.Close()
		_ = server.Close()
		_ = client.Close() // it may be closed already
	})
	return newSession(newPeer(tr, Peer{ID: 2, Addr: "127.0.0.1:1"}), l, client, true), server
}

// tcpPair is both ends of a connection.
func tcpPair(t *testing.T) (client, server net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.Accept()
	require.NoError(t, err)
	return client, server
}
