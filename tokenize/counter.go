package tokenize

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxChars is the largest N of an estimate "chars:N".
const MaxChars = 64

// Counter counts tokens. It is safe for concurrent use, and what it answers depends on the text alone.
type Counter struct {
	spec     string
	encoding string
	chars    int  // > 0: characters per token
	bpe      *bpe // nil when chars > 0
	scan     func(*bpe, []byte) (tokens int, valid bool)
}

// New returns the counter that spec describes: "tiktoken:<model>" with the name of a model or of an encoding
// (see the package documentation), or "chars:<N>" with N in [1, MaxChars]. It builds the tables of the
// encoding, which takes tens of milliseconds: make one Counter and share it. An error names what is known.
func New(spec string) (*Counter, error) {
	c, err := parse(spec)
	if err != nil {
		return nil, err
	}
	if c.chars == 0 {
		c.load(c.encoding, true)
	}
	return c, nil
}

// Check says whether New would take spec, without building anything.
func Check(spec string) error {
	_, err := parse(spec)
	return err
}

// parse makes the counter that spec describes, without tables.
func parse(spec string) (*Counter, error) {
	kind, arg, _ := strings.Cut(spec, ":")
	switch kind {
	case "chars":
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || n > MaxChars {
			return nil, fmt.Errorf("token estimator %q: chars takes a number of characters per token from 1 to %d, as in chars:4", spec, MaxChars)
		}
		return &Counter{spec: spec, encoding: "chars", chars: n}, nil
	case "tiktoken":
		encoding, err := encodingOf(arg)
		if err != nil {
			return nil, fmt.Errorf("token estimator %q: %w", spec, err)
		}
		return &Counter{spec: spec, encoding: encoding}, nil
	default:
		return nil, fmt.Errorf("token estimator %q: want tiktoken:<model> (as in tiktoken:gpt-4o) or chars:<N> (as in chars:4)", spec)
	}
}

// load builds the tables of an encoding. See bpe.asLibrary.
func (c *Counter) load(encoding string, asLibrary bool) {
	c.encoding = encoding
	c.bpe = newBPE(vocabularyFile(encoding), asLibrary)
	c.scan = (*bpe).countO200k
	if encoding == encodingCL100K {
		c.scan = (*bpe).countCL100K
	}
}

// Name is the spec that New was given.
func (c *Counter) Name() string { return c.spec }

// Encoding is "o200k_base", "cl100k_base", or "chars" for an estimate.
func (c *Counter) Encoding() string { return c.encoding }

// Count is the number of tokens of text, 0 for an empty one. It reads text and keeps nothing of it, takes
// O(len(text)) time for any text, and allocates nothing in steady state. (Text that is not UTF-8 is first
// copied, at most three times as long; the copy comes from a pool up to 64 KiB.)
func (c *Counter) Count(text []byte) int {
	if c.bpe == nil {
		return (runes(text) + c.chars - 1) / c.chars
	}
	tokens, valid := c.scan(c.bpe, text)
	if !valid {
		return c.countInvalid(text)
	}
	return tokens
}

// runes is utf8.RuneCount, which allocates a copy of what is not ASCII (Go 1.26).
func runes(text []byte) (n int) {
	for i := 0; i < len(text); n++ {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		_, size := utf8.DecodeRune(text[i:])
		i += size
	}
	return n
}
