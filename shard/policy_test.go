package shard

import (
	"fmt"
	"strings"
	"testing"

	"fastpaca/ring"

	"github.com/stretchr/testify/require"
)

// window writes a window as a line: the seq (or s for a replacement) of each message, its parts' types
// where they are not one text, and its tokens.
func (s *story) window() string {
	v := s.view()
	w := ring.Window{Head: v.Ext.Head, LiveFrom: v.LiveFrom, Used: v.Used}
	var out []string
	total := uint64(0)
	for m := range ring.Messages(&v.View, w) {
		name := "s"
		if m.Seq > 0 {
			name = fmt.Sprint(m.Seq)
		}
		var types []string
		for _, part := range strings.Split(string(m.JSON), `{"type":"`)[1:] {
			types = append(types, part[:strings.IndexByte(part, '"')])
		}
		if t := strings.Join(types, "+"); t != "text" {
			name += "(" + t + ")"
		}
		require.Contains(s.t, string(m.JSON), fmt.Sprintf(`,"token_count":%d,`, m.Tokens))
		out = append(out, fmt.Sprintf("%s=%d", name, m.Tokens))
		total += uint64(m.Tokens)
	}
	require.Equal(s.t, total, v.Used)
	return strings.Join(out, " ")
}

// parts makes a message of parts like "tool_call#id:tokens".
func parts(specs ...string) tMsg {
	m := tMsg{role: "assistant", tokens: -1}
	for _, spec := range specs {
		var p tPart
		spec, n, _ := strings.Cut(spec, ":")
		p.typ, p.id, _ = strings.Cut(spec, "#")
		_, err := fmt.Sscan(n, &p.tokens)
		if err != nil {
			panic(err)
		}
		m.parts = append(m.parts, p)
	}
	return m
}

