package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

const testDir = "/data/wal"

// state is what a log should hold, kept in the plainest way.
type state []groupState

type groupState struct {
	snapIndex, snapTerm uint64
	meta                string
	hs                  HardState
	entries             []Entry // from snapIndex+1
}

func (g *groupState) last() uint64 { return g.snapIndex + uint64(len(g.entries)) }

func (g *groupState) term(index uint64) uint64 {
	if index == g.snapIndex {
		return g.snapTerm
	}
	return g.entries[index-g.snapIndex-1].Term
}

// action is one record as it was submitted.
type action struct {
	kind   recordKind
	group  uint32
	commit uint64
	entry  Entry
	hs     HardState
	index  uint64
	term   uint64
	meta   string
}

func (s state) apply(a action) {
	g := &s[a.group]
	switch a.kind {
	case kindEntry:
		g.entries = append(g.entries[:a.entry.Index-g.snapIndex-1:a.entry.Index-g.snapIndex-1], a.entry)
		g.hs.Commit = max(g.hs.Commit, a.commit)
	case kindState:
		g.hs = HardState{a.hs.Term, a.hs.Vote, max(a.hs.Commit, g.hs.Commit)}
	case kindSnapshot:
		if a.index < g.snapIndex {
			return
		}
		if a.index < g.last() && g.term(a.index) == a.term {
			g.entries = g.entries[a.index-g.snapIndex:]
		} else {
			g.entries = nil
		}
		g.snapIndex, g.snapTerm, g.meta = a.index, a.term, a.meta
	case kindForget:
		*g = groupState{hs: HardState{Term: g.hs.Term, Vote: g.hs.Vote}}
	}
}

func (s state) clone() state {
	c := slices.Clone(s)
	for i := range c {
		c[i].entries = slices.Clone(c[i].entries)
	}
	return c
}

// diff says how got differs from s, or "". Commit is compared within what the log holds: a snapshot implies
// that its index is committed, and nothing beyond the last entry can be.
func (s state) diff(got state) string {
	for i := range s {
		a, b := &s[i], &got[i]
		ca, cb := min(max(a.hs.Commit, a.snapIndex), a.last()), min(max(b.hs.Commit, b.snapIndex), b.last())
		switch {
		case a.snapIndex != b.snapIndex || a.snapTerm != b.snapTerm || a.meta != b.meta:
			return fmt.Sprintf("group %d: truncated at %d/%d %q, want %d/%d %q", i, b.snapIndex, b.snapTerm, b.meta, a.snapIndex, a.snapTerm, a.meta)
		case a.hs.Term != b.hs.Term || a.hs.Vote != b.hs.Vote || ca != cb:
			return fmt.Sprintf("group %d: hard state %+v, want %+v", i, b.hs, a.hs)
		case len(a.entries) != len(b.entries):
			return fmt.Sprintf("group %d: %d entries up to %d, want %d up to %d", i, len(b.entries), b.last(), len(a.entries), a.last())
		}
		for j := range a.entries {
			x, y := &a.entries[j], &b.entries[j]
			if x.Index != y.Index || x.Term != y.Term || x.Kind != y.Kind || !bytes.Equal(x.Data, y.Data) {
				return fmt.Sprintf("group %d: entry %d/%d %.20q, want %d/%d %.20q", i, y.Index, y.Term, y.Data, x.Index, x.Term, x.Data)
			}
		}
	}
	return ""
}

// collector is a Handler that builds a state, and checks what Handler promises.
type collector struct {
	state
	entries   int
	forgotten int
	errs      []string
	begun     bool
}

func newCollector(groups int) *collector { return &collector{state: make(state, groups)} }

func (c *collector) Snapshot(group uint32, index, term uint64, meta []byte) {
	if c.begun {
		c.errs = append(c.errs, fmt.Sprintf("snapshot of group %d after entries", group))
	}
	g := &c.state[group]
	g.snapIndex, g.snapTerm, g.meta = index, term, string(meta)
}

func (c *collector) State(group uint32, hs HardState) {
	c.begun = true
	g := &c.state[group]
	g.hs = HardState{hs.Term, hs.Vote, max(g.hs.Commit, hs.Commit)}
}

func (c *collector) Forgotten(group uint32) {
	c.begun = true
	c.forgotten++
	if g := &c.state[group]; len(g.entries) > 0 || g.hs.Commit > g.snapIndex {
		c.errs = append(c.errs, fmt.Sprintf("group %d: %d entries and commit %d before it was forgotten", group, len(g.entries), g.hs.Commit))
	}
}

