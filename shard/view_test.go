package shard

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// story is a machine with one context, to be told command by command.
type story struct {
	t     testing.TB
	m     *Machine
	index uint64
	res   Result
}

func newStory(t testing.TB, put Put) *story {
	s := &story{t: t, m: NewMachine(0)}
	put.ID = []byte("s")
	s.do(EncodePut(nil, &put))
	require.True(t, s.res.Created)
	return s
}

func (s *story) do(cmd []byte) *Result {
	s.index++
	StampTime(cmd, testTime)
	require.NoError(s.t, s.m.Apply(s.index, cmd, &s.res))
	return &s.res
}

func (s *story) append(msgs ...tMsg) *Result {
	return s.do(encode(BeginAppend(nil, AppendHeader{ID: []byte("s")}), msgs))
}

func (s *story) compact(msgs ...tMsg) *Result {
	return s.do(encode(BeginCompact(nil, AppendHeader{ID: []byte("s")}), msgs))
}

func (s *story) view() *View {
	v := &View{}
	s.m.Lookup([]byte("s")).View(v)
	return v
}

// The examples of API.md, byte for byte.
func TestContextJSON(t *testing.T) {
	m := NewMachine(0)
	var res Result
	put := EncodePut(nil, &Put{
		ID: []byte("support-123"), HasBudget: true, TokenBudget: 1_000_000,
		HasPolicy:   true,
		Policy:      Policy{Strategy: LastN, Limit: 400, Config: []byte(`{"limit":400}`)},
		HasMetadata: true, Metadata: []byte(`{"project":"support"}`),
	})
	StampTime(put, testTime-15120)
	require.NoError(t, m.Apply(1, put, &res))
	require.Equal(t, `{"id":"support-123","status":"active","token_budget":1000000,"trigger_ratio":0.7,`+
		`"policy":{"strategy":"last_n","config":{"limit":400}},"metadata":{"project":"support"},`+
		`"version":0,"last_seq":0,"archived_seq":0,"used_tokens":0,`+
		`"created_at":"2025-01-24T12:00:00.000Z","updated_at":"2025-01-24T12:00:00.000Z"}`, string(res.View.AppendContext(nil)))

	cmd := encode(BeginAppend(nil, AppendHeader{ID: []byte("support-123")}), []tMsg{text("user", 42)})
	StampTime(cmd, testTime)
	require.NoError(t, m.Apply(2, cmd, &res))
	del := EncodeDelete(nil, []byte("support-123"))
	StampTime(del, testTime+1)
	require.NoError(t, m.Apply(3, del, &res))
	require.NoError(t, m.Apply(4, EncodeDelete(nil, []byte("support-123")), &res))
	require.Equal(t, CodeOK, res.Code, "deleting again")
	var v View
	m.Lookup([]byte("support-123")).View(&v)
	require.Equal(t, `{"id":"support-123","status":"tombstoned","token_budget":1000000,"trigger_ratio":0.7,`+
		`"policy":{"strategy":"last_n","config":{"limit":400}},"metadata":{"project":"support"},`+
		`"version":1,"last_seq":1,"archived_seq":0,"used_tokens":42,`+
		`"created_at":"2025-01-24T12:00:00.000Z","updated_at":"2025-01-24T12:00:15.121Z"}`, string(v.AppendContext(nil)))
	require.Equal(t, `{"messages":[{"seq":1,"role":"user","parts":[{"type":"text"}],"token_count":42,"metadata":{},`+
		`"inserted_at":"2025-01-24T12:00:15.120Z"}]}`, string(v.AppendTail(nil, 100, 0)))
	require.Equal(t, "support-123", v.ID())
}

func TestRatioJSON(t *testing.T) {
	for ppb, want := range map[uint64]string{
		RatioOne: "1", 1: "0.000000001", 700_000_000: "0.7", 123_456_789: "0.123456789", 50_000_000: "0.05", 999_999_999: "0.999999999",
	} {
		require.Equal(t, want, string(appendRatio(nil, ppb)))
	}
}

func TestAboveIsExact(t *testing.T) {
	for _, c := range []struct {
		used, budget, ratio uint64
		want                bool
	}{
		{0, 1, 1, false},
		{7, 10, 700_000_000, false},
		{8, 10, 700_000_000, true},
		{5600, 8000, 700_000_000, false},
		{5601, 8000, 700_000_000, true},
		{math.MaxUint64, math.MaxUint64, RatioOne, false},
		{math.MaxUint64, math.MaxUint64, RatioOne - 1, true},
		{1 << 53, 1<<53 - 1, RatioOne, true}, // floats would not tell
		{math.MaxUint64, 1, 1, true},
	} {
		require.Equal(t, c.want, above(c.used, c.budget, c.ratio), "%+v", c)
	}
}

