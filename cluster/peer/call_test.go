package peer

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// gate is a dialed connection whose writes can be held back.
type gate struct {
	net.Conn
	shut *atomic.Pointer[chan struct{}] // closed when writing goes on; nil: it does
	cut  chan struct{}
	once sync.Once
}

func (g *gate) Write(b []byte) (int, error) {
	if open := g.shut.Load(); open != nil {
		select {
		case <-*open: // a handshake that was held may have missed its deadline, which the connection knows
		case <-g.cut:
			return 0, net.ErrClosed
		}
	}
	return g.Conn.Write(b)
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.cut) })
	return g.Conn.Close()
}

// TestCallsCutInEveryPhase: an error says ErrNotSent only if the request cannot have been carried out.
func TestCallsCutInEveryPhase(t *testing.T) {
	var shut atomic.Pointer[chan struct{}]
	var calls atomic.Int64
	var served, notSent sync.Map // requests
	inServe, leave := make(chan struct{}, 10), make(chan struct{})
	a := newRig(t, 1, func(_ *rig, c *Config) {
		c.Dial = dialThrough(func(c net.Conn) net.Conn { return &gate{Conn: c, shut: &shut, cut: make(chan struct{})} })
	})
	b := newRig(t, 2, func(_ *rig, c *Config) {
		c.Serve = func(_ uint64, kind uint8, req, dst []byte) []byte {
			served.Store(string(req), true)
			if kind == 2 {
				inServe <- struct{}{}
				<-leave
			}
			return dst
		}
	})
	call := func(kind uint8) chan error {
		done := make(chan error, 1)
		go func() {
			req := fmt.Sprint("request ", calls.Add(1))
			got, err := a.tr.Call(2, kind, []byte(req), []byte("mine"), time.Minute)
			if err != nil && string(got) != "mine" {
				t.Errorf("dst after an error: %q", got)
			}
			if errors.Is(err, ErrNotSent) {
				notSent.Store(req, true)
			}
			done <- err
		}()
		return done
	}
	require.ErrorIs(t, <-call(1), ErrNotSent, "before there is a transport")
	a.start(a, b)
	require.ErrorIs(t, <-call(1), ErrNotSent, "before there is a connection")
	b.start(a, b)
	connected(t, a, b)
	session := func() *session { return a.tr.view.Load().peers[0].data.session.Load() }

	// Under way in Serve when the connection goes.
	x := call(2)
	<-inServe
	s := session()
	s.fail(errSilent)
	require.ErrorIs(t, <-x, ErrUnknown)
	close(leave)
	ok := uint64(0)
	renewed := func() {
		eventually(t, "another connection", func() bool { x := session(); return x != nil && x != s && <-call(1) == nil })
		ok++
	}
	renewed()

	// One in the writer's hands, one behind it. What takes longer than the other end bears silence is done again.
	for cut := false; !cut; {
		if s = session(); s == nil {
			continue
		}
		open := make(chan struct{})
		shut.Store(&open)
		over := func() bool { return s.cause() != nil }
		first := call(1)
		eventually(t, "the writer has the first", func() bool { return s.waiting() == 1 && s.queued() == 0 || over() })
		second := call(1)
		eventually(t, "the second waits", func() bool { return s.waiting() == 2 || over() })
		cut = !over()
		s.fail(errSilent)
		shut.Store(nil)
		close(open)
		err1, err2 := <-first, <-second
		if cut {
			require.ErrorIs(t, err1, ErrUnknown)
			require.ErrorIs(t, err2, ErrNotSent)
		}
		for _, err := range []error{err1, err2} {
			if err == nil { // by the next connection
				ok++
			}
		}
		renewed()
	}

	var st Stats
	a.tr.Stats(&st)
	require.EqualValues(t, st.Calls, ok+st.CallsNotSent+st.CallsUnknown)
	b.stop() // what it has read is served
	notSent.Range(func(req, _ any) bool {
		_, was := served.Load(req)
		require.False(t, was, "%s was not sent, and was carried out", req)
		return true
	})
}

func (s *session) queued() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.buf) }

