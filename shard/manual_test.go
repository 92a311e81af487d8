package shard

import (
	"strings"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// TestTurnedClockDoesNotStopRetries: a disk is full, then somebody sets the wall clock back by an hour, then there is room:
// writes are taken again as soon as the log has looked, which it does every second of time that passes, not of the
// wall clock. With the wall clock for both, simulated worlds had nodes that stayed disk_stalled for the hour (seed 301543).
func TestTurnedClockDoesNotStopRetries(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	mem := walfs.NewMem()
	passed, turned := int64(0), int64(0) // ms
	o := testOptions(mem)
	o.Manual, o.Loops, o.SnapshotBytes = true, 1, 1<<30
	o.Nanos = func() int64 { return passed * int64(time.Millisecond) }
	o.NowMs = func() int64 { return 1_700_000_000_000 + passed + turned }
	n, err := Open(o)
	require.NoError(t, err)
	work := func() {
		for n.StepLoops() || n.StepWAL() {
			continue
		}
	}
	pass := func(ms int64) {
		for range ms / 50 {
			passed += 50
			n.TickAll()
			work()
		}
	}
	write := func(cmd func([]byte) []byte) Code {
		r := AcquireRequest()
		defer ReleaseRequest(r)
		r.Cmd = cmd(r.Cmd)
		done := false
		r.Done = func(*Request) { done = true }
		n.Submit(Of([]byte("x")), r)
		for range 200 {
			if done {
				return r.Result.Code
			}
			work()
			pass(50)
		}
		t.Fatal("no answer")
		return 0
	}
	text := strings.Repeat("t", 64<<10)
	appendOne := func() Code {
		return write(func(b []byte) []byte { return encodeText(b, "x", text) })
	}

	pass(3000) // elections
	require.Equal(t, CodeOK, write(func(b []byte) []byte { return EncodePut(b, &Put{ID: []byte("x")}) }))
	mem.SetCapacity(mem.Used())
	full := false
	for range 1000 {
		code := appendOne()
		if full = code == CodeStorageFull; full {
			break
		}
		require.Equal(t, CodeOK, code)
	}
	require.True(t, full)
	turned = -hour
	pass(2000)
	require.Equal(t, CodeStorageFull, appendOne())
	mem.SetCapacity(0)
	pass(2000)
	require.Equal(t, CodeOK, appendOne())
	require.NoError(t, n.Close())
}
