package shard

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rig drives a machine and the model with the same commands and compares everything that can be seen.
type rig struct {
	t     *testing.T
	rng   *rand.Rand
	m     *Machine
	index uint64
	now   int64
	model map[string]*modelContext
	ids   []string
	live  map[string]*liveStream
	log   [][]byte // every command applied
	res   Result
}

// liveStream is a stream that reads after every command.
type liveStream struct {
	cur Cursor
}

func newRig(t *testing.T, seed uint64) *rig {
	return &rig{
		t: t, rng: rand.New(rand.NewPCG(seed, 42)), m: NewMachine(5), now: testTime,
		model: map[string]*modelContext{}, live: map[string]*liveStream{},
	}
}

func (r *rig) apply(cmd []byte) *Result {
	r.index++
	r.now += r.rng.Int64N(3) - 1 // may run backwards
	StampTime(cmd, r.now)
	r.log = append(r.log, cmd)
	require.NoError(r.t, r.m.Apply(r.index, cmd, &r.res))
	return &r.res
}

func (r *rig) view(id string) *View {
	c := r.m.Lookup([]byte(id))
	require.NotNil(r.t, c)
	v := &View{}
	c.View(v)
	return v
}

func (r *rig) message() tMsg {
	types := []string{"text", "text", "tool_call", "tool_result", "reasoning", "tool_x_result", "image"}
	m := tMsg{role: []string{"user", "assistant", "system"}[r.rng.IntN(3)], tokens: -1}
	for range 1 + r.rng.IntN(3) {
		p := tPart{typ: types[r.rng.IntN(len(types))], tokens: r.rng.Uint32N(20)}
		if strings.HasPrefix(p.typ, "tool") && r.rng.IntN(3) > 0 {
			p.id = fmt.Sprintf("c%d", r.rng.IntN(3))
		}
		m.parts = append(m.parts, p)
	}
	if r.rng.IntN(3) == 0 {
		m.tokens = r.rng.IntN(60)
	}
	if r.rng.IntN(4) == 0 {
		m.meta = `{ "k" : 1e3 }`
	}
	if r.rng.IntN(5) == 0 {
		m.own = 1 + r.rng.Int64N(maxTimeMs)
	}
	return m
}

func (r *rig) policy() Policy {
	limit := 1 + r.rng.Uint32N(12)
	switch r.rng.IntN(5) {
	case 0:
		return Policy{Strategy: Manual, Config: []byte(`{}`)}
	case 1, 2:
		return Policy{Strategy: LastN, Limit: limit, Config: fmt.Appendf(nil, `{"limit":%d}`, limit)}
	default:
		kinds := [][]string{{"tool", "reasoning"}, {"tool_call"}, {"tool_result", "text"}, {"reasoning"}}[r.rng.IntN(4)]
		return Policy{Strategy: SkipParts, Limit: limit, SkipKinds: kinds, Config: fmt.Appendf(nil, `{"limit":%d}`, limit)}
	}
}

func (r *rig) messages() (msgs []tMsg) {
	n := 1
	if r.rng.IntN(4) == 0 {
		n += r.rng.IntN(4)
	}
	for range n {
		msgs = append(msgs, r.message())
	}
	return msgs
}

func encode(cmd []byte, msgs []tMsg) []byte {
	for _, m := range msgs {
		cmd = AppendMessage(cmd, m.message())
	}
	SetCount(cmd, len(msgs))
	return cmd
}

// step runs one random command on one context and compares the answer and the context with the model.
func (r *rig) step(id string) {
	c := r.model[id]
	if c == nil {
		if r.rng.IntN(3) == 0 {
			res := r.apply(encode(BeginAppend(nil, AppendHeader{ID: []byte(id)}), r.messages()))
			require.Equal(r.t, CodeNotFound, res.Code)
			return
		}
		c = &modelContext{config: *defaultConfig()}
		r.model[id] = c
		r.ids = append(r.ids, id)
		r.live[id] = &liveStream{}
	}
	switch n := r.rng.IntN(100); {
	case n < 60:
		r.append(id, c)
	case n < 70:
		r.compact(id, c)
	case n < 85:
		r.put(id, c)
	case n < 90:
		res := r.apply(EncodePatchMetadata(nil, []byte(id), []byte(`{"a":1}`)))
		want := CodeOK
		switch {
		case c.dead:
			want = CodeTombstoned
		case r.m.Lookup([]byte(id)) == nil:
			want = CodeNotFound
		}
		require.Equal(r.t, want, res.Code)
	case n < 95:
		seq := r.rng.Uint64N(c.last() + 5)
		res := r.apply(EncodeAckArchived(nil, []byte(id), seq, math.MaxUint64))
		if res.Code == CodeOK {
			c.archived = max(c.archived, min(seq, c.last()))
		}
	case n < 96:
		res := r.apply(EncodeDelete(nil, []byte(id)))
		if r.m.Lookup([]byte(id)) == nil {
			require.Equal(r.t, CodeNotFound, res.Code)
			break
		}
		require.Equal(r.t, CodeOK, res.Code)
		c.dead = true
	}
	if r.m.Lookup([]byte(id)) == nil {
		return
	}
	r.compare(id, c)
}

