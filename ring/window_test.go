package ring

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A window test is a line of words, one for each message, oldest first:
//
//	m    a message of 10 tokens           m:3   of 3 tokens
//	s    a system message                 z     a message of no tokens
//	ca   a call with id a                 ra    a result with id a
//	c r  a call or result without id
//	+    joins parts of one message: ca+cb, ra+m
//	|    ends the head of the window: what is before it are replacement messages
//	(ca) parentheses: rewritten by a policy, in the head
//	/    the policy cut here once before: what is to the left is no longer in the window
type script struct {
	log Log[ext]
	v   View[ext]
	w   Window
}

func run(t *testing.T, text string) *script {
	t.Helper()
	s := &script{w: Window{LiveFrom: 1}}
	words := strings.Fields(text)
	if i := strings.Index(text, "|"); i >= 0 {
		var head Head
		for _, word := range strings.Fields(text[:i]) {
			msg := parse(strings.Trim(word, "()"))
			if word[0] == '(' {
				s.add(msg) // was in the log
				msg.Seq = s.log.Last()
			} else {
				head.Summary++
			}
			head.Msgs = append(head.Msgs, msg)
			head.Tokens += uint64(msg.Tokens)
		}
		if head.Summary > 0 {
			s.add(parse("m"))
			head.SummaryFrom, head.SummaryTo = 1, s.log.Last()
		}
		s.w = WithHead(Window{LiveFrom: s.log.Last() + 1, Used: head.Tokens}, head)
		words = strings.Fields(text[i+1:])
	}
	for _, word := range words {
		if word == "/" {
			s.w = CutNewest(&s.v, s.w, 0)
			continue
		}
		s.add(parse(word))
		s.w = Extend(&s.v, s.w, s.log.Last())
	}
	s.log.Pending(&s.v)
	return s
}

func parse(word string) (msg HeadMsg) {
	word, tokens, _ := strings.Cut(word, ":")
	msg.Tokens = 10
	if tokens != "" {
		fmt.Sscan(tokens, &msg.Tokens)
	}
	var parts []Part
	for _, p := range strings.Split(word, "+") {
		var part Part
		if len(p) > 1 {
			part.ID = uint64(p[1])
		}
		switch p[0] {
		case 'c':
			part.Kind = PartCall
		case 'r':
			part.Kind = PartResult
		case 's':
			msg.Flags |= FlagSystem
		case 'z':
			msg.Tokens = 0
		}
		parts = append(parts, part)
	}
	if len(parts) > 1 || parts[0].Kind != PartOther {
		msg.Aux = AppendAux(nil, parts)
		_, flags, _ := ScanAux(msg.Aux)
		msg.Flags |= flags
	}
	msg.JSON = []byte(word)
	return msg
}

func (s *script) add(msg HeadMsg) {
	version := s.log.Last() + 1
	s.log.Append(msg.JSON, msg.Aux, Meta{Tokens: msg.Tokens, Flags: msg.Flags, Version: version})
	s.log.SealVersion(1, 0, false)
	s.log.Pending(&s.v)
}

// show prints the messages of w, and its used tokens.
func (s *script) show(w Window) string {
	var words []string
	for msg := range Messages(&s.v, w) {
		words = append(words, string(msg.JSON))
	}
	return strings.Join(words, " ") + fmt.Sprintf(" =%d", w.Used)
}

func TestCutNewest(t *testing.T) {
	for _, c := range []struct {
		name, log string
		limit     int
		want      string
	}{
		{"nothing there", "", 5, " =0"},
		{"fewer than the limit", "m m", 5, "m m =20"},
		{"exactly the limit", "m m", 2, "m m =20"},
		{"the newest", "m:1 m:2 m:3 m:4", 2, "m m =7"},
		{"limit 0", "m m", 0, " =0"},
		{"system has no privilege", "s m m", 2, "m m =20"},
		{"result with its call", "m ca ra m", 3, "ca ra m =30"},
		{"result without its call", "m ca ra m", 2, "m =10"},
		{"result without its call, no ids", "m c r m", 2, "m =10"},
		{"parallel results", "m ca+cb ra rb m", 3, "m =10"},
		{"interleaved: only b's call stays", "ca cb ra rb m", 4, "cb rb m =30"},
		{"interleaved: the hole is in the middle", "ca m:1 cb ra m:2 rb", 5, "m cb m rb =23"},
		{"no id: belongs to the nearest call", "c m c r", 3, "m c r =30"},
		{"no id: nearest call was cut", "c m r", 2, "m =10"},
		{"no id behind a call with an id", "ca m cb r", 3, "m cb r =30"},
		{"same id used twice", "ca ra m ca ra", 3, "m ca ra =30"},
		{"same id used twice, cut between", "ca ra ca ra m", 4, "ca ra m =30"},
		{"call and result in one message", "m ca+ra m", 2, "ca+ra m =20"},
		{"result before call in one message, no ids", "c r+c r m", 3, "m =10"},
		{"a result that never had a call stays", "m ra rb m", 3, "ra rb m =30"},
		{"...also without an id", "m r m", 2, "r m =20"},
		{"...also where another call is cut", "ca ra rx m", 2, "rx m =20"},
		{"an orphan takes its own calls with it", "ca ra+cb m rb m", 4, "m m =20"},
		{"text with a result goes as a whole", "ca m+ra m", 2, "m =10"},
		{"the head counts and goes first", "m:1 m:2 | m:3 m:4", 3, "m m m =9"},
		{"a call in the head", "ca m | ra m", 3, "m m =20"},
		{"a call in the head that stays", "m ca | ra m", 3, "ca ra m =30"},
		{"an orphan in the head", "(ca) (m) (ra) (m) | m", 4, "m m m =30"},
		{"a call of an earlier cut", "ca / m ra m", 2, "m m =20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, c.log)
			w := CutNewest(&s.v, s.w, c.limit)
			require.Equal(t, c.want, s.show(w))
			require.Equal(t, w, CutNewest(&s.v, w, c.limit), "again changes nothing")
		})
	}
}

