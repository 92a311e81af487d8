package jsonscan

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDocumentAccepts(t *testing.T) {
	for _, s := range []string{
		`{}`, `[]`, ` [ ] `, "\t{\r\n}\n", `null`, `true`, `false`, `0`, `-0`, `-0.0e-0`, `1e5`, `1E+5`, `10.01`,
		`123456789012345678901234567890.5e999`, `""`, `"a"`, `"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00"`, `"\ud800"`,
		`"é漢😀"`, "\"\x7f\"", `[1,2,3]`, `{"a":1,"a":2}`, `{"a":{"b":[{"c":[]},{}]},"d":[[],[[]]]}`,
		`["12345678","1234567","123456789012345"]`, ` {"a" : [ 1 , 2 ] , "b" : { } } `,
		strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth),
		strings.Repeat(`{"a":[`, MaxDepth/2) + strings.Repeat("]}", MaxDepth/2),
	} {
		start, end, err := Document([]byte(s))
		require.NoError(t, err, s)
		require.Equal(t, strings.Trim(s, " \t\r\n"), s[start:end])
	}
}

func TestDocumentRefuses(t *testing.T) {
	f := func(s string, code Code, offset int) {
		t.Helper()
		_, _, err := Document([]byte(s))
		var e *SyntaxError
		require.ErrorAs(t, err, &e, "%q", s)
		require.Equal(t, SyntaxError{code, offset}, *e, "%q: %v", s, err)
	}
	f("", Truncated, 0)
	f("  ", Truncated, 2)
	f("x", NoValue, 0)
	f("]", NoValue, 0)
	f("\ufeff{}", NoValue, 0)
	f("\x00", NoValue, 0)
	f("tru", Truncated, 3)
	f("trve", BadLiteral, 2)
	f("nul1", BadLiteral, 3)
	f("True", NoValue, 0)
	f("NaN", NoValue, 0)
	f("+1", NoValue, 0)
	f("-", Truncated, 1)
	f("-a", BadNumber, 1)
	f("-Infinity", BadNumber, 1)
	f("01", BadNumber, 1)
	f("-01", BadNumber, 2)
	f("1.", Truncated, 2)
	f("1.x", BadNumber, 2)
	f(".5", NoValue, 0)
	f("1e", Truncated, 2)
	f("1e+", Truncated, 3)
	f("1ex", BadNumber, 2)
	f("0x10", Trailing, 1)
	f("1 2", Trailing, 2)
	f("{}}", Trailing, 2)
	f("[", Truncated, 1)
	f("[1", Truncated, 2)
	f("[1,", Truncated, 3)
	f("[1,]", NoValue, 3)
	f("[,1]", NoValue, 1)
	f("[1 2]", NoCommaOrBracket, 3)
	f("[1}", NoCommaOrBracket, 2)
	f("{", Truncated, 1)
	f("{1:2}", NoKey, 1)
	f("{a:2}", NoKey, 1)
	f("{'a':2}", NoKey, 1)
	f(`{"a"`, Truncated, 4)
	f(`{"a" 1}`, NoColon, 5)
	f(`{"a":}`, NoValue, 5)
	f(`{"a":1`, Truncated, 6)
	f(`{"a":1,}`, NoKey, 7)
	f(`{"a":1,`, Truncated, 7)
	f(`{"a":1]`, NoCommaOrBrace, 6)
	f(`{"a":1 "b":2}`, NoCommaOrBrace, 7)
	f(`/**/1`, NoValue, 0)
	f(`"abc`, Truncated, 4)
	f(`"abcdefgh`, Truncated, 9)
	f("\"a\nb\"", ControlCharacter, 2)
	f("\"abcdefghi\x1fjklmnopq\"", ControlCharacter, 10)
	f("\"\x00\"", ControlCharacter, 1)
	f(`"\x"`, BadEscape, 1)
	f(`"\`, Truncated, 2)
	f(`"\u12`, Truncated, 5)
	f(`"\u12g4"`, BadEscape, 1)
	f("\"\x80\"", BadUTF8, 1)
	f("\"abcdefgh\xff\"", BadUTF8, 9)
	f("\"\xc0\x80\"", BadUTF8, 1)         // overlong NUL
	f("\"\xe0\x80\x80\"", BadUTF8, 1)     // overlong
	f("\"\xed\xa0\x80\"", BadUTF8, 1)     // surrogate
	f("\"\xf4\x90\x80\x80\"", BadUTF8, 1) // above U+10FFFF
	f("\"\xe6\xbc\"", BadUTF8, 1)         // cut short
	f("{\"\xff\":1}", BadUTF8, 2)
}

func TestDepth(t *testing.T) {
	f := func(s string, offset int) {
		t.Helper()
		_, _, err := Document([]byte(s))
		var e *SyntaxError
		require.ErrorAs(t, err, &e)
		require.Equal(t, SyntaxError{Depth, offset}, *e)
	}
	f(strings.Repeat("[", MaxDepth+1)+strings.Repeat("]", MaxDepth+1), MaxDepth)
	f(strings.Repeat("[", 100_000), MaxDepth)
	f(strings.Repeat(`{"a":`, 100_000), MaxDepth*5)
	f(strings.Repeat(`[{"a":`, 100_000), MaxDepth/2*6)

	// Walks count the depth on from where they are.
	text := []byte(`{"a":[` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `]}`)
	m := Object(text, 0)
	require.True(t, m.Next())
	a := m.Array()
	require.True(t, a.Next())
	require.Nil(t, a.Value())
	require.False(t, m.LeaveArray(&a))
	_, err := m.End()
	require.EqualError(t, err, "more than 128 arrays and objects inside one another (byte 132)")
}

func TestWalk(t *testing.T) {
	text := []byte(` { "ro\u006ce" : "user" ,"parts":[ {"type":"text"} , {"type":"tool"}, 3 ],"skipped":{"a":[1,2]} , "n":-1.5e3 } tail`)
	m := Object(text, 1)
	var keys, values, types []string
	for m.Next() {
		keys = append(keys, string(m.Key()))
		if Equal(m.Key(), "parts") {
			parts := m.Array()
			for parts.Next() {
				if parts.Kind() != '{' {
					continue
				}
				part := parts.Object()
				for part.Next() {
					if Equal(part.Key(), "type") {
						types = append(types, string(part.Value()))
					}
				}
				require.True(t, parts.LeaveObject(&part))
			}
			require.True(t, m.LeaveArray(&parts))
		}
		if !Equal(m.Key(), "skipped") {
			values = append(values, string(m.Value()))
		}
	}
	end, err := m.End()
	require.NoError(t, err)
	require.Equal(t, " tail", string(text[end:]))
	require.Equal(t, []string{`"ro\u006ce"`, `"parts"`, `"skipped"`, `"n"`}, keys)
	require.Equal(t, []string{`"user"`, `[ {"type":"text"} , {"type":"tool"}, 3 ]`, "-1.5e3"}, values)
	require.Equal(t, []string{`"text"`, `"tool"`}, types)
}

func TestWalkLeftEarlyIsFinished(t *testing.T) {
	text := []byte(`[{"a":1,"b":[1,2,{"c":3}]},4]`)
	a := Array(text, 0)
	require.True(t, a.Next())
	m := a.Object()
	require.True(t, m.Next())
	require.True(t, a.LeaveObject(&m))
	require.True(t, a.Next())
	require.Equal(t, "4", string(a.Value()))
	end, err := a.End()
	require.NoError(t, err)
	require.Equal(t, len(text), end)
}

func TestWalkOfTheWrongKind(t *testing.T) {
	m := Object([]byte(`[1]`), 0)
	require.False(t, m.Next())
	_, err := m.End()
	require.EqualError(t, err, "an object must stand here (byte 0)")
	a := Array([]byte(`{"a":1}`), 0)
	require.False(t, a.Next())
	_, err = a.End()
	require.EqualError(t, err, "an array must stand here (byte 0)")
	m = Object(nil, 0)
	_, err = m.End()
	require.EqualError(t, err, "the text ends in the middle of a value (byte 0)")
}

// walkAll takes a value apart with walks alone, and checks that they see what the scanner sees.
func walkAll(t *testing.T, w walk, kind byte, object func() Members, array func() Elements) {
	switch kind {
	case '{':
		m := object()
		for m.Next() {
			walkAll(t, m.walk, m.Kind(), m.Object, m.Array)
		}
		_, err := m.End()
		require.NoError(t, err)
	case '[':
		e := array()
		for e.Next() {
			walkAll(t, e.walk, e.Kind(), e.Object, e.Array)
		}
		_, err := e.End()
		require.NoError(t, err)
	default:
		require.NotEmpty(t, w.Value())
	}
}

// walkEnd walks a whole document without Value, one level, and returns what it made of it.
func walkEnd(text []byte) (int, error) {
	i := SkipSpace(text, 0)
	if i < len(text) && text[i] == '[' {
		a := Array(text, i)
		return a.End()
	}
	m := Object(text, i)
	return m.End()
}

// FuzzDocument holds the scanner against encoding/json: equal but for UTF-8 and depth.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,"\u00e9\ud83d\ude00",null,true,false,{}]}`, `[`, `"\ud800x"`, "\"\xff\"", ` [ { } ] `, `{"a":}`, `01`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		start, end, err := Document(text)
		var e *SyntaxError
		switch valid := json.Valid(text); {
		case err == nil:
			require.True(t, valid, "accepted what encoding/json refuses")
		case valid:
			require.ErrorAs(t, err, &e)
			require.Contains(t, []Code{BadUTF8, Depth}, e.Code, "refused what encoding/json accepts: %v", err)
			if e.Code == BadUTF8 {
				require.False(t, utf8.Valid(text))
			}
		}
		if errors.As(err, &e) {
			require.LessOrEqual(t, e.Offset, len(text))
		}
		if i := SkipSpace(text, 0); i < len(text) && (text[i] == '{' || text[i] == '[') {
			walked, walkErr := walkEnd(text)
			if err == nil {
				require.NoError(t, walkErr)
				require.Equal(t, end, walked)
				top := walk{b: text, at: start, end: end, state: inside}
				walkAll(t, top, text[start], top.Object, top.Array)
			} else if e.Code != Trailing {
				require.Error(t, walkErr)
				var we *SyntaxError
				require.ErrorAs(t, walkErr, &we)
				require.Equal(t, *e, *we, "walk and scan disagree")
			}
		}
	})
}
