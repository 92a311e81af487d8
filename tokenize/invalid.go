package tokenize

import (
	"unicode/utf8"
)

// pooledClean is the capacity in bytes up to which a buffer of countInvalid goes back to its pool.
const pooledClean = 1 << 16

// countInvalid counts text that is not UTF-8: a copy of it with U+FFFD for every byte that is not part of a
// character.
func (c *Counter) countInvalid(text []byte) int {
	buf := c.bpe.clean.Get().(*[]byte)
	clean := (*buf)[:0]
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		clean = utf8.AppendRune(clean, r)
		i += size
	}
	tokens, valid := c.scan(c.bpe, clean)
	if !valid {
		panic("tokenize: a text is not UTF-8 after all that is not was replaced: this is a bug, report it with the text")
	}
	if *buf = clean; cap(clean) <= pooledClean {
		c.bpe.clean.Put(buf)
	}
	return tokens
}
