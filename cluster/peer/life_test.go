package peer

import (
	"net"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// TestReconnects: a network that goes away for a moment is reported, and mended at once.
func TestReconnects(t *testing.T) {
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	p := through(t, b)
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	for i := range 3 {
		before := a.count(a.unreachable, 2)
		p.cut()
		eventually(t, "unreachable", func() bool { return a.count(a.unreachable, 2) > before })
		connected(t, a, b)
		n := len(b.messages())
		a.tr.Send([]raft.Message{{Type: raft.MsgAppend, To: 2, Term: 1}})
		eventually(t, "message", func() bool { return len(b.messages()) > n })
		require.Zero(t, a.count(a.down, 2), "round %d", i)
	}
	require.Positive(t, b.count(b.unreachable, 1), "the end that was dialed lost acknowledgements, too")
}

// TestPeerDown: a process that is gone is told from a connection that is, once; and it may come back at the same address.
func TestPeerDown(t *testing.T) {
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	b.ln.Close()
	b.cut()
	eventually(t, "peer down", func() bool { return a.count(a.down, 2) == 1 })
	require.False(t, a.tr.Alive(2))
	time.Sleep(5 * dialPauseMin)
	require.Equal(t, 1, a.count(a.down, 2), "once per loss")
	require.Positive(t, a.count(a.unreachable, 2))

	ln, err := net.Listen("tcp", b.peer.Addr)
	require.NoError(t, err)
	defer ln.Close()
	go b.accept(ln)
	connected(t, a, b)
}

// TestNeverSeenIsNotDown: a node that was never connected has not gone.
func TestNeverSeenIsNotDown(t *testing.T) {
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	b.ln.Close()
	a.start(a, b)
	eventually(t, "some attempts", func() bool { return a.tr.counters.dialErrors.Load() > 6 })
	require.Zero(t, a.count(a.down, 2))
	require.Len(t, a.logged("peer_connect_failed"), 1)
}

// TestFrozenPeer: a stopped or cut-off node closes nothing. It is not alive after aliveFor, and given up after silentMax.
func TestFrozenPeer(t *testing.T) {
	var c clock
	a, b := newRig(t, 1, func(_ *rig, cfg *Config) { cfg.Now = c.now }), newRig(t, 2, nil)
	p := through(t, b)
	a.start(b)
	b.start() // b does not dial a: only the proxied connections tell a anything
	b.tr.SetPeers([]Peer{{ID: 1, Name: "n1", Incarnation: "inc-n1", Addr: "127.0.0.1:1"}})
	eventually(t, "alive", func() bool { return a.tr.Alive(2) })
	eventually(t, "data lane", func() bool { return a.tr.view.Load().peers[0].data.session.Load() != nil })
	time.Sleep(2 * sweepEvery)
	require.Zero(t, a.count(a.unreachable, 2))

	p.frozen.Store(true)
	call := make(chan error, 1)
	go func() {
		_, err := a.tr.Call(2, 1, nil, nil, time.Hour)
		call <- err
	}()
	time.Sleep(10 * time.Millisecond)
	c.advance(aliveFor)
	require.False(t, a.tr.Alive(2))
	require.Zero(t, a.count(a.unreachable, 2))
	c.advance(silentMax - aliveFor)
	eventually(t, "unreachable", func() bool { return a.count(a.unreachable, 2) == 1 })
	require.ErrorIs(t, <-call, ErrUnknown)
	require.Zero(t, a.count(a.down, 2), "nobody knows whether it is gone")
	require.False(t, a.tr.Alive(2))
	p.frozen.Store(false)
	eventually(t, "alive again", func() bool { return a.tr.Alive(2) })
}

// TestSetPeers: who is no longer a node is cut off, and refused; a new address counts.
func TestSetPeers(t *testing.T) {
	a, b := pair(t, nil)
	a.tr.SetPeers(nil)
	require.False(t, a.tr.Alive(2))
	eventually(t, "b is refused", func() bool { return a.tr.refusals.count[ReasonUnknown].Load() > 0 })
	require.Zero(t, a.count(a.unreachable, 2), "nobody's pipelines need to know")
	eventually(t, "b lost a", func() bool { return !b.tr.Alive(1) && b.count(b.unreachable, 1) > 0 })
	a.tr.Send([]raft.Message{{Type: raft.MsgAppend, To: 2, Term: 1}})
	require.EqualValues(t, 1, a.tr.counters.nowhere.Load())

	wrong := b.peer
	wrong.Addr = "127.0.0.1:1"
	a.tr.SetPeers([]Peer{a.peer, wrong})
	eventually(t, "attempts at the wrong address", func() bool { return a.tr.counters.dialErrors.Load() > 1 })
	a.tr.SetPeers([]Peer{a.peer, b.peer})
	connected(t, a, b)
}

// TestIncarnations: a wiped node under its old name is another peer.
func TestIncarnations(t *testing.T) {
	a, b := pair(t, nil)
	old := a.tr.view.Load().peers[0]
	a.tr.SetPeers([]Peer{{ID: 2, Name: "n2", Incarnation: "wiped", Addr: b.peer.Addr}})
	require.NotSame(t, old, a.tr.view.Load().peers[0])
	eventually(t, "the old incarnation is refused", func() bool { return a.tr.refusals.count[ReasonUnknown].Load() > 0 })
	require.False(t, a.tr.Alive(2))
}

// TestNewConnectionReplacesOld: a node that dials a lane again has given up the connection it had.
func TestNewConnectionReplacesOld(t *testing.T) {
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	a.start(a, b)
	b.start(a, b)
	h := Hello{ClusterID: testCluster, ID: 2, Name: "n2", Incarnation: "inc-n2"}
	connected(t, a, b)
	c := stranger(t, a)
	_, err := a.as(h, "correct horse").dial(c, laneData)
	require.NoError(t, err)
	eventually(t, "b's own connection is closed, and dialed anew", func() bool {
		var s Stats
		b.tr.Stats(&s)
		return s.Connects >= 3
	})
	for range 10 { // and that closes ours
		if _, _, err = readFrame(c, nil, 100); err != nil {
			break
		}
	}
	require.Error(t, err)
}

// TestBrokenProtocol: a node that has proved the secret and then says what it must not is cut off.
func TestBrokenProtocol(t *testing.T) {
	h := Hello{ClusterID: testCluster, ID: 2, Name: "n2", Incarnation: "inc-n2"}
	snapshot := AppendMessages(nil, []raft.Message{snapshotMessage(1, 1)})
	damaged := appendFrame(nil, kindMessages, AppendMessages(nil, sampleMessages(2, 1)))
	damaged[20] ^= 1
	for name, c := range map[string]struct {
		l     lane
		bytes []byte
	}{
		"unknown kind":        {laneData, appendFrame(nil, 99, nil)},
		"call on control":     {laneControl, appendFrame(nil, kindCall, []byte{1, 1})},
		"answer on control":   {laneControl, appendFrame(nil, kindAnswer, []byte{1, 0})},
		"answer without id":   {laneData, appendFrame(nil, kindAnswer, nil)},
		"call without id":     {laneData, appendFrame(nil, kindCall, nil)},
		"bad checksum":        {laneData, damaged},
		"bad messages":        {laneData, appendFrame(nil, kindMessages, []byte{0xff})},
		"snapshot by itself":  {laneControl, appendFrame(nil, kindMessages, snapshot)},
		"no offer":            {laneBulk, appendFrame(nil, kindChunk, []byte{0, 1})},
		"offer of no message": {laneBulk, appendFrame(nil, kindOffer, []byte{10})},
		"offer of two":        {laneBulk, appendFrame(nil, kindOffer, append(append([]byte{10}, snapshot...), snapshot...))},
		"no open":             {laneStream, appendFrame(nil, kindAsk, nil)},
		"no question":         {laneAsk, appendFrame(nil, kindOpen, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			a := newRig(t, 1, nil)
			a.start(a, &rig{peer: Peer{ID: 2, Name: "n2", Incarnation: "inc-n2", Addr: "127.0.0.1:1"}})
			conn := stranger(t, a)
			_, err := a.as(h, "correct horse").dial(conn, c.l)
			require.NoError(t, err)
			_, err = conn.Write(c.bytes)
			require.NoError(t, err)
			silence(conn)
			eventually(t, "refusal", func() bool { return a.tr.refusals.count[ReasonProtocol].Load() == 1 })
			require.Len(t, a.logged("peer_refused"), 1)
			require.Empty(t, a.messages())
		})
	}
}