func (c *collector) Entry(group uint32, commit uint64, e Entry) {
	c.begun = true
	c.entries++
	g := &c.state[group]
	if e.Index <= g.snapIndex || e.Index > g.last()+1 {
		c.errs = append(c.errs, fmt.Sprintf("group %d: entry %d after %d..%d", group, e.Index, g.snapIndex, g.last()))
		return
	}
	if e.Index <= min(g.hs.Commit, g.last()) {
		if old := g.entries[e.Index-g.snapIndex-1]; old.Term != e.Term || !bytes.Equal(old.Data, e.Data) {
			c.errs = append(c.errs, fmt.Sprintf("group %d: committed entry %d changes", group, e.Index))
		}
	}
	g.entries = append(g.entries[:e.Index-g.snapIndex-1], e)
	g.hs.Commit = max(g.hs.Commit, commit)
}

// recoverState opens the log and returns what it held.
func recoverState(t *testing.T, o Options) (*WAL, state) {
	t.Helper()
	w, c := recoverCollector(t, o)
	return w, c.state
}

func recoverCollector(t *testing.T, o Options) (*WAL, *collector) {
	t.Helper()
	c := newCollector(o.Groups)
	w, err := Open(o, c)
	require.NoError(t, err)
	require.Empty(t, c.errs)
	return w, c
}

// generator makes valid raft histories at random: appends, overwrites of what is not committed, hard
// states, own snapshots, and snapshots installed over a log that is behind or conflicts.
type generator struct {
	rng    *rand.Rand
	s      state
	commit []uint64
	n      int
	lazy   int // groups from this on are written rarely and never snapshot by themselves
	big    bool
}

func newGenerator(seed uint64, s state, lazy int) *generator {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 7)), s: s.clone(), lazy: lazy, commit: make([]uint64, len(s))}
	for i := range g.commit {
		g.commit[i] = max(s[i].snapIndex, min(s[i].hs.Commit, s[i].last()))
	}
	return g
}

func (g *generator) batch() []action {
	var ops, states []action
	for range 1 + g.rng.IntN(6) {
		group := uint32(g.rng.IntN(len(g.s)))
		if int(group) >= g.lazy && g.rng.IntN(15*(int(group)-g.lazy+1)) > 0 {
			group = uint32(g.rng.IntN(g.lazy))
		}
		g.step(group, &ops, &states)
	}
	return append(ops, states...) // the order in which a batch is written
}

func (g *generator) step(group uint32, ops, states *[]action) {
	g.n++
	s := &g.s[group]
	add := func(a action) {
		a.group = group
		if a.kind == kindState {
			*states = append(*states, a)
		} else {
			*ops = append(*ops, a)
		}
		g.s.apply(a)
	}
	lastTerm := s.term(s.last())
	switch x := g.rng.IntN(100); {
	case x < 62:
		g.commit[group] += uint64(g.rng.IntN(int(s.last()-g.commit[group]) + 1))
		add(action{kind: kindEntry, commit: g.commit[group], entry: g.entry(s.last()+1, lastTerm)})
	case x < 70 && s.last() > g.commit[group]: // a new leader overwrites what is not committed
		at := g.commit[group] + 1 + uint64(g.rng.IntN(int(s.last()-g.commit[group])))
		term := lastTerm + 1
		for range 1 + g.rng.IntN(2) {
			add(action{kind: kindEntry, commit: g.commit[group], entry: g.entry(at, term)})
			at++
		}
	case x < 78:
		add(action{kind: kindState, hs: HardState{max(lastTerm, s.hs.Term) + uint64(g.rng.IntN(2)), uint64(g.rng.IntN(4)), g.commit[group]}})
	case x < 92 && int(group) < g.lazy && g.commit[group] > s.snapIndex:
		at := s.snapIndex + 1 + uint64(g.rng.IntN(int(g.commit[group]-s.snapIndex)))
		add(action{kind: kindSnapshot, index: at, term: s.term(at), meta: fmt.Sprint("m", g.n)})
	case x < 94 && int(group) < g.lazy: // installed: ahead of the log, or against it
		at := g.commit[group] + 1 + uint64(g.rng.IntN(4))
		add(action{kind: kindSnapshot, index: at, term: lastTerm + 1, meta: fmt.Sprint("i", g.n)})
		g.commit[group] = at
	case x < 96 && g.rng.IntN(3) == 0:
		for i := range *states {
			if (*states)[i].group == group {
				(*states)[i].hs.Commit = 0 // it will be written behind
			}
		}
		add(action{kind: kindForget})
		g.commit[group] = 0
	}
}

func (g *generator) entry(index, term uint64) Entry {
	n := g.rng.IntN(300)
	if g.big && g.rng.IntN(12) == 0 {
		n = 1000 + g.rng.IntN(5000)
	}
	data := bytes.Repeat([]byte{byte(g.n)}, n)
	return Entry{Index: index, Term: max(term, 1), Kind: uint8(g.rng.IntN(3)), Data: append(data, fmt.Sprint("#", g.n)...)}
}

func fill(b *Batch, actions []action) {
	for _, a := range actions {
		switch a.kind {
		case kindEntry:
			b.Entry(a.group, a.commit, a.entry)
		case kindState:
			b.State(a.group, a.hs)
		case kindSnapshot:
			b.Snapshot(a.group, a.index, a.term, []byte(a.meta))
		case kindForget:
			b.Forget(a.group)
		}
	}
}

