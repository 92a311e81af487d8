package tokenize

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestModels(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"o200k_base": encodingO200K, "cl100k_base": encodingCL100K,
		"gpt-5": encodingO200K, "gpt-5-mini": encodingO200K, "gpt-5-nano-2025-08-07": encodingO200K,
		"gpt-4.1": encodingO200K, "gpt-4.1-mini": encodingO200K, "gpt-4.5-preview": encodingO200K,
		"gpt-4o": encodingO200K, "gpt-4o-mini": encodingO200K, "gpt-4o-2024-11-20": encodingO200K,
		"chatgpt-4o": encodingO200K, "chatgpt-4o-latest": encodingO200K,
		"o1": encodingO200K, "o1-preview": encodingO200K, "o3": encodingO200K, "o3-mini": encodingO200K, "o4-mini": encodingO200K, "o4-mini-2025-04-16": encodingO200K,
		"gpt-oss-120b": encodingO200K, "ft:gpt-4o-mini:acme": encodingO200K, "ft:gpt-4o": encodingO200K,
		"gpt-4": encodingCL100K, "gpt-4-turbo": encodingCL100K, "gpt-4-32k-0314": encodingCL100K, "ft:gpt-4-0613": encodingCL100K,
		"gpt-3.5": encodingCL100K, "gpt-3.5-turbo": encodingCL100K, "gpt-3.5-turbo-16k": encodingCL100K, "gpt-35-turbo": encodingCL100K, "ft:gpt-3.5-turbo-0125:x": encodingCL100K,
		"text-embedding-3-small": encodingCL100K, "davinci-002": encodingCL100K,
	} {
		got, err := encodingOf(model)
		require.NoError(t, err, model)
		require.Equal(t, want, got, model)
	}
	for _, model := range []string{"", "gpt", "gpt-4oo", "gpt-40", "gpt-6", "o1x", "o2", "GPT-4o", " gpt-4o", "claude-3", "p50k_base", "gpt-3.5-", "*"} {
		_, err := encodingOf(model)
		require.ErrorContains(t, err, "unknown model", model)
		for _, known := range []string{"o200k_base", "cl100k_base", "gpt-4o", "gpt-4.1-*", "gpt-3.5-turbo"} {
			require.ErrorContains(t, err, known)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{"", "gpt-4o", "tiktoken", "tiktoken:", "chars", "chars:", "chars:0", "chars:65", "chars:-4", "chars:4.5", "chars:4 ", "chars:99999999999999999999", "Chars:4", "words:2"} {
		c, err := New(spec)
		require.Nil(t, c, spec)
		require.ErrorContains(t, err, "token estimator", spec)
	}
	c, err := New("tiktoken:gpt-4o-mini")
	require.NoError(t, err)
	require.Equal(t, "tiktoken:gpt-4o-mini", c.Name())
	require.Equal(t, "o200k_base", c.Encoding())
	require.Equal(t, 4, c.Count([]byte("Hello, world!")))
	require.Zero(t, c.Count(nil))
}

func TestChars(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec, text string
		want       int
	}{
		{"chars:4", "", 0}, {"chars:4", "a", 1}, {"chars:4", "abcd", 1}, {"chars:4", "abcde", 2},
		{"chars:1", "añ漢😀", 4}, {"chars:3", "añ漢😀", 2}, {"chars:64", "a", 1}, {"chars:64", strings.Repeat("é", 65), 2},
		{"chars:2", "\xff\xfe\xfd", 2},
	} {
		n, err := New(c.spec)
		require.NoError(t, err)
		require.Equal(t, c.spec, n.Name())
		require.Equal(t, "chars", n.Encoding())
		require.Equal(t, c.want, n.Count([]byte(c.text)), "%s %q", c.spec, c.text)
	}
}

// The embedded vocabularies are the library's, token by token, and every token is found as a piece.
func TestVocabularyIsTheLibrarys(t *testing.T) {
	t.Parallel()
	for i := range encodings {
		e := &encodings[i]
		v := parseVocabulary(vocabularyFile(e.name))
		lib := e.oracle()
		pieces := &e.ours().bpe.pieces
		for id := range v.size() {
			want, err := lib.Decode([]uint{uint(id)})
			require.NoError(t, err)
			if want != string(v.token(uint32(id))) {
				t.Fatalf("%s: token %d is %q in the library, %q here: run go generate", e.name, id, want, v.token(uint32(id)))
			}
			token := []byte(want)
			found := false
			if len(token) <= maxShort {
				found = pieces.hasShort(shortKey(token))
			} else {
				found = pieces.hasLong(token)
			}
			require.True(t, found, "%s: %q", e.name, token)
		}
		_, err := lib.Decode([]uint{uint(v.size())})
		require.Error(t, err, "the library knows more tokens than the file: run go generate")
		// Near misses: a token with a NUL behind it, which the key's padding must not hide.
		require.False(t, pieces.hasShort(shortKey([]byte("the\x00"))))
		require.False(t, pieces.hasShort(shortKey([]byte("\x00the"))))
	}
}

// A damaged file is never used.
func TestVocabularyDamage(t *testing.T) {
	t.Parallel()
	good := cl100kFile
	flip := func(at int) string {
		b := []byte(good)
		b[at] ^= 0x10
		return string(b)
	}
	for _, file := range []string{"", good[:100], good[:len(good)-1], good + "x", flip(0), flip(4), flip(5), flip(300), flip(len(good) / 2), flip(len(good) - 1)} {
		func() {
			defer func() { require.Contains(t, recover(), "go generate") }()
			parseVocabulary(file)
			t.Error("a damaged file was taken")
		}()
	}
}

// Many goroutines, one Counter: short and long pieces, valid and invalid text.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := encodings[0].ours()
	texts := [][]byte{
		[]byte("a few plain words, supercalifragilisticexpialidocious ones"),
		bytes.Repeat([]byte("的我们在"), 3000),
		bytes.Repeat([]byte("-=-"), 70),
		[]byte("not \xff UTF-8 \xe6\xbc"),
	}
	want := make([]int, len(texts))
	for i, text := range texts {
		want[i] = c.Count(text)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 60 {
				k := (g + i) % len(texts)
				if got := c.Count(texts[k]); got != want[k] {
					t.Errorf("text %d: %d tokens, then %d", k, want[k], got)
				}
			}
		})
	}
	wg.Wait()
}