func TestExtend(t *testing.T) {
	for _, c := range []struct{ name, log, want string }{
		{"all is in", "m ca ra m", "m ca ra m =40"},
		{"an orphan comes later", "ca / m ra m", "m m =20"},
		{"an orphan comes first", "ca / ra m", "m =10"},
		{"an orphan and nothing else", "ca / ra", " =0"},
		{"an orphan without id", "c / m r m", "m m =20"},
		{"its own call is there", "ca / m cb rb ra", "m cb rb =30"},
		{"the same id is called again", "ca / ca ra", "ca ra =20"},
		{"no call was cut: nothing to lose", "m / ra m", "ra m =20"},
		{"the calls of an orphan do not count", "ca / ra+cb rb m", "m =10"},
		{"call in the head", "ca | ra", "ca ra =20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, c.log)
			require.Equal(t, c.want, s.show(s.w))

			// In one batch it is the same.
			before, after, found := strings.Cut(c.log, "/")
			if !found {
				return
			}
			b := run(t, before+"/")
			from := b.log.Last() + 1
			for _, word := range strings.Fields(after) {
				b.add(parse(word))
			}
			require.Equal(t, s.w, Extend(&b.v, b.w, from))
		})
	}
}

func TestOrphan(t *testing.T) {
	for _, c := range []struct {
		log, msg string
		want     bool
	}{
		{"ca", "ra", false},
		{"ca /", "ra", true},
		{"ca /", "m+m", false},
		{"ca /", "ca+ra", false},
		{"ca / cb", "rb+ra", true},
		{"ca / cb", "r", false},
		{"m /", "ra", false},
		{"", "ra", false},
	} {
		s := run(t, c.log)
		require.Equal(t, c.want, Orphan(&s.v, s.w, parse(c.msg).Aux), "%s after %s", c.msg, c.log)
	}
}