var errCrash = errors.New("crashed")

// crasher is an inject function that lets changes calls that change something through, and none after.
type crasher struct {
	changes int // calls that changed something
	at      int // crash in place of this one; negative: never
	rng     *rand.Rand
	down    atomic.Bool
}

func (c *crasher) inject(call walfs.Call) walfs.Fault {
	if c.down.Load() {
		return walfs.Fault{Err: errCrash}
	}
	if !call.Op.Changes() {
		return walfs.Fault{}
	}
	c.changes++
	if c.at < 0 || c.changes <= c.at {
		return walfs.Fault{}
	}
	c.down.Store(true)
	switch {
	case call.Op == walfs.OpWrite && c.rng.IntN(2) == 0:
		return walfs.Fault{Err: errCrash, Short: c.rng.IntN(call.Len + 1)}
	case c.rng.IntN(2) == 0:
		return walfs.Fault{Err: errCrash, After: true}
	}
	return walfs.Fault{Err: errCrash}
}

// session drives one life of a log and remembers what was promised.
type session struct {
	w     *WAL
	dead  chan struct{} // closed by Fatal
	clock time.Time     // with Options.Manual

	mu       sync.Mutex
	actions  []action // all submitted, in order
	promised int      // how many of them are done
	disorder bool     // done was called out of the order of the submits
}

func newSession(o *Options) *session {
	s := &session{dead: make(chan struct{})}
	o.Fatal = func(error) { close(s.dead) }
	if o.Manual {
		s.clock = time.Unix(1, 0)
		o.Now = func() time.Time { return s.clock }
		o.IdleMark = min(o.IdleMark, 2*time.Millisecond)
	}
	return s
}

// writeManually is write for a log that is stepped: what rng draws decides when.
func (s *session) writeManually(g *generator, n int, rng *rand.Rand) bool {
	flying := 0
	for sent := 0; sent < n || flying > 0; {
		select {
		case <-s.dead:
			return false
		default:
		}
		if sent < n && flying < 3 && rng.IntN(2) == 0 {
			sent++
			flying++
			s.submit(g.batch(), func() { flying-- })
			continue
		}
		s.w.Step()
		s.clock = s.clock.Add(time.Duration(rng.IntN(int(time.Millisecond))))
	}
	return true
}

// write submits batches with a few in flight, until n are done or the log dies.
func (s *session) write(g *generator, n int) bool {
	slots := make(chan struct{}, 3)
	for range n {
		select {
		case slots <- struct{}{}:
		case <-s.dead:
			return false
		}
		s.submit(g.batch(), func() { <-slots })
	}
	for range cap(slots) {
		select {
		case slots <- struct{}{}:
		case <-s.dead:
			return false
		}
	}
	return true
}

func (s *session) submit(actions []action, then func()) {
	s.mu.Lock()
	s.actions = append(s.actions, actions...)
	upTo := len(s.actions)
	s.mu.Unlock()
	b := NewBatch(func(*Batch) {
		s.mu.Lock()
		s.disorder = s.disorder || upTo < s.promised
		s.promised = upTo
		s.mu.Unlock()
		then()
	})
	fill(b, actions)
	s.w.Submit(b)
}

// must checks that got is base plus a front part of the session's actions, with all that was promised.
func (s *session) must(t *testing.T, base, got state) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.False(t, s.disorder)
	want := base.clone()
	for _, a := range s.actions[:s.promised] {
		want.apply(a)
	}
	var diffs []string
	for i := s.promised; ; i++ {
		d := want.diff(got)
		if d == "" {
			return
		}
		diffs = append(diffs, fmt.Sprintf("after %d actions: %s", i, d))
		if i == len(s.actions) {
			break
		}
		want.apply(s.actions[i])
	}
	t.Fatalf("recovered state is no prefix of what was submitted (%d actions, %d promised):\n%s",
		len(s.actions), s.promised, strings.Join(diffs, "\n"))
}

// testOptions are small segments on fs, with everything else as in the product.
func testOptions(fs FS, groups int) Options {
	return Options{
		FS: fs, Dir: testDir, Groups: groups, SegmentBytes: MinSegmentBytes(groups),
		SoftLimitBytes: 1 << 30, HardLimitBytes: 2 << 30,
		RetryEvery: time.Millisecond, IdleMark: time.Hour, StartPause: -1, Rand: rand.New(rand.NewPCG(1, 2)).Uint64,
	}
}

// waitFor polls; for conditions that background goroutines bring about.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 5000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("waited in vain for: %s", what)
}

// commit submits one batch and waits until it is done.
func commit(w *WAL, build func(*Batch)) {
	done := make(chan struct{})
	b := NewBatch(func(*Batch) { close(done) })
	build(b)
	w.Submit(b)
	<-done
}

func entry(index, term uint64, data string) Entry {
	return Entry{Index: index, Term: term, Data: []byte(data)}
}