// TestCallTimeout: time runs out, the slot is used again, and the late answer of the old call is nobody's.
func TestCallTimeout(t *testing.T) {
	leave := make(chan struct{})
	a, _ := pair(t, func(_ *rig, c *Config) {
		c.Serve = func(_ uint64, kind uint8, req, dst []byte) []byte {
			if kind == 2 {
				<-leave
			}
			return append(dst, req...)
		}
	})
	_, err := a.tr.Call(2, 2, []byte("slow"), nil, time.Millisecond)
	require.ErrorIs(t, err, ErrTimeout)
	got, err := a.tr.Call(2, 1, []byte("fast"), nil, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "fast", string(got))
	s := a.tr.view.Load().peers[0].data.session.Load()
	require.Len(t, s.calls.slots, 1)
	second := make(chan string)
	go func() {
		got, _ := a.tr.Call(2, 2, []byte("second"), nil, time.Minute)
		second <- string(got)
	}()
	eventually(t, "the second waits", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.calls.slots[0].waiting })
	close(leave)
	require.Equal(t, "second", <-second)
	eventually(t, "the late answer", func() bool { return a.tr.counters.lateAnswers.Load() == 1 })
}

// TestManyCalls: answers find their callers, whatever the order.
func TestManyCalls(t *testing.T) {
	a, _ := pair(t, nil)
	var group sync.WaitGroup
	for g := range 32 {
		group.Add(1)
		go func() {
			defer group.Done()
			var dst []byte
			for i := range 100 {
				req := make([]byte, 8+(g*31+i*17)%5000)
				req[0], req[1] = byte(g), byte(i)
				got, err := a.tr.Call(2, 9, req, dst[:0], time.Minute)
				if err != nil || len(got) != len(req)+2 || got[2] != byte(g) || got[3] != byte(i) {
					t.Errorf("call %d/%d: %d bytes, %v", g, i, len(got), err)
					return
				}
				dst = got
			}
		}()
	}
	group.Wait()
}

// TestCallLimits: every limit is an error that says the request was not carried out.
func TestCallLimits(t *testing.T) {
	a, b := pair(t, nil)
	b.tr.pool.mu.Lock()
	running := b.tr.pool.running
	b.tr.pool.running = serveMax
	b.tr.pool.mu.Unlock()
	_, err := a.tr.Call(2, 1, nil, nil, time.Minute)
	require.ErrorIs(t, err, ErrOverloaded)
	require.ErrorIs(t, err, ErrNotSent)
	b.tr.pool.mu.Lock()
	b.tr.pool.running = running
	b.tr.pool.mu.Unlock()
	_, err = a.tr.Call(2, 1, nil, nil, time.Minute)
	require.NoError(t, err)
	_, err = a.tr.Call(2, 1, make([]byte, maxFrame), nil, time.Minute)
	require.ErrorIs(t, err, ErrTooLarge)

	s := newSession(a.tr.view.Load().peers[0], laneData, nil, true)
	for range callsMax {
		_, err := s.call(1, nil, nil, 1)
		require.NoError(t, err)
	}
	_, err = s.call(1, nil, nil, 1)
	require.ErrorIs(t, err, ErrOverloaded)
	s.max = len(s.buf)
	require.Equal(t, ErrOverloaded, s.begin())
	require.Equal(t, callsMax, s.calls.sweep(s, 2))
}

// TestStuckReader: a node whose reader hangs costs the others a bounded queue, and no Send any time.
func TestStuckReader(t *testing.T) {
	stuck := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(stuck) }) }
	// Time stands still: silence must not end what the test takes its time to look at.
	now := time.Now().Add(time.Hour)
	still := func(_ *rig, c *Config) { c.Now = func() time.Time { return now } }
	a, b := newRig(t, 1, still), newRig(t, 2, still)
	t.Cleanup(release)
	b.onDeliver = func(uint64, []raft.Message) { <-stuck }
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	m := raft.Message{Type: raft.MsgAppend, To: 2, Term: 1, Entries: []raft.Entry{{Index: 1, Term: 1, Data: make([]byte, 1<<20)}}}
	for range dataQueueMax>>20 + 64 { // returns although nobody reads
		a.tr.Send([]raft.Message{m})
	}
	var s Stats
	a.tr.Stats(&s)
	require.Positive(t, s.Data.Dropped)
	require.LessOrEqual(t, s.Peers[0].Queued, dataQueueMax+2<<20)
	_, err := a.tr.Call(2, 1, nil, nil, time.Millisecond)
	require.ErrorIs(t, err, ErrOverloaded)
	hb := []raft.Message{{Type: raft.MsgHeartbeat, To: 2, Term: 1}}
	a.tr.Send(hb)
	a.tr.Stats(&s)
	require.EqualValues(t, 1, s.Control.MessagesOut, "the control lane has a queue of its own")
	release()
	eventually(t, "calls work again", func() bool {
		_, err := a.tr.Call(2, 1, nil, nil, time.Second)
		return err == nil
	})
}