func (r *rig) put(id string, c *modelContext) {
	p := Put{ID: []byte(id)}
	next := c.config
	if r.rng.IntN(2) == 0 {
		p.HasBudget, p.TokenBudget = true, 20+r.rng.Uint64N(300)
		next.TokenBudget = p.TokenBudget
	}
	if r.rng.IntN(2) == 0 {
		p.HasRatio, p.RatioPPB = true, 1+r.rng.Uint64N(RatioOne)
		next.RatioPPB = p.RatioPPB
	}
	if r.rng.IntN(2) == 0 {
		p.HasPolicy, p.Policy = true, r.policy()
		next.Policy = p.Policy
	}
	created := r.m.Lookup(p.ID) == nil
	res := r.apply(EncodePut(nil, &p))
	if c.dead {
		require.Equal(r.t, CodeTombstoned, res.Code)
		return
	}
	require.Equal(r.t, CodeOK, res.Code)
	require.Equal(r.t, created, res.Created)
	require.Equal(r.t, c.version, res.Version)
	require.Contains(r.t, string(res.View.AppendContext(nil)), fmt.Sprintf(`"token_budget":%d,`, next.TokenBudget))
	c.config = next
}

// guard decides on a guard and a key and says what the machine should answer.
func (r *rig) guard(id string, c *modelContext) (h AppendHeader, want Code, dup *modelKey) {
	h.ID = []byte(id)
	want = CodeOK
	if r.rng.IntN(4) == 0 {
		h.HasIfVersion = true
		h.IfVersion = c.version
		if r.rng.IntN(2) == 0 {
			h.IfVersion += 1 + r.rng.Uint64N(2)
			want = CodeConflict
		}
	}
	if c.dead {
		want = CodeTombstoned
	}
	if r.rng.IntN(3) == 0 {
		h.HasKey = true
		h.Key[0], h.BodyHash[0] = byte(r.rng.IntN(200)), byte(r.rng.IntN(2))
		for i := range c.keys {
			if k := &c.keys[i]; k.key == h.Key[0] {
				want, dup = CodeOK, k
				if k.body != h.BodyHash[0] {
					want = CodeKeyReused
				}
			}
		}
	}
	if r.m.Lookup(h.ID) == nil {
		want = CodeNotFound
	}
	return h, want, dup
}

// check compares an answer; it returns true if the command took effect.
func (r *rig) check(c *modelContext, res *Result, h AppendHeader, want Code, dup *modelKey) bool {
	require.Equal(r.t, want, res.Code)
	if want == CodeConflict {
		require.Equal(r.t, [2]uint64{c.version, h.IfVersion}, [2]uint64{res.CurrentVersion, res.IfVersion})
	}
	if want != CodeOK {
		return false
	}
	require.Equal(r.t, dup != nil, res.Deduplicated)
	if dup != nil {
		require.Equal(r.t, [3]uint64{dup.version, dup.first, uint64(dup.count)}, [3]uint64{res.Version, res.FirstSeq, uint64(res.Count)})
		return false
	}
	if h.HasKey {
		c.keys = append(c.keys, modelKey{key: h.Key[0], body: h.BodyHash[0], version: res.Version, first: res.FirstSeq, count: res.Count})
		c.keys = c.keys[max(0, len(c.keys)-keyRingMax):]
	}
	return true
}

func (r *rig) append(id string, c *modelContext) {
	h, want, dup := r.guard(id, c)
	msgs := r.messages()
	res := r.apply(encode(BeginAppend(nil, h), msgs))
	if !r.check(c, res, h, want, dup) {
		return
	}
	require.Equal(r.t, [3]uint64{c.version + 1, c.last() + 1, uint64(len(msgs))}, [3]uint64{res.Version, res.FirstSeq, uint64(res.Count)})
	c.append(msgs, r.at(id))
}

func (r *rig) compact(id string, c *modelContext) {
	h, want, dup := r.guard(id, c)
	var msgs []tMsg
	for range r.rng.IntN(4) {
		msgs = append(msgs, r.message())
	}
	res := r.apply(encode(BeginCompact(nil, h), msgs))
	if !r.check(c, res, h, want, dup) {
		return
	}
	require.Equal(r.t, c.version+1, res.Version)
	c.compact(msgs, r.at(id))
}

// at is the time that the last command was applied at: its stamp, or the context's own if that was later.
func (r *rig) at(id string) string {
	return string(appendTime(nil, r.view(id).UpdatedMs))
}

