package wal

import (
	"bytes"
	"strings"
	"testing"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// forgetLog steps a log by hand through forgetting, and remembers what it should hold.
type forgetLog struct {
	t    *testing.T
	o    Options
	w    *WAL
	want state
}

func newForgetLog(t *testing.T) *forgetLog {
	o := testOptions(walfs.NewMem(), 2)
	o.Manual = true
	l := &forgetLog{t: t, o: o, want: make(state, 2)}
	l.open()
	return l
}

func (l *forgetLog) open() *collector {
	l.t.Helper()
	w, c := recoverCollector(l.t, l.o)
	require.Empty(l.t, l.want.diff(c.state))
	l.w = w
	return c
}

// reopen closes the log and checks that it is found again as it should be.
func (l *forgetLog) reopen() *collector {
	l.t.Helper()
	require.NoError(l.t, l.w.Close())
	return l.open()
}

func (l *forgetLog) do(actions ...action) {
	l.t.Helper()
	done := false
	b := NewBatch(func(*Batch) { done = true })
	fill(b, actions)
	l.w.Submit(b)
	for l.w.Step() {
	}
	require.True(l.t, done)
	for _, a := range actions {
		l.want.apply(a)
	}
}

// busy fills segments with entries of group 1, which snapshots, so that they can go.
func (l *forgetLog) busy(segments uint64) {
	l.t.Helper()
	for until := l.w.activeID.Load() + segments; l.w.activeID.Load() < until; {
		g := &l.want[1]
		l.do(put(1, g.last()+1, 1, strings.Repeat("x", 1000)))
		l.do(action{kind: kindSnapshot, group: 1, index: g.last(), term: 1})
	}
}

func put(group uint32, index, term uint64, data string) action {
	return action{kind: kindEntry, group: group, commit: index - 1, entry: entry(index, term, data)}
}

// TestForget: nothing of a forgotten group comes back, whatever stands where, and it can begin again at index 1 or
// with a snapshot at any index, below and above the old ones.
func TestForget(t *testing.T) {
	cut := func(index uint64) action {
		return action{kind: kindSnapshot, index: index, term: 3, meta: "installed"}
	}
	starts := map[string][]action{
		"nothing":             nil,
		"entries":             {put(0, 1, 4, "new 1"), put(0, 2, 4, "new 2")},
		"snapshot below":      {cut(2), put(0, 3, 4, "new 3")},
		"snapshot in between": {cut(4), put(0, 5, 4, "new 5")},
		"snapshot above":      {cut(100), put(0, 101, 4, "new 101")},
		"snapshot alone":      {cut(5)},
	}
	for name, start := range starts {
		for _, before := range []uint64{0, 2} { // segments between the old entries and the FORGET
			for _, after := range []uint64{0, 2} { // between the FORGET and the new ones
				t.Run(name, func(t *testing.T) {
					l := newForgetLog(t)
					l.do(put(0, 1, 1, "old 1"), put(0, 2, 1, "old 2"), put(0, 3, 2, "old 3"), put(0, 4, 2, "old 4"), put(0, 5, 2, "old 5"))
					l.do(action{kind: kindSnapshot, index: 3, term: 2, meta: "old"})
					l.do(action{kind: kindState, hs: HardState{Term: 3, Vote: 2, Commit: 5}})
					l.busy(before)
					l.do(action{kind: kindForget})
					require.Equal(t, HardState{Term: 3, Vote: 2}, l.w.tab.groups[0].hs)
					_, err := l.w.Read(0, 4, 6, 1000, nil)
					require.ErrorIs(t, err, ErrUnavailable)
					l.busy(after)
					l.do(start...)
					c := l.reopen()
					if before+after == 0 {
						require.Equal(t, 1, c.forgotten)
					}
					for range 2 {
						l.busy(1)
						l.do(put(0, l.want[0].last()+1, 5, "later"))
						l.reopen()
						entries, err := l.w.Read(0, l.want[0].snapIndex+1, 1000, 1000, nil)
						require.NoError(t, err)
						require.Equal(t, l.want[0].entries, entries)
					}
					require.NoError(t, l.w.Close())
				})
			}
		}
	}
}

// TestForgetFreesSegments: a group that pinned the oldest segment does so no more, once the FORGET is durable, and
// the record itself may go, too.
func TestForgetFreesSegments(t *testing.T) {
	l := newForgetLog(t)
	l.do(put(0, 1, 1, "the pin"))
	l.busy(3)
	var s Stats
	l.w.Stats(&s)
	require.Equal(t, 4, s.SegmentsLive)
	l.do(action{kind: kindForget})
	l.w.Stats(&s)
	require.Equal(t, 1, s.SegmentsLive)
	l.busy(1)
	l.w.Stats(&s)
	require.Equal(t, 1, s.SegmentsLive)
	require.Zero(t, l.reopen().forgotten)
	require.NoError(t, l.w.Close())
}

// TestForgottenGroupIsNotCarried: what maintenance read of a group to copy it forward is of no use any more.
func TestForgottenGroupIsNotCarried(t *testing.T) {
	l := newForgetLog(t)
	l.do(put(0, 1, 1, "one"), put(0, 2, 1, "two"))
	u, err := l.w.readUnit(0)
	require.NoError(t, err)
	l.do(action{kind: kindForget}, put(0, 1, 1, "new one"), put(0, 2, 1, "new two"))
	l.w.setUnits([]*unit{u})
	l.w.q.ask(func(q *queue) { q.rotate = true })
	for l.w.Step() {
	}
	require.Equal(t, uint64(2), l.w.activeID.Load())
	require.Zero(t, l.w.count.carriedGroups.Load())
	l.reopen()
	require.NoError(t, l.w.Close())
}

// TestForgetAndStateInOneBatch: hard states are written behind FORGET, and one added before it says nothing of what
// is committed after it.
func TestForgetAndStateInOneBatch(t *testing.T) {
	for _, later := range []uint64{0, 1} {
		l := newForgetLog(t)
		l.do(put(0, 1, 1, "old 1"), put(0, 2, 1, "old 2"))
		b := NewBatch(func(*Batch) {})
		b.State(0, HardState{Term: 7, Vote: 1, Commit: 2})
		b.State(1, HardState{Term: 8, Vote: 1})
		b.Forget(0)
		b.Entry(0, 0, entry(1, 7, "new 1"))
		if later > 0 {
			b.State(0, HardState{Term: 7, Vote: 1, Commit: later})
		}
		require.GreaterOrEqual(t, b.Bytes(), int(encodedBytes(l.w, b)))
		l.want[0] = groupState{hs: HardState{Term: 7, Vote: 1, Commit: later}, entries: []Entry{entry(1, 7, "new 1")}}
		l.want[1].hs = HardState{Term: 8, Vote: 1}
		c := l.reopen()
		require.Equal(t, later, c.state[0].hs.Commit)
		require.NoError(t, l.w.Close())
	}
}

// encodedBytes submits b and returns what was written for it.
func encodedBytes(w *WAL, b *Batch) uint64 {
	for w.Step() {
	}
	before := w.count.bytes.Load()
	w.Submit(b)
	for w.Step() {
	}
	return w.count.bytes.Load() - before
}

// TestForgetIsHeardInOrder, and dumped.
func TestForgetIsHeardInOrder(t *testing.T) {
	l := newForgetLog(t)
	l.do(put(0, 1, 1, "old"))
	l.do(action{kind: kindState, hs: HardState{Term: 1, Commit: 1}})
	l.do(action{kind: kindForget})
	l.do(put(0, 1, 1, "new"))
	l.do(action{kind: kindState, hs: HardState{Term: 2, Commit: 1}})
	require.NoError(t, l.w.Close())
	var order []string
	w, err := Open(l.o, forgetHandler{orderHandler{&order}})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, []string{"state", "forgotten", "entry new", "state"}, order)
	var dump bytes.Buffer
	require.NoError(t, Dump(&dump, l.o.FS, testDir, DumpOptions{Records: true}))
	require.Regexp(t, `(?m)FORGET +group 0 .*\n.*ENTRY +group 0 .*index 1 `, dump.String())
}

type forgetHandler struct{ orderHandler }

func (h forgetHandler) Forgotten(uint32) { *h.order = append(*h.order, "forgotten") }
