//go:build !race

package shard

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Pages are allocated in steady state: one of 64 KiB per 250 messages of this size, plus a directory now
// and then. AllocsPerRun rounds down, so that 0 means less than one allocation per run.
const allocRuns = 5000

func allocMachine(t testing.TB, p *Put) (*Machine, *Context) {
	m := NewMachine(0)
	var res Result
	p.ID = []byte("support-123")
	require.NoError(t, m.Apply(1, EncodePut(nil, p), &res))
	return m, m.Lookup(p.ID)
}

func TestAppendAllocatesNothing(t *testing.T) {
	last := Policy{Strategy: LastN, Limit: 50, Config: []byte(`{"limit":50}`)}
	skip := Policy{Strategy: SkipParts, Limit: 50, SkipKinds: []string{"tool"}, Config: []byte(`{"limit":50}`)}
	for _, c := range []struct {
		name string
		put  Put
	}{
		{"under the trigger", Put{HasBudget: true, TokenBudget: 1 << 40}},
		{"last_n cutting each time", Put{HasBudget: true, TokenBudget: 1000, HasPolicy: true, Policy: last}},
		{"skip_parts with nothing to skip", Put{HasBudget: true, TokenBudget: 1000, HasPolicy: true, Policy: skip}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := allocMachine(t, &c.put)
			msg := chatMessage()
			h := AppendHeader{ID: []byte("support-123"), HasIfVersion: true, Count: 1}
			var cmd []byte
			var res Result
			n := uint64(0)
			run := func() {
				n++
				h.IfVersion = n - 1
				cmd = AppendMessage(BeginAppend(cmd[:0], h), msg)
				StampTime(cmd, testTime+int64(n))
				if err := m.Apply(n, cmd, &res); err != nil || res.Version != n {
					panic(fmt.Sprint(err, res))
				}
			}
			for range 1000 {
				run()
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			require.Zero(t, testing.AllocsPerRun(allocRuns, run))
			runtime.ReadMemStats(&after)
			t.Logf("%.4f allocations and %d bytes per append of %d bytes",
				float64(after.Mallocs-before.Mallocs)/(allocRuns+1), (after.TotalAlloc-before.TotalAlloc)/(allocRuns+1), len(cmd))
		})
	}
}

func TestReadsAllocateNothing(t *testing.T) {
	m, c := allocMachine(t, &Put{HasBudget: true, TokenBudget: 2000})
	cmd := AppendMessage(BeginAppend(nil, AppendHeader{ID: []byte("support-123"), Count: 1}), chatMessage())
	var res Result
	for i := range uint64(500) {
		require.NoError(t, m.Apply(i+2, cmd, &res))
	}
	var v View
	id := []byte("support-123")
	buf := make([]byte, 0, 1<<20)
	for name, read := range map[string]func(){
		"lookup":  func() { m.Lookup(id) },
		"view":    func() { c.View(&v) },
		"window":  func() { c.View(&v); buf = v.AppendWindow(buf[:0], 0) },
		"whole":   func() { c.View(&v); buf = v.AppendWindow(buf[:0], 1<<30) },
		"tail":    func() { c.View(&v); buf = v.AppendTail(buf[:0], 50, 3) },
		"history": func() { c.View(&v); buf = v.AppendHistory(buf[:0], -50, 20) },
		"context": func() { c.View(&v); buf = v.AppendContext(buf[:0]) },
		"event": func() {
			c.View(&v)
			cur := Cursor{Version: 490}
			buf, _ = v.NextEvent(buf[:0], &cur, true)
		},
		"wake": func() { c.WakeSubscribers() },
	} {
		require.Zero(t, testing.AllocsPerRun(200, read), name)
		require.LessOrEqual(t, len(buf), 1<<20)
	}
}

// An empty context must stay small: nodes hold a million of them.
func TestEmptyContextBytes(t *testing.T) {
	const n = 50_000
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	m := NewMachine(0)
	var res Result
	before := heap()
	var cmd []byte
	for i := range uint64(n) {
		cmd = EncodePut(cmd[:0], &Put{ID: fmt.Appendf(nil, "context-%08d", i)})
		require.NoError(t, m.Apply(i+1, cmd, &res))
	}
	res = Result{}
	per := float64(heap()-before) / n
	t.Logf("%.0f bytes per empty context; Machine.Bytes says %.0f", per, float64(m.Bytes())/n)
	require.Less(t, per, 600.0)
	require.InDelta(t, per, float64(m.Bytes())/n, 150)

	before = heap()
	cmd = AppendMessage(BeginAppend(nil, AppendHeader{ID: []byte("context-00000000"), Count: 1}), chatMessage())
	for i := range uint64(n) {
		copy(cmd[headerSize:], fmt.Appendf(nil, "context-%08d", i))
		require.NoError(t, m.Apply(n+i, cmd, &res))
	}
	res = Result{}
	t.Logf("%.0f bytes more with one message of %d bytes", float64(heap()-before)/n, len(cmd))
	runtime.KeepAlive(m)
}
