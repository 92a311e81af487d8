package jsonscan

import (
	"bytes"
	"unicode/utf8"
)

// The functions of this file take raw strings that Value or a walk has accepted, quotes included.
// On anything else they may return nonsense, but they do not panic.

// HasEscapes says whether raw holds a backslash. If not, raw[1:len(raw)-1] is its text.
func HasEscapes(raw []byte) bool { return bytes.IndexByte(raw, '\\') >= 0 }

// Unescape appends the text of the raw string to dst. The result is never longer than raw, so a dst
// with that much room is not reallocated. Escaped surrogates that form no pair become U+FFFD, as in
// encoding/json.
func Unescape(dst, raw []byte) []byte {
	s := trim(raw)
	for {
		n := bytes.IndexByte(s, '\\')
		if n < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:n]...)
		r, size := escape(s[n:])
		if size == 0 {
			return dst
		}
		dst = utf8.AppendRune(dst, r)
		s = s[n+size:]
	}
}

// Text returns the text of the raw string: part of raw itself where nothing is escaped, else unescaped
// into buf's array from its start.
func Text(buf, raw []byte) []byte {
	if !HasEscapes(raw) {
		s := trim(raw)
		return s[:len(s):len(s)]
	}
	return Unescape(buf[:0], raw)
}

// Equal says whether the text of the raw string is want. "ro\u006ce" equals role.
func Equal(raw []byte, want string) bool {
	s := trim(raw)
	if string(s) == want {
		return bytes.IndexByte(s, '\\') < 0 // a want with a backslash: `"\\n"` is not \\n
	}
	if len(s) <= len(want) { // every escape is longer than what it stands for
		return false
	}
	return HasEscapes(s) && hasPrefix(s, want, true)
}

// HasPrefix says whether the text of the raw string starts with prefix.
func HasPrefix(raw []byte, prefix string) bool { return hasPrefix(trim(raw), prefix, false) }

// hasPrefix compares the text of s with prefix, to the end of s if whole.
func hasPrefix(s []byte, prefix string, whole bool) bool {
	var buf [utf8.UTFMax]byte
	for len(prefix) > 0 {
		text, size := next(s, &buf)
		if size == 0 {
			return false
		}
		n := min(len(text), len(prefix))
		if string(text[:n]) != prefix[:n] {
			return false
		}
		if len(text) > n {
			return !whole
		}
		s, prefix = s[size:], prefix[n:]
	}
	return !whole || len(s) == 0
}

// FNV-1a, 64 bit.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// Hash returns the FNV-1a hash, 64 bit, of the text of the raw string: equal texts have equal hashes
// however they are escaped. It is stored on disk and must not change.
func Hash(raw []byte) uint64 {
	var buf [utf8.UTFMax]byte
	h := uint64(fnvOffset)
	for s := trim(raw); ; {
		text, size := next(s, &buf)
		if size == 0 {
			return h
		}
		for _, c := range text {
			h = (h ^ uint64(c)) * fnvPrime
		}
		s = s[size:]
	}
}

// next returns the first piece of the text of s, either all that comes before an escape or what one
// escape stands for (in buf), and how many bytes of s it takes. The size is 0 at the end.
func next(s []byte, buf *[utf8.UTFMax]byte) (text []byte, size int) {
	n := bytes.IndexByte(s, '\\')
	switch {
	case n < 0:
		return s, len(s)
	case n > 0:
		return s[:n], n
	}
	r, size := escape(s)
	return utf8.AppendRune(buf[:0], r), size
}

// escape decodes the escape sequence, or the surrogate pair of two, at the start of s. The size is 0 if
// s is cut short.
func escape(s []byte) (r rune, size int) {
	if len(s) < 2 {
		return utf8.RuneError, 0
	}
	if s[1] != 'u' {
		return rune(unescaped[s[1]]), 2
	}
	r, ok := hex4(s)
	if !ok {
		return utf8.RuneError, 0
	}
	const (
		surrogates    = 0xd800
		lowSurrogates = 0xdc00
		surrogatesEnd = 0xe000
	)
	if r < surrogates || r >= surrogatesEnd {
		return r, 6
	}
	if r < lowSurrogates {
		if low, ok := hex4(s[6:]); ok && low >= lowSurrogates && low < surrogatesEnd {
			return (r-surrogates)<<10 | (low - lowSurrogates) + 0x10000, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads \uXXXX at the start of s.
func hex4(s []byte) (r rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:6] {
		switch {
		case class[c]&classHex == 0:
			return 0, false
		case c <= '9':
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// trim takes off the quotes.
func trim(raw []byte) []byte {
	if len(raw) < 2 {
		return nil
	}
	return raw[1 : len(raw)-1]
}
