package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

// TestCallsThroughABadNetwork cuts connections at random moments under many calls, and looks at both ends: what ended well was
// carried out exactly once, what was not sent never, and nothing twice.
func TestCallsThroughABadNetwork(t *testing.T) {
	var mu sync.Mutex
	served := map[uint64]int{}
	edit := func(_ *rig, c *Config) {
		c.Serve = func(_ uint64, _ uint8, req, dst []byte) []byte {
			mu.Lock()
			served[binary.LittleEndian.Uint64(req)]++
			mu.Unlock()
			return append(dst, req...)
		}
	}
	a, b := newRig(t, 1, edit), newRig(t, 2, edit)
	p := through(t, b)
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	var done, notSent, unknown atomic.Int64
	var next atomic.Uint64
	var stop atomic.Bool
	var group sync.WaitGroup
	for g := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for !stop.Load() {
				id := next.Add(1)
				req := make([]byte, 8+rnd.IntN(1<<rnd.IntN(18)))
				binary.LittleEndian.PutUint64(req, id)
				timeout := time.Minute
				if rnd.IntN(50) == 0 {
					timeout = 0
				}
				got, err := a.tr.Call(2, 1, req, nil, timeout)
				mu.Lock()
				times := served[id]
				mu.Unlock()
				switch {
				case err == nil && times == 1 && bytes.Equal(req, got):
					done.Add(1)
				case errors.Is(err, ErrNotSent) && times == 0:
					notSent.Add(1)
					time.Sleep(time.Millisecond)
				case (errors.Is(err, ErrUnknown) || errors.Is(err, ErrTimeout)) && times < 2:
					unknown.Add(1)
					id = 0
				default:
					t.Errorf("call %d: carried out %d times, error %v", id, times, err)
				}
				if errors.Is(err, ErrNotSent) {
					mu.Lock()
					served[id] += 1000 // must stay at that
					mu.Unlock()
				}
			}
		}()
	}
	for range 40 {
		time.Sleep(20 * time.Millisecond)
		p.cut()
	}
	stop.Store(true)
	group.Wait()
	time.Sleep(20 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	for id, n := range served {
		require.True(t, n == 1 || n == 1000, "call %d: %d", id, n)
	}
	t.Log("done", done.Load(), "not sent", notSent.Load(), "unknown", unknown.Load())
	require.Positive(t, done.Load())
	require.Positive(t, notSent.Load()+unknown.Load())
}

// pattern fills b with something of its own for each n.
func pattern(b []byte, n int) []byte {
	for i := range b {
		b[i] = byte(n + i>>8)
	}
	return b
}

// TestRequestsStay: a long request is served from where it was read. Others that come meanwhile do not change it.
func TestRequestsStay(t *testing.T) {
	a, _ := pair(t, func(_ *rig, c *Config) {
		c.Serve = func(_ uint64, _ uint8, req, dst []byte) []byte {
			n := int(binary.LittleEndian.Uint32(req))
			time.Sleep(5 * time.Millisecond)
			if !bytes.Equal(req[4:], pattern(make([]byte, len(req)-4), n)) {
				t.Error("a request changed while it was served")
			}
			return dst
		}
	})
	var group sync.WaitGroup
	for g := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range 20 {
				n := 8*i + g
				req := binary.LittleEndian.AppendUint32(nil, uint32(n))
				req = append(req, pattern(make([]byte, keepRequest-40+g*500), n)...)
				if _, err := a.tr.Call(2, 1, req, nil, time.Minute); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
}

// TestEntriesStay: entries' data may be kept for ever. Nothing that comes later on the connection changes it.
func TestEntriesStay(t *testing.T) {
	var mu sync.Mutex
	var kept []raft.Entry
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	b.onDeliver = func(_ uint64, msgs []raft.Message) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			kept = append(kept, m.Entries...)
		}
	}
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	const count = 3000
	for i := range count {
		data := pattern(make([]byte, i%700), i)
		a.tr.Send([]raft.Message{
			{Type: raft.MsgAppend, To: 2, Term: 1, Index: uint64(i), Entries: []raft.Entry{{Index: uint64(i + 1), Term: 1, Data: data}}},
			{Type: raft.MsgAppendResp, To: 2, Term: 1, Index: uint64(i)},
		})
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	eventually(t, "all entries", func() bool { mu.Lock(); defer mu.Unlock(); return len(kept) == count })
	for i, e := range kept {
		require.EqualValues(t, i+1, e.Index)
		require.True(t, bytes.Equal(pattern(make([]byte, i%700), i), e.Data), "entry %d has changed", i+1)
		require.Equal(t, len(e.Data), cap(e.Data))
	}
}