func TestReplace(t *testing.T) {
	s := run(t, "m ca m")
	w := Replace(&s.v, s.w, []HeadMsg{parse("s:4"), parse("m:5")})
	require.Equal(t, "s m =9", s.show(w))
	require.Equal(t, &Head{Msgs: w.Head.Msgs, Tokens: 9, Summary: 2, SummaryFrom: 1, SummaryTo: 3, CutCalls: true}, w.Head)
	require.EqualValues(t, 4, w.LiveFrom)

	s.add(parse("ra")) // the call is gone
	s.add(parse("m:2"))
	w = Extend(&s.v, w, 4)
	require.Equal(t, "s m m =11", s.show(w))
	require.EqualValues(t, 5, w.LiveFrom)

	w = Replace(&s.v, w, []HeadMsg{parse("m:1")})
	require.Equal(t, "m =1", s.show(w))
	require.EqualValues(t, 1, w.Head.SummaryFrom, "what the last summary stood for, too")
	require.EqualValues(t, 5, w.Head.SummaryTo)

	w = Replace(&s.v, w, nil)
	require.Equal(t, " =0", s.show(w))
	require.Equal(t, &Head{CutCalls: true}, w.Head)

	e := run(t, "m m")
	w = Replace(&e.v, e.w, nil)
	require.Equal(t, Window{LiveFrom: 3}, w)
	from, to := ReplacedRange(&e.v, w)
	require.Zero(t, from+to, "an empty window")
	from, to = ReplacedRange(&e.v, CutNewest(&e.v, e.w, 1))
	require.Equal(t, [2]uint64{2, 2}, [2]uint64{from, to})
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		name, log string
		ceiling   uint64
		want      string
		truncated int
		segments  string
	}{
		{"nothing there", "", 0, "", 0, ""},
		{"all of it", "m m m", 30, "m m m", 0, "live 1-3"},
		{"oldest first", "m m:9 m", 28, "m m", 1, "live 2-3"},
		{"smaller than everything", "m m m", 9, "", 3, ""},
		{"zero ceiling", "m m", 0, "", 2, ""},
		{"zero ceiling, messages without tokens", "m z z", 0, "z z", 1, "live 2-3"},
		{"a big one in the middle stops it", "m:1 m:50 m:1", 20, "m", 2, "live 3-3"},
		{"leading system stays", "s m m m", 30, "s m m", 1, "live 1-1, live 3-4"},
		{"leading system and nothing else fits", "s m m", 15, "s", 2, "live 1-1"},
		{"leading system goes last", "s m m", 9, "", 3, ""},
		{"system in the middle has no privilege", "m s m m", 20, "m m", 2, "live 3-4"},
		{"only the first of two", "s s m m", 30, "s m m", 1, "live 1-1, live 3-4"},
		{"summary stays", "m m | m m m", 30, "m m m", 2, "summary 1-1, live 4-4"},
		{"summary alone", "m:6 m:7 | m m", 13, "m m", 2, "summary 1-1"},
		{"summary oldest first", "m:6 m:7 | m m", 12, "m", 3, "summary 1-1"},
		{"system of the summary goes last", "s:5 m:6 m:7 | m m", 12, "s m", 3, "summary 1-1"},
		{"... alone", "s:5 m:6 m:7 | m m", 6, "s", 4, "summary 1-1"},
		{"... at all", "s:5 m:6 m:7 | m m", 4, "", 5, ""},
		{"system behind the summary has no privilege", "m | s m m", 30, "m m m", 1, "summary 1-1, live 3-4"},
		{"rewritten messages go before the summary", "m (m:2) (m:3) | m", 23, "m m m", 1, "summary 1-3, live 2-4"},
		{"rewritten system at the start", "(s) (m) (m) | m", 25, "s m", 2, "live 1-1, live 4-4"},
		{"result without its call", "m ca ra m m", 35, "m m", 3, "live 4-5"},
		{"result without its call, no ids", "m c r m m", 30, "m m", 3, "live 4-5"},
		{"results behind others", "ca m ra m", 30, "m m", 2, "live 2-4"},
		{"the freed tokens are not used for older ones", "m:1 m:9 ca ra:9", 18, "", 4, ""},
		{"call in a summary that stays", "ca | m ra", 20, "ca ra", 1, "summary 1-1, live 3-3"},
		{"call in a summary that goes", "ca ra:5 m:4 | m", 10, "m", 3, "summary 1-1"},
		{"call in the system message", "s+ca m m ra", 20, "s+ca ra", 2, "live 1-1, live 4-4"},
		{"a result that never had a call stays", "m m ra m", 20, "ra m", 2, "live 3-4"},
		{"with holes", "ca / m:3 ra m:4 ra m:5", 11, "m m", 1, "live 4-6"},
		{"with holes, all", "ca / m:3 ra m:4 ra m:5", 12, "m m m", 0, "live 2-6"},
		{"hole at the end", "ca / m:3 m:4 ra", 6, "m", 1, "live 3-3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, c.log)
			p := Fit(&s.v, s.w, c.ceiling)
			require.Equal(t, strings.ReplaceAll(c.want, " ", ","), string(p.Append(nil)))
			require.Equal(t, c.truncated, p.Truncated)
			require.LessOrEqual(t, p.Used, c.ceiling)
			var segs []string
			for _, seg := range p.Segments() {
				name := "live"
				if seg.Summary {
					name = "summary"
				}
				segs = append(segs, fmt.Sprintf("%s %d-%d", name, seg.FromSeq, seg.ToSeq))
			}
			require.Equal(t, c.segments, strings.Join(segs, ", "))
		})
	}
}

// More calls than a calls set holds without a map: all calls first, then all results, cut in the middle of the calls.
func TestManyCalls(t *testing.T) {
	const n = 300
	s := script{w: Window{LiveFrom: 1}}
	for i := range 2 * n {
		part := Part{Kind: PartCall, ID: uint64(i%n + 1)}
		if i >= n {
			part.Kind = PartResult
		}
		s.add(HeadMsg{Tokens: 1, JSON: []byte("m"), Aux: AppendAux(nil, []Part{part})})
	}
	s.w = Extend(&s.v, s.w, 1)
	for _, drop := range []int{1, 40, 150, 299} {
		p := Fit(&s.v, s.w, uint64(2*n-drop))
		require.Equal(t, 2*drop, p.Truncated, "the calls and their results")
		require.EqualValues(t, 2*n-2*drop, p.Used)
		w := CutNewest(&s.v, s.w, 2*n-drop)
		require.Equal(t, p.Used, w.Used)
		require.Len(t, w.Head.Holes, drop)
		require.Equal(t, p.Messages, Count(&s.v, w))
	}
	for msg := range Messages(&s.v, s.w) {
		require.EqualValues(t, 1, msg.Seq)
		break
	}
}