func (r *rig) compare(id string, c *modelContext) {
	t := r.t
	v := r.view(id)
	require.Equal(t, c.version, v.Version)
	require.Equal(t, c.last(), v.Last)
	require.Equal(t, c.used(), v.Used, "used tokens")
	require.Equal(t, c.archived, v.Archived)
	require.Equal(t, c.dead, v.Ext.Tombstoned)
	require.Equal(t, c.liveFrom(), v.LiveFrom)
	require.Equal(t, c.shownWindow(), string(v.AppendWindow(nil, math.MaxUint64>>32)), "window")

	limit, offset := 1+r.rng.Uint64N(20), r.rng.Uint64N(c.last()+3)
	to := max(int64(c.last())-int64(offset), 0)
	from := max(to-int64(limit), 0)
	require.Equal(t, `{"messages":[`+joinShown(c.log[from:to])+`]}`, string(v.AppendTail(nil, limit, offset)))

	seq := r.rng.Int64N(int64(c.last())*2+5) - int64(c.last()) - 2
	start := max(seq-1, 0)
	if seq < 0 {
		start = max(int64(c.last())+seq, 0)
	}
	end := min(start+int64(limit), int64(c.last()))
	next := "null"
	if end < int64(c.last()) {
		next = fmt.Sprint(end + 1)
	}
	start = min(start, end)
	want := fmt.Sprintf(`{"messages":[%s],"version":%d,"next_seq":%s}`, joinShown(c.log[start:end]), c.version, next)
	require.Equal(t, want, string(v.AppendHistory(nil, seq, limit)), "from_seq %d", seq)

	// What a live stream has got since its last look is what the model says happened.
	s := r.live[id]
	before := s.cur.Version
	got := events(v, &s.cur)
	if !c.dead || before < c.version {
		require.Equal(t, c.shownEvents(before), got, "live stream of %s", id)
	}
}

func joinShown(msgs []modelMsg) string {
	var out []string
	for _, m := range msgs {
		out = append(out, m.shown())
	}
	return strings.Join(out, ",")
}

// events drains a stream.
func events(v *View, cur *Cursor) (out []string) {
	for {
		e, ok := v.NextEvent(nil, cur, true)
		if !ok {
			return out
		}
		out = append(out, string(e))
	}
}

// replay compares a stream that resumes somewhere with the model.
func (r *rig) replay(id string, c *modelContext) {
	v := r.view(id)
	from := r.rng.Uint64N(c.version + 1)
	if v.Ext.CompactionCount > compactionsKept {
		from = max(from, v.Ext.Compactions[0].Version-1)
	}
	got := events(v, &Cursor{Version: from})
	require.Equal(r.t, c.shownEvents(from), got, "replay of %s from %d of %d", id, from, c.version)

	require.Equal(r.t, fmt.Sprintf(`{"type":"reset","version":%d}`, c.version), events(v, &Cursor{Version: c.version + 1 + r.rng.Uint64N(9)})[0])
}

func snapshotOf(t testing.TB, m *Machine) []byte {
	m.BeginSnapshot(m.index, 1)
	var c *Captured
	for c == nil {
		c = m.CaptureSome(3)
	}
	var b bytes.Buffer
	n, err := c.WriteTo(&b)
	require.NoError(t, err)
	require.Equal(t, int64(b.Len()), n)
	return b.Bytes()
}

// TestMachineAgainstModel runs random commands through the machine and a naive model of API.md and
// compares answers, windows, pages and streams after each. Now and then the machine is replaced by one
// loaded from its snapshot; in the end a second machine runs the same log without that, and must have the
// same bytes.
func TestMachineAgainstModel(t *testing.T) {
	seeds, steps := rounds(12), 600
	if testing.Short() {
		seeds = min(seeds, 4)
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRig(t, seed)
			for i := range steps {
				id := fmt.Sprintf("ctx-%d", r.rng.IntN(4))
				r.step(id)
				if i%37 == 0 {
					for _, id := range r.ids {
						if r.m.Lookup([]byte(id)) != nil {
							r.replay(id, r.model[id])
						}
					}
				}
				if i%101 == 100 {
					b := snapshotOf(t, r.m)
					loaded, info, err := LoadMachine(bytes.NewReader(b))
					require.NoError(t, err)
					require.Equal(t, uint32(5), info.Shard)
					require.Equal(t, r.index, info.Index)
					r.m = loaded
					require.Equal(t, b, snapshotOf(t, r.m), "a loaded machine writes the snapshot it came from")
				}
			}
			other := NewMachine(5)
			var res Result
			for i, cmd := range r.log {
				require.NoError(t, other.Apply(uint64(i+1), slices.Clone(cmd), &res))
			}
			require.Equal(t, snapshotOf(t, other), snapshotOf(t, r.m), "two runs over one log")
		})
	}
}
