package ring

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is a window as a plain list, with the rules written down as directly as possible. It shares no code with the
// window but Part.
type model struct {
	win      []item
	cutCalls bool
}

type item struct {
	seq     uint64
	tokens  uint32
	system  bool
	summary bool
	parts   []Part
	json    string
}

func (i item) has(kind uint8) bool {
	return slices.ContainsFunc(i.parts, func(p Part) bool { return p.Kind == kind })
}

func (m *model) used() (n uint64) {
	for _, i := range m.win {
		n += uint64(i.tokens)
	}
	return n
}

// orphan reports whether message n of list has a result whose call is a message that keep denies; missing is the
// answer where there is no such call.
func orphan(list []item, n int, keep func(i int) bool, missing bool) bool {
	for k, p := range list[n].parts {
		if p.Kind != PartResult {
			continue
		}
		call := -1
		if p.ID != 0 {
			for i := n; i >= 0 && call < 0; i-- {
				if slices.ContainsFunc(list[i].parts, func(q Part) bool { return q.Kind == PartCall && q.ID == p.ID }) {
					call = i
				}
			}
		} else {
			if (item{parts: list[n].parts[:k]}).has(PartCall) {
				call = n
			}
			for i := n - 1; i >= 0 && call < 0; i-- {
				if list[i].has(PartCall) {
					call = i
				}
			}
		}
		switch {
		case call == n:
		case call < 0 && missing, call >= 0 && !keep(call):
			return true
		}
	}
	return false
}

// without returns list without the messages that keep denies and their results, and whether a call was among them.
func without(list []item, keep []bool) (left []item, calls bool) {
	for n, i := range list {
		if keep[n] && orphan(list, n, func(i int) bool { return keep[i] }, false) {
			keep[n] = false
		}
		if keep[n] {
			left = append(left, i)
		} else {
			calls = calls || i.has(PartCall)
		}
	}
	return left, calls
}

func (m *model) append(i item) {
	list := append(slices.Clone(m.win), i)
	if m.cutCalls && orphan(list, len(list)-1, func(int) bool { return true }, true) {
		return
	}
	m.win = list
}

func (m *model) cut(limit int) {
	if len(m.win) <= limit {
		return
	}
	keep := make([]bool, len(m.win))
	for n := range keep {
		keep[n] = n >= len(m.win)-limit
	}
	left, calls := without(m.win, keep)
	m.win, m.cutCalls = left, m.cutCalls || calls
}

func (m *model) fit(ceiling uint64) []item {
	if m.used() <= ceiling {
		return m.win
	}
	keep := make([]bool, len(m.win))
	left := m.used()
	for n := range keep {
		keep[n] = true
	}
	// Positions in the order in which they have to go.
	var order []int
	for _, class := range []func(n int) bool{
		func(n int) bool { return !m.win[n].summary && !(n == 0 && m.win[n].system) },
		func(n int) bool { return m.win[n].summary && !(n == 0 && m.win[n].system) },
		func(n int) bool { return n == 0 && m.win[n].system },
	} {
		for n := range m.win {
			if class(n) {
				order = append(order, n)
			}
		}
	}
	for _, n := range order {
		if left <= ceiling {
			break
		}
		keep[n] = false
		left -= uint64(m.win[n].tokens)
	}
	plan, _ := without(m.win, keep)
	return plan
}

func (m *model) replace(msgs []item) {
	m.cutCalls = m.cutCalls || slices.ContainsFunc(m.win, func(i item) bool { return i.has(PartCall) })
	m.win = msgs
}

// rig drives a log and the model side by side, and a second log that is restored from the first one's pages now and
// then and must be equal, byte for byte.
type rig struct {
	t       *testing.T
	rng     *rand.Rand
	log     *Log[ext]
	twin    *Log[ext]
	version uint64
	w       Window
	m       model
	tools   bool
}

func (r *rig) parts() []Part {
	if !r.tools {
		if r.rng.IntN(4) == 0 {
			return []Part{{Tokens: 1}, {Tokens: 2}}
		}
		return nil
	}
	var parts []Part
	for range r.rng.IntN(4) {
		p := Part{Tokens: r.rng.Uint32N(9)}
		if p.Kind = uint8(r.rng.IntN(3)); p.Kind != PartOther && r.rng.IntN(3) > 0 {
			p.ID = 1 + r.rng.Uint64N(6)
		}
		parts = append(parts, p)
	}
	if len(parts) == 1 && parts[0].Kind == PartOther {
		return nil
	}
	return parts
}

func (r *rig) item(seq uint64) item {
	i := item{seq: seq, tokens: r.rng.Uint32N(20), parts: r.parts(), system: r.rng.IntN(6) == 0}
	if r.rng.IntN(4) == 0 {
		i.tokens = 0
	}
	i.json = string(message(nil, seq, 40+r.rng.IntN(200)))
	return i
}

