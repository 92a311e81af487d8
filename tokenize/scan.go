package tokenize

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The regular expressions, one alternative per line, first match wins, then longest by backtracking:
//
//	o200k_base                                                      cl100k_base
//	                                                                (?i:'s|'t|'re|'ve|'m|'ll|'d)
//	[^\r\n\p{L}\p{N}]?[UP]*[LOW]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?      [^\r\n\p{L}\p{N}]?\p{L}+
//	[^\r\n\p{L}\p{N}]?[UP]+[LOW]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	\p{N}{1,3}                                                      \p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n/]*                                       ?[^\s\p{L}\p{N}]+[\r\n]*
//	\s*[\r\n]+                                                      \s*[\r\n]+
//	\s+(?!\S)                                                       \s+(?!\S)
//	\s+                                                             \s+
//
// UP is \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}, LOW is \p{Ll}\p{Lm}\p{Lo}\p{M}. Every character starts some match, so
// pieces lie end to end. Each function below returns where the piece that starts at i ends. None looks at a
// character more than a fixed number of times in all the calls of one scan.

// countO200k counts text; valid is false if text is not UTF-8, and then the count is worthless.
func (e *bpe) countO200k(text []byte) (tokens int, valid bool) {
	i := 0
	var pad [16]byte
	for i < len(text) {
		// The way of most pieces: at most one character, then ASCII letters, without a loop over bytes or a
		// branch on the length. A quotation mark may start a suffix ('s), a byte beyond ASCII may be a letter,
		// and upper case after the first letter may end the word: these take the general way.
		window := &pad
		if i+16 <= len(text) {
			window = (*[16]byte)(text[i:])
		} else {
			pad = [16]byte{} // NUL ends a word like any other byte that is no letter
			copy(pad[:], text[i:])
		}
		lo, hi := binary.LittleEndian.Uint64(window[:8]), binary.LittleEndian.Uint64(window[8:])
		first := uint(wordStart[byte(lo)])
		lettersLo, lettersHi := letters(lo)|0x80, letters(hi)
		n := wordLen(lettersLo, lettersHi)
		if n > first && n <= maxShort && wordEndO200k[window[n&15]] {
			mask := &keyMask[n&31]
			// Bit 5 of an upper-case letter is 0. The first letter may be one.
			humps := (lettersLo&^(lo<<2)&^(0x80|uint64(first)<<15))&mask.lo | lettersHi&^(hi<<2)&mask.hi
			if humps == 0 {
				tokens += e.countShort(text[i:i+int(n)], lo&mask.lo, hi&mask.hi|uint64(n)<<56)
				i += int(n)
				continue
			}
		}
		if e.classes.alone(window[0], window[1]) {
			tokens++
			i++
			continue
		}
		end := e.endO200k(text, i)
		if end < 0 {
			if text[i] == del {
				i++
				continue
			}
			return 0, false
		}
		tokens += e.count(text, i, end)
		i = end
	}
	return tokens, true
}