func TestWindowJSON(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: Manual, Config: []byte("{}")}})
	require.Equal(t, `{"version":0,"messages":[],"used_tokens":0,"needs_compaction":false,"segments":[]}`, string(s.view().AppendWindow(nil, 0)))
	for range 6 {
		s.append(text("user", 10))
	}
	shown := func(seq int) string { return text("user", 10).json(uint64(seq), "2025-01-24T12:00:15.120Z") }
	require.Equal(t, `{"version":6,"messages":[`+shown(1)+","+shown(2)+","+shown(3)+","+shown(4)+","+shown(5)+","+shown(6)+
		`],"used_tokens":60,"needs_compaction":false,"segments":[{"type":"live","from_seq":1,"to_seq":6}]}`, string(s.view().AppendWindow(nil, 0)))
	// A lower ceiling for one call: the oldest go, needs_compaction looks at the whole window.
	require.Equal(t, `{"version":6,"messages":[`+shown(5)+","+shown(6)+
		`],"used_tokens":20,"needs_compaction":true,"truncated":4,"segments":[{"type":"live","from_seq":5,"to_seq":6}]}`, string(s.view().AppendWindow(nil, 25)))

	require.Equal(t, uint64(7), s.compact(text("assistant", 7)).Version)
	s.append(text("user", 10))
	sum := text("assistant", 7).json(0, "2025-01-24T12:00:15.120Z")
	require.Equal(t, `{"version":8,"messages":[`+sum+","+shown(7)+
		`],"used_tokens":17,"needs_compaction":false,"segments":[{"type":"summary","from_seq":1,"to_seq":6},{"type":"live","from_seq":7,"to_seq":7}]}`, string(s.view().AppendWindow(nil, 0)))
	// The summary outlives newer messages.
	require.Equal(t, `{"version":8,"messages":[`+sum+
		`],"used_tokens":7,"needs_compaction":true,"truncated":1,"segments":[{"type":"summary","from_seq":1,"to_seq":6}]}`, string(s.view().AppendWindow(nil, 8)))

	s.compact()
	require.Equal(t, `{"version":9,"messages":[],"used_tokens":0,"needs_compaction":false,"segments":[]}`, string(s.view().AppendWindow(nil, 0)))
	require.Equal(t, [2]uint64{1, 7}, [2]uint64{s.view().Ext.Compactions[1].From, s.view().Ext.Compactions[1].To})
	s.compact(text("user", 1))
	require.Equal(t, [2]uint64{0, 0}, [2]uint64{s.view().Ext.Compactions[2].From, s.view().Ext.Compactions[2].To}, "there was nothing to take the place of")
}

func TestPages(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 1 << 40})
	require.Equal(t, `{"messages":[]}`, string(s.view().AppendTail(nil, 10, 0)))
	require.Equal(t, `{"messages":[],"version":0,"next_seq":null}`, string(s.view().AppendHistory(nil, 1, 10)))
	require.Equal(t, `{"messages":[],"version":0,"next_seq":null}`, string(s.view().AppendHistory(nil, math.MinInt64, 10)))
	s.append(text("user", 1), text("user", 1), text("user", 1))
	shown := func(seq uint64) string { return text("user", 1).json(seq, "2025-01-24T12:00:15.120Z") }
	for _, c := range []struct {
		limit, offset uint64
		want          string
	}{
		{10, 0, shown(1) + "," + shown(2) + "," + shown(3)},
		{1, 0, shown(3)},
		{2, 1, shown(1) + "," + shown(2)},
		{10, 2, shown(1)},
		{10, 3, ""},
		{10, math.MaxUint64, ""},
		{math.MaxUint64, 0, shown(1) + "," + shown(2) + "," + shown(3)},
		{0, 0, ""},
	} {
		require.Equal(t, `{"messages":[`+c.want+`]}`, string(s.view().AppendTail(nil, c.limit, c.offset)), "%+v", c)
	}
	for _, c := range []struct {
		from  int64
		limit uint64
		want  string
	}{
		{1, 10, shown(1) + "," + shown(2) + "," + shown(3) + `],"version":1,"next_seq":null}`},
		{1, 3, shown(1) + "," + shown(2) + "," + shown(3) + `],"version":1,"next_seq":null}`},
		{1, 2, shown(1) + "," + shown(2) + `],"version":1,"next_seq":3}`},
		{3, 1, shown(3) + `],"version":1,"next_seq":null}`},
		{4, 1, `],"version":1,"next_seq":null}`},
		{math.MaxInt64, math.MaxUint64, `],"version":1,"next_seq":null}`},
		{-1, 10, shown(3) + `],"version":1,"next_seq":null}`},
		{-3, 1, shown(1) + `],"version":1,"next_seq":2}`},
		{-99, 1, shown(1) + `],"version":1,"next_seq":2}`},
		{math.MinInt64, 1, shown(1) + `],"version":1,"next_seq":2}`},
		{0, 1, shown(1) + `],"version":1,"next_seq":2}`},
	} {
		require.Equal(t, `{"messages":[`+c.want, string(s.view().AppendHistory(nil, c.from, c.limit)), "%+v", c)
	}
}

// What the client sent comes back byte for byte, whatever it looks like.
func TestMessagesAreKeptAsSent(t *testing.T) {
	s := newStory(t, Put{})
	fields := `"id" : "x", "parts":[ {"type":"text","text":"\u0041é\n","n":1.50E+3} ], "role":"user","metadata":{"b":1,"a":2}`
	s.do(AppendMessage(BeginAppend(nil, AppendHeader{ID: []byte("s"), Count: 1}), &Message{Fields: []byte(fields), Tokens: math.MaxUint32}))
	require.Equal(t, fmt.Sprintf(`{"messages":[{"seq":1,%s,"token_count":4294967295,"inserted_at":"2025-01-24T12:00:15.120Z"}]}`, fields),
		string(s.view().AppendTail(nil, 1, 0)))
}