func TestPolicies(t *testing.T) {
	lastN := func(n uint32) Policy { return Policy{Strategy: LastN, Limit: n, Config: []byte(`{}`)} }
	skip := func(limit uint32, kinds ...string) Policy {
		return Policy{Strategy: SkipParts, Limit: limit, SkipKinds: kinds, Config: []byte(`{}`)}
	}
	manual := Policy{Strategy: Manual, Config: []byte(`{}`)}
	u := func(tokens uint32) []tMsg { return []tMsg{text("user", tokens)} }
	one := func(specs ...string) []tMsg { return []tMsg{parts(specs...)} }
	with := func(tokens int, m tMsg) []tMsg { m.tokens = tokens; return []tMsg{m} }

	for _, c := range []struct {
		name    string
		policy  Policy
		appends [][]tMsg // nil: compact to one message of 10 tokens
		want    string   // with a budget of 100 and a ratio of 0.5
	}{
		{"at the trigger nothing happens", lastN(1), [][]tMsg{u(25), u(25)}, "1=25 2=25"},
		{"one token above it does", lastN(1), [][]tMsg{u(25), u(26)}, "2=26"},
		{"last_n under its limit keeps all, though the trigger is passed", lastN(3), [][]tMsg{u(30), u(30), u(30)}, "1=30 2=30 3=30"},
		{"last_n over it keeps the newest", lastN(3), [][]tMsg{u(30), u(30), u(30), u(30)}, "2=30 3=30 4=30"},
		{"a batch is cut as one", lastN(2), [][]tMsg{u(10), {text("user", 20), text("user", 20), text("user", 20)}}, "3=20 4=20"},
		{"a batch below the trigger is not cut", lastN(2), [][]tMsg{{text("user", 1), text("user", 1), text("user", 1)}}, "1=1 2=1 3=1"},
		{"a system message counts like any other", lastN(2), [][]tMsg{{text("system", 30)}, u(30), u(30)}, "2=30 3=30"},
		{"a summary counts and is dropped when older", lastN(2), [][]tMsg{u(1), nil, u(20), u(30)}, "2=20 3=30"},
		{"a summary stays while it is among the newest", lastN(3), [][]tMsg{u(1), nil, u(20), u(30)}, "s=10 2=20 3=30"},
		{"a result goes with its call", lastN(2), [][]tMsg{one("tool_call#a:20"), one("tool_result#a:20"), u(20)}, "3=20"},
		{"a late result of a cut call does not come in", lastN(2), [][]tMsg{one("tool_call#a:30"), u(30), u(30), one("tool_result#a:5"), u(30)}, "3=30 5=30"},
		{"a result whose call stays, stays", lastN(2), [][]tMsg{u(30), one("tool_call#a:20"), one("tool_result#a:20")}, "2(tool_call)=20 3(tool_result)=20"},
		{"manual leaves all", manual, [][]tMsg{u(90), u(90), one("tool_call#a:90")}, "1=90 2=90 3(tool_call)=90"},

		{"skip_parts below the trigger keeps all", skip(9, "tool"), [][]tMsg{one("text:10", "tool_call#a:10")}, "1(text+tool_call)=20"},
		{"skip_parts removes parts and recounts", skip(9, "tool", "reasoning"),
			[][]tMsg{one("text:10", "tool_call#a:30"), one("reasoning:9", "text:5", "image:7")}, "1=10 2(text+image)=12"},
		{"a client's count is recounted by parts when parts go", skip(9, "tool"), [][]tMsg{with(60, parts("text:10", "tool_call:30"))}, "1=10"},
		{"and kept when none go", skip(9, "tool"), [][]tMsg{with(60, parts("text:10", "image:30"))}, "1(text+image)=60"},
		{"messages left with no parts go", skip(9, "tool"), [][]tMsg{u(10), one("tool_call#a:30"), one("tool_result#a:30"), u(10)}, "1=10 4=10"},
		{"then as last_n", skip(2, "tool"), [][]tMsg{u(10), u(10), one("tool_call#a:30", "text:10"), u(10)}, "2=10 3=10 4=10"},
		{"all may go", skip(2, "tool"), [][]tMsg{one("tool_call#a:60")}, ""},
		{"prefixes match the whole kind", skip(9, "tool_call", "re"), [][]tMsg{one("text:50", "retry:1", "tool_calls:1", "tool:1", "atool_call:1")}, "1(text+tool+atool_call)=52"},
		{"results follow removed calls whatever they are called", skip(9, "tool_call"),
			[][]tMsg{one("tool_call#a:30", "text:1"), one("text:2", "tool_result#a:30"), one("tool_result#b:5", "text:3")}, "1=1 2=2"},
		{"without an id, the nearest call decides", skip(9, "tool_call"),
			[][]tMsg{one("tool_call:1", "text:1"), one("toolbox:4", "text:40"), one("tool_result:5", "text:3"), u(1)}, "1=1 2(toolbox+text)=44 3(tool_result+text)=8 4=1"},
		{"a summary's parts go, too", skip(9, "text"), [][]tMsg{u(1), nil, one("image:60")}, "2(image)=60"},
		{"what comes later is skipped, too, once above the trigger", skip(9, "tool"),
			[][]tMsg{u(60), one("tool_call#a:5", "text:5"), u(1), one("tool_call#b:5", "text:6")}, "1=60 2=5 3=1 4=6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, Put{HasBudget: true, TokenBudget: 100, HasRatio: true, RatioPPB: 500_000_000, HasPolicy: true, Policy: c.policy})
			sent := uint64(0)
			for _, msgs := range c.appends {
				if msgs == nil {
					s.compact(text("assistant", 10))
					continue
				}
				sent += uint64(len(msgs))
				s.append(msgs...)
				require.Equal(t, sent, s.res.FirstSeq+uint64(s.res.Count)-1)
			}
			require.Equal(t, c.want, s.window())
			require.Equal(t, sent, s.view().Last, "the log keeps all")

			// The same from a snapshot: nothing that decides is outside the state.
			loaded := snapshotOf(t, s.m)
			m, _, err := LoadMachine(strings.NewReader(string(loaded)))
			require.NoError(t, err)
			other := &story{t: t, m: m}
			require.Equal(t, c.want, other.window())
			s.append(text("user", 60))
			other.append(text("user", 60))
			require.Equal(t, s.window(), other.window())
		})
	}
}

// Another policy does not touch the window until the next append.
func TestPolicyChange(t *testing.T) {
	s := newStory(t, Put{HasBudget: true, TokenBudget: 100, HasPolicy: true, Policy: Policy{Strategy: Manual, Config: []byte("{}")}})
	s.append(text("user", 50), text("user", 50), parts("tool_call#a:9", "text:1"))
	s.do(EncodePut(nil, &Put{ID: []byte("s"), HasPolicy: true, Policy: Policy{Strategy: SkipParts, Limit: 3, SkipKinds: []string{"tool"}, Config: []byte("{}")}}))
	require.Equal(t, "1=50 2=50 3(tool_call+text)=10", s.window())
	s.append(text("user", 1))
	require.Equal(t, "2=50 3=1 4=1", s.window())
	s.do(EncodePut(nil, &Put{ID: []byte("s"), HasPolicy: true, Policy: Policy{Strategy: SkipParts, Limit: 9, SkipKinds: []string{"text"}, Config: []byte("{}")}}))
	s.append(text("user", 30))
	require.Equal(t, "", s.window(), "what was clean for the old kinds is looked at again")
}