// countCL100K is countO200k for the other encoding, where the case of letters does not matter and a
// quotation mark is of interest before letters, not after them.
func (e *bpe) countCL100K(text []byte) (tokens int, valid bool) {
	i := 0
	var pad [16]byte
	for i < len(text) {
		window := &pad
		if i+16 <= len(text) {
			window = (*[16]byte)(text[i:])
		} else {
			pad = [16]byte{}
			copy(pad[:], text[i:])
		}
		lo, hi := binary.LittleEndian.Uint64(window[:8]), binary.LittleEndian.Uint64(window[8:])
		n := wordLen(letters(lo)|0x80, letters(hi))
		if n > uint(wordStart[byte(lo)]) && n <= maxShort && window[n&15] < utf8.RuneSelf && byte(lo) != '\'' {
			mask := &keyMask[n&31]
			tokens += e.countShort(text[i:i+int(n)], lo&mask.lo, hi&mask.hi|uint64(n)<<56)
			i += int(n)
			continue
		}
		if e.classes.alone(window[0], window[1]) {
			tokens++
			i++
			continue
		}
		end := e.endCL100K(text, i)
		if end < 0 {
			if text[i] == del {
				i++
				continue
			}
			return 0, false
		}
		tokens += e.count(text, i, end)
		i = end
	}
	return tokens, true
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// wordLen is the number of bytes before the first that has no 0x80: 16 means all.
func wordLen(lo, hi uint64) uint {
	n := uint(bits.TrailingZeros64(^lo&highs)) >> 3 // 8 if there is none
	return n + uint(bits.TrailingZeros64(^hi&highs))>>3&-(n>>3)
}

// letters has 0x80 in each byte of x that is an ASCII letter. No sum carries into the next byte, as the
// eighth bit is taken off first.
func letters(x uint64) uint64 {
	folded := x&(0x7F*ones) | 0x20*ones
	return (folded + (0x80-'a')*ones) &^ (folded + (0x80-'z'-1)*ones) &^ x & highs
}

// wordStart: 0 for an ASCII letter, 1 for another ASCII character that may stand before the letters of a
// word, 32 (more than any length) for all else.
var wordStart = func() (t [256]uint8) {
	for b := range t {
		switch c := byte(b); {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			t[b] = 0
		case c >= del, c >= '0' && c <= '9', c == '\r', c == '\n':
			t[b] = 32
		default:
			t[b] = 1
		}
	}
	return t
}()

// wordEndO200k: an ASCII character that may follow a word without being of interest to it.
var wordEndO200k = func() (t [256]bool) {
	for b := range utf8.RuneSelf {
		t[b] = b != '\''
	}
	return t
}()

// endO200k is the end of the piece of text that starts at i < len(text), or -1 if text[i] is not UTF-8 or is
// the DEL that the library skips. (A piece always ends before such a byte, so each is met here.)
func (e *bpe) endO200k(text []byte, i int) int {
	cls := &e.classes
	first, size := cls.at(text, i)
	if first == 0 {
		return -1
	}
	if first&(number|newline) == 0 {
		// [^\r\n\p{L}\p{N}]? takes the first character unless it is a letter.
		start := i
		if first&letter == 0 {
			start += size
		}
		// [UP]* goes to k.
		k, both := start, -1
		c, n := cls.at(text, k)
		for c&(upper|caseless|mark) != 0 {
			k += n
			if c != upper {
				both = k
			}
			c, n = cls.at(text, k)
		}
		switch {
		case c == lower: // [LOW]+ goes on from there
			for c&(lower|caseless|mark) != 0 {
				k += n
				c, n = cls.at(text, k)
			}
			return suffix(text, k)
		case both >= 0: // [UP]* gives back all that follows the last character of both sets, which is LOW's
			return suffix(text, both)
		case first == mark: // the optional first character is given back, as it is of both sets too
			return suffix(text, start)
		case k > start: // the second alternative: upper case only
			return suffix(text, k)
		}
	}
	return e.endRest(text, i, first, size, '/')
}

// endCL100K is endO200k for the other encoding.
func (e *bpe) endCL100K(text []byte, i int) int {
	cls := &e.classes
	first, size := cls.at(text, i)
	if first == 0 {
		return -1
	}
	if first&(number|newline) == 0 {
		if end := suffix(text, i); end > i {
			return end
		}
		k := i + size
		c, n := cls.at(text, k)
		if (first|c)&letter != 0 {
			for c&letter != 0 {
				k += n
				c, n = cls.at(text, k)
			}
			return k
		}
	}
	return e.endRest(text, i, first, size, '\n')
}

// suffix is the end of (?i:'s|'t|'re|'ve|'m|'ll|'d)? at i. Ignoring case, U+017F (long s) is an s.
func suffix(text []byte, i int) int {
	if i+1 >= len(text) || text[i] != '\'' {
		return i
	}
	second := byte(0)
	if i+2 < len(text) {
		second = text[i+2]
	}
	switch text[i+1] {
	case 's', 'S', 't', 'T', 'm', 'M', 'd', 'D':
		return i + 2
	case 'r', 'R', 'v', 'V':
		if second|0x20 == 'e' {
			return i + 3
		}
	case 'l', 'L':
		if second|0x20 == 'l' {
			return i + 3
		}
	case 0xC5:
		if second == 0xBF {
			return i + 3
		}
	}
	return i
}

// endRest is the end of a piece by the alternatives after the words, which both encodings share but for the
// one character that may, besides line breaks, follow punctuation. first and size are of the character at i.
func (e *bpe) endRest(text []byte, i int, first class, size int, trailer byte) int {
	cls := &e.classes
	if first == number {
		end := i + size
		for range 2 {
			c, n := cls.at(text, end)
			if c != number {
				break
			}
			end += n
		}
		return end
	}

	end := i
	if text[i] == ' ' {
		end++
	}
	c, n := cls.at(text, end)
	if c&(other|mark) != 0 {
		for c&(other|mark) != 0 {
			end += n
			c, n = cls.at(text, end)
		}
		for end < len(text) && (text[end] == '\n' || text[end] == '\r' || text[end] == trailer) {
			end++
		}
		return end
	}

	// White space, and at least one character of it.
	end, last := i, i
	for c, n = first, size; c == space; c, n = cls.at(text, end) {
		last = end
		end += n
	}
	if c == newline {
		return e.lineBreaks(text, end)
	}
	// \s+(?!\S) leaves the last character to the word that follows, unless it is the only one, or the text's.
	if end < len(text) && last > i {
		return last
	}
	return end
}

// lineBreaks is the end of \s*[\r\n]+ whose first line break is at i: after the last line break of the run
// of white space. The library ends it with the first group of line breaks.
func (e *bpe) lineBreaks(text []byte, i int) int {
	end := i
	for c, n := newline, 0; c&(space|newline) != 0; c, n = e.classes.at(text, i) {
		i += n
		switch {
		case c == newline:
			end = i
		case e.asLibrary:
			return end
		}
	}
	return end
}
