package tokenize

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
	"github.com/stretchr/testify/require"
)

// The expressions as tiktoken has them (tiktoken_ext/openai_public.py).
var expressions = map[string]string{
	encodingO200K: strings.Join([]string{
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
		`\p{N}{1,3}`,
		` ?[^\s\p{L}\p{N}]+[\r\n/]*`,
		`\s*[\r\n]+`,
		`\s+(?!\S)`,
		`\s+`,
	}, "|"),
	encodingCL100K: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
}

// written counts by the expression as it is written and by the definition of merging.
type written struct {
	expression *regexp2.Regexp
	ours       *Counter // the same without asLibrary
}

var writtenEncodings = map[string]func() *written{
	encodingO200K:  sync.OnceValue(func() *written { return newWritten(encodingO200K) }),
	encodingCL100K: sync.OnceValue(func() *written { return newWritten(encodingCL100K) }),
}

func newWritten(encoding string) *written {
	c := &Counter{}
	c.load(encoding, false)
	// The group around it makes it another expression than the one the library has registered a compiled
	// form for, so that the interpreter runs it.
	return &written{regexp2.MustCompile(`(?:`+expressions[encoding]+`)`, regexp2.None), c}
}

func (w *written) count(t testing.TB, text string) (tokens int, pieces []string) {
	m, err := w.expression.FindStringMatch(text)
	for ; m != nil; m, err = w.expression.FindNextMatch(m) {
		pieces = append(pieces, m.String())
		tokens += len(w.ours.bpe.pairs.mergeByDefinition([]byte(m.String())))
	}
	require.NoError(t, err)
	return tokens, pieces
}

func (w *written) compare(t testing.TB, text string) {
	t.Helper()
	if want, pieces := w.count(t, text); want != w.ours.Count([]byte(text)) {
		t.Fatalf("%s: %+q has %d tokens by the expression as written, Count says %d; the pieces are %+q", w.ours.encoding, text, want, w.ours.Count([]byte(text)), pieces)
	}
}

// Without asLibrary the count is tiktoken's: that of the expressions as they are written.
func TestExpressionsAsWritten(t *testing.T) {
	t.Parallel()
	for _, e := range writtenEncodings {
		w := e()
		for _, text := range corpus(t) {
			for i := 0; i < len(text); i += 50 {
				w.compare(t, string(text[i:min(i+73, len(text))]))
			}
		}
		rnd := rand.New(rand.NewPCG(9, 10))
		alphabet := []string{" ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u0085", "\x7f", "a", "A", "'s", ".", "/", "1", "漢", "\u0301", "\xff"}
		for range cases(10_000) {
			var b strings.Builder
			for range 1 + rnd.IntN(12) {
				b.WriteString(alphabet[rnd.IntN(len(alphabet))])
			}
			w.compare(t, b.String())
		}
		for r := rune(0); r <= unicode.MaxRune; r += 1 + r/rune(cases(400)) {
			w.compare(t, "a"+string(r)+"B"+string(r)+" "+string(r)+"\n"+string(r)+"1")
		}
	}
}

// The two places where the library departs from the expressions, and we with it.
func TestLibraryDepartures(t *testing.T) {
	t.Parallel()
	for i := range encodings {
		e, w := &encodings[i], writtenEncodings[encodings[i].name]()
		for _, c := range []struct {
			text          string
			here, written int
		}{
			{"a\n \n b", 4, 3},
			{"a\n\n\n b", 3, 3},
			{"a \n b", 3, 3},
			{"a\x7fb", 2, 3},
			{"\x7f", 0, 1},
		} {
			require.True(t, e.compare(t, []byte(c.text)))
			w.compare(t, c.text)
			require.Equal(t, c.here, e.ours().Count([]byte(c.text)), "%s %q", e.name, c.text)
			require.Equal(t, c.written, w.ours.Count([]byte(c.text)), "%s %q", e.name, c.text)
		}
	}
}

// Where alone says yes the expressions, as the general way and the library match them, say the same, whatever
// comes after the two characters.
func TestAlone(t *testing.T) {
	t.Parallel()
	for i := range encodings {
		for _, c := range []*Counter{encodings[i].ours(), writtenEncodings[encodings[i].name]().ours} {
			end := (*bpe).endO200k
			if c.encoding == encodingCL100K {
				end = (*bpe).endCL100K
			}
			yes := 0
			for n := range 1 << 14 {
				text := []byte{byte(n >> 7), byte(n & 0x7F), 0}
				if !c.bpe.classes.alone(text[0], text[1]) {
					continue
				}
				yes++
				for third := range byte(utf8.RuneSelf) {
					text[2] = third
					require.Equal(t, 1, end(c.bpe, text, 0), "%s %+q", c.encoding, text)
				}
				if text[1] == 0 {
					require.Equal(t, 1, end(c.bpe, text[:1], 0), "%s %+q", c.encoding, text[:1])
				}
				if c.bpe.asLibrary {
					encodings[i].compare(t, text[:2])
				}
			}
			require.Positive(t, yes)
		}
	}
	require.False(t, encodings[0].ours().bpe.classes.alone('1', 0xC2))
	require.False(t, encodings[0].ours().bpe.classes.alone(0xC2, ' '))
}