func (i item) aux() []byte {
	if len(i.parts) == 0 {
		return nil
	}
	return AppendAux(nil, i.parts)
}

func (i item) flags() (flags uint16) {
	if i.system {
		flags |= FlagSystem
	}
	if i.has(PartCall) {
		flags |= FlagToolCall
	}
	if i.has(PartResult) {
		flags |= FlagToolResult
	}
	return flags
}

func (i item) head() HeadMsg {
	return HeadMsg{Seq: i.seq, Tokens: i.tokens, Flags: i.flags(), JSON: []byte(i.json), Aux: i.aux()}
}

func (r *rig) both(f func(l *Log[ext])) { f(r.log); f(r.twin) }

// appendVersion appends a batch and applies the policy: limit < 0 is none.
func (r *rig) appendVersion(limit int) {
	r.version++
	from := r.log.Last() + 1
	for range 1 + r.rng.IntN(3) {
		i := r.item(r.log.Last() + 1)
		var v View[ext]
		r.log.Pending(&v)
		alone := Orphan(&v, Extend(&v, r.w, from), i.aux())
		before := len(r.m.win)
		r.m.append(i)
		require.Equal(r.t, len(r.m.win) == before, alone)
		r.both(func(l *Log[ext]) {
			l.Append([]byte(i.json), i.aux(), Meta{Tokens: i.tokens, Flags: i.flags(), Version: r.version})
		})
	}
	var v View[ext]
	r.log.Pending(&v)
	r.w = Extend(&v, r.w, from)
	if limit >= 0 {
		r.w = CutNewest(&v, r.w, limit)
		r.m.cut(limit)
	}
	r.both(func(l *Log[ext]) { l.SealVersion(r.w.LiveFrom, r.w.Used, limit >= 0) })
	r.publish()
}

func (r *rig) publish() {
	r.both(func(l *Log[ext]) {
		l.Publish(Header{Version: r.version, LiveFrom: r.w.LiveFrom, Used: r.w.Used, UpdatedMs: int64(r.version)}, &ext{r.version})
	})
}

func (r *rig) compact() {
	var v View[ext]
	r.log.View(&v)
	var msgs []HeadMsg
	var items []item
	for range r.rng.IntN(4) {
		i := r.item(0)
		i.summary = true
		items = append(items, i)
		msgs = append(msgs, i.head())
	}
	r.version++
	r.w = Replace(&v, r.w, msgs)
	r.m.replace(items)
	r.publish()
}

// rewrite turns the whole window into head messages, as skip_parts does.
func (r *rig) rewrite() {
	var v View[ext]
	r.log.View(&v)
	head := Head{CutCalls: r.m.cutCalls}
	if r.w.Head != nil {
		head.Summary, head.SummaryFrom, head.SummaryTo = r.w.Head.Summary, r.w.Head.SummaryFrom, r.w.Head.SummaryTo
	}
	for n := range r.m.win {
		i := &r.m.win[n]
		if r.rng.IntN(2) == 0 {
			i.json += " "
			i.tokens /= 2
		}
		head.Msgs = append(head.Msgs, i.head())
		head.Tokens += uint64(i.tokens)
	}
	r.w = WithHead(Window{LiveFrom: v.Last + 1, Used: head.Tokens}, head)
	r.publish()
}

// reload replaces the twin by one that is restored from its own pages.
func (r *rig) reload() {
	var v View[ext]
	r.twin.View(&v)
	var buf []byte
	for i := range v.Pages() {
		require.Equal(r.t, v.Page(i).Len(), len(v.Page(i).Append(nil)))
		buf = v.Page(i).Append(buf)
	}
	var l Log[ext]
	for len(buf) > 0 {
		p, rest, err := ParsePage(buf)
		require.NoError(r.t, err)
		require.NoError(r.t, l.RestorePage(p))
		buf = rest
	}
	require.NoError(r.t, l.FinishRestore(v.Header, v.Ext))
	r.twin = &l
}

func (r *rig) check() {
	var v View[ext]
	r.log.View(&v)
	r.checkLog(&v)

	require.Equal(r.t, r.m.used(), r.w.Used)
	require.Equal(r.t, len(r.m.win), Count(&v, r.w))
	require.Equal(r.t, r.m.cutCalls, r.w.Head != nil && r.w.Head.CutCalls)
	n := 0
	for msg := range Messages(&v, r.w) {
		require.Equal(r.t, r.m.win[n].head(), msg)
		n++
	}
	r.checkPlan(&v, r.w.Used)
	r.checkPlan(&v, 0)
	for range 4 {
		r.checkPlan(&v, r.rng.Uint64N(r.w.Used+2))
	}
	for range 3 {
		limit := r.rng.IntN(len(r.m.win) + 2)
		m := model{win: slices.Clone(r.m.win), cutCalls: r.m.cutCalls}
		m.cut(limit)
		w := CutNewest(&v, r.w, limit)
		require.Equal(r.t, m.used(), w.Used)
		require.Equal(r.t, len(m.win), Count(&v, w))
		require.Equal(r.t, m.cutCalls, w.Head != nil && w.Head.CutCalls)
	}
}

