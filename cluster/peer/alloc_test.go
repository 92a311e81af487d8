//go:build !race

package peer

import (
	"testing"
	"time"

	"fastpaca/raft"

	"github.com/stretchr/testify/require"
)

func TestCodecDoesNotAllocate(t *testing.T) {
	sent := sampleMessages(1, 2)
	b := AppendMessages(nil, sent)
	var got []raft.Message
	round := func() {
		b = AppendMessages(b[:0], sent)
		var err error
		if got, err = DecodeMessages(b, 1, 2, got[:0]); err != nil {
			t.Fatal(err)
		}
	}
	round()
	require.Zero(t, testing.AllocsPerRun(1000, round))
}

// TestCallDoesNotAllocate counts both ends of calls over real connections: goroutines, buffers and slots are used again.
func TestCallDoesNotAllocate(t *testing.T) {
	a, _ := pair(t, nil)
	req, dst := make([]byte, 300), make([]byte, 0, 1024)
	round := func() {
		if _, err := a.tr.Call(2, 1, req, dst, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		round()
	}
	require.Less(t, testing.AllocsPerRun(5000, round), 0.05, "what is left are ticks of the housekeeping")
}

// TestTakenCallDoesNotAllocate is the same for calls that are answered from where they were read.
func TestTakenCallDoesNotAllocate(t *testing.T) {
	a, _ := pair(t, func(_ *rig, c *Config) {
		c.Take = func(_ uint64, calls []Incoming) {
			for i := range calls {
				calls[i].Taken = true
				calls[i].Leave(calls[i].Request)
			}
		}
	})
	req, dst := make([]byte, 300), make([]byte, 0, 1024)
	round := func() {
		if _, err := a.tr.Call(2, 1, req, dst, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		round()
	}
	require.Less(t, testing.AllocsPerRun(5000, round), 0.05, "what is left are ticks of the housekeeping")
}

// TestSendDoesNotAllocate counts both ends of messages without entries; with entries the buffers that these keep are all there is.
func TestSendDoesNotAllocate(t *testing.T) {
	arrived := make(chan struct{}, 1)
	a, b := newRig(t, 1, nil), newRig(t, 2, nil)
	b.onDeliver = func(_ uint64, msgs []raft.Message) {
		if msgs[len(msgs)-1].Round == 1 {
			arrived <- struct{}{}
		}
	}
	a.start(a, b)
	b.start(a, b)
	connected(t, a, b)
	var msgs []raft.Message
	for g := range uint32(256) {
		msgs = append(msgs, raft.Message{Type: raft.MsgHeartbeat, To: 2, Group: g, Term: 3, Commit: 1000})
	}
	msgs[255].Round = 1
	round := func() { a.tr.Send(msgs); <-arrived }
	for range 100 {
		round()
	}
	require.Less(t, testing.AllocsPerRun(2000, round), 0.05)

	entries := []raft.Entry{{Index: 2, Term: 3, Data: make([]byte, 300)}}
	msgs = []raft.Message{{Type: raft.MsgAppend, To: 2, Group: 7, Term: 3, Index: 1, Round: 1, Entries: entries}}
	for range 100 {
		round()
	}
	// A buffer of 64 KiB holds some 190 of these.
	require.Less(t, testing.AllocsPerRun(5000, round), 0.1)
}

func TestSourceDoesNotAllocate(t *testing.T) {
	own, other := tcpPair(t)
	defer own.Close()
	defer other.Close()
	var r source
	r.init(own)
	require.NotNil(t, r.raw)
	b := make([]byte, 100)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := other.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(b); err != nil {
			t.Fatal(err)
		}
	}))
}