func (r *rig) checkPlan(v *View[ext], ceiling uint64) {
	want := r.m.fit(ceiling)
	p := Fit(v, r.w, ceiling)
	var list []string
	used := uint64(0)
	for _, i := range want {
		list = append(list, i.json)
		used += uint64(i.tokens)
	}
	got := p.Append([]byte("x"))
	require.Equal(r.t, "x"+join(list), string(got), "ceiling %d of %d", ceiling, r.w.Used)
	require.Equal(r.t, len(got)-1, p.Len())
	require.Equal(r.t, used, p.Used)
	require.LessOrEqual(r.t, p.Used, ceiling)
	require.Equal(r.t, len(want), p.Messages)
	require.Equal(r.t, len(r.m.win)-len(want), p.Truncated)

	segs := p.Segments()
	for n, i := range want { // the segments name all messages, in order
		if n > 0 && want[n-1].summary == i.summary && (i.summary || i.seq <= segs[0].ToSeq) {
			continue
		}
		if n > 0 {
			segs = segs[1:]
		}
		require.NotEmpty(r.t, segs)
		require.Equal(r.t, i.summary, segs[0].Summary)
		if !i.summary {
			require.Equal(r.t, i.seq, segs[0].FromSeq)
			require.LessOrEqual(r.t, segs[0].FromSeq, segs[0].ToSeq)
		}
	}
	require.LessOrEqual(r.t, len(segs), 1)
}

func join(list []string) (s string) {
	for n, j := range list {
		if n > 0 {
			s += ","
		}
		s += j
	}
	return s
}

// checkLog compares the log with its twin and its own answers with one another.
func (r *rig) checkLog(v *View[ext]) {
	var u View[ext]
	r.twin.View(&u)
	require.Equal(r.t, v.Header, u.Header)
	require.Equal(r.t, v.Ext.n, v.Version)
	require.Equal(r.t, v.Pages(), u.Pages())
	for i := range v.Pages() {
		require.True(r.t, bytes.Equal(v.Page(i).Append(nil), u.Page(i).Append(nil)), "page %d", i)
	}
	require.Equal(r.t, r.log.w.held, r.twin.w.held)
	if v.Last == 0 {
		return
	}
	from := v.First + r.rng.Uint64N(v.Last-v.First+1)
	to := from + r.rng.Uint64N(v.Last-from+1)
	all := v.AppendMessages(nil, from, to)
	require.NoError(r.t, checkMessages(all, from, to))
	require.Equal(r.t, len(all), v.MessagesLen(from, to))
	var list []string
	for seq := from; seq <= to; seq++ {
		json, aux, meta := v.Message(seq)
		list = append(list, string(json))
		slot := v.Slot(seq)
		require.Equal(r.t, SlotInfo{Seq: seq, Version: meta.Version, Tokens: meta.Tokens, Flags: meta.Flags, Cum: v.Cum(seq), LiveFrom: slot.LiveFrom, Used: slot.Used}, slot)
		require.Equal(r.t, v.Cum(seq)-v.Cum(seq-1), uint64(meta.Tokens))
		require.Equal(r.t, meta.Flags&FlagAux != 0, len(aux) > 0)
		after := v.AfterVersion(meta.Version)
		require.Greater(r.t, after, seq)
		require.True(r.t, after > v.Last || v.Slot(after).Version > meta.Version && v.Slot(after-1).Version == meta.Version)
	}
	require.Equal(r.t, join(list), string(all))
}

// The log and its windows against the model, for many seeds.
func TestModel(t *testing.T) {
	seeds := 80
	if raceEnabled {
		seeds = 15
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := &rig{t: t, rng: rand.New(rand.NewPCG(seed, 7)), log: new(Log[ext]), twin: new(Log[ext]), w: Window{LiveFrom: 1}}
			r.tools = seed%4 != 0
			r.publish()
			for range 60 {
				switch n := r.rng.IntN(20); {
				case n < 13:
					r.appendVersion(-1)
				case n < 15:
					r.appendVersion(r.rng.IntN(20))
				case n == 15:
					r.compact()
				case n == 16 && len(r.m.win) < 30:
					r.rewrite()
				case n == 17:
					r.reload()
				default:
					r.both(func(l *Log[ext]) { l.EvictBefore(min(r.w.LiveFrom, r.log.Last()-min(r.log.Last(), 10))) })
					r.publish()
				}
				r.check()
			}
		})
	}
}
