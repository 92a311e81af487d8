// Package jsonscan checks and walks JSON text in place: strictly RFC 8259, without allocating,
// converting or recursing. It exists so that a message can be validated once, cut into raw ranges and
// stored byte for byte as its client wrote it.
//
// Stricter than encoding/json in two points: strings must be valid UTF-8 (RFC 8259, section 8.1), and
// containers nest at most MaxDepth deep. Escapes of lone surrogates are valid here as there; Unescape
// turns them into U+FFFD.
//
// A raw string, in this package, is a JSON string as it stands in the text, its quotes included.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// MaxDepth is how deep arrays and objects may nest. A value deeper than that is ErrDepth, found after
// MaxDepth+1 brackets, however many follow.
const MaxDepth = 128

// SkipSpace returns the offset of the first byte at or after i that is not JSON white space.
func SkipSpace(b []byte, i int) int {
	for i < len(b) && class[b[i]]&classSpace != 0 {
		i++
	}
	return i
}

// Document checks that b holds exactly one value, with white space around it at most, and returns
// where the value lies.
func Document(b []byte) (start, end int, err error) {
	start = SkipSpace(b, 0)
	end, err = Value(b, start)
	if err != nil {
		return 0, 0, err
	}
	if i := SkipSpace(b, end); i < len(b) {
		return 0, 0, newError(Trailing, i)
	}
	return start, end, nil
}

// Value checks the value that begins at b[i] (no white space before it) and returns the offset after
// it. What follows is not looked at. The error is a *SyntaxError.
func Value(b []byte, i int) (end int, err error) {
	end, code := scanValue(b, i, 0)
	if code != 0 {
		return 0, newError(code, end)
	}
	return end, nil
}

// scanValue is Value inside depth containers. On a failure it returns the offset of the offending byte.
//
// The kinds of the open containers are kept as bits (1: object), so that the depth costs 16 bytes and
// no stack: a hundred thousand brackets end at bracket MaxDepth+1-depth.
func scanValue(b []byte, i, depth int) (int, Code) {
	var (
		kinds [2]uint64
		open  int // containers opened here
		code  Code
	)
	for {
		// A value begins at i.
		if i >= len(b) {
			return len(b), Truncated
		}
		switch c := b[i]; {
		case c == '"':
			if i, code = scanString(b, i); code != 0 {
				return i, code
			}
		case c == '{' || c == '[':
			if depth+open >= MaxDepth {
				return i, Depth
			}
			isObject := c == '{'
			word, bit := open>>6, uint64(1)<<(open&63)
			if isObject {
				kinds[word] |= bit
			} else {
				kinds[word] &^= bit
			}
			i = SkipSpace(b, i+1)
			if i >= len(b) {
				return len(b), Truncated
			}
			if b[i] == c+2 { // '}' is '{'+2 and ']' is '['+2: an empty container
				i++
				break
			}
			open++
			if isObject {
				if i, code = scanKey(b, i); code != 0 {
					return i, code
				}
			}
			continue
		case c == 't':
			if i, code = scanLiteral(b, i, "true"); code != 0 {
				return i, code
			}
		case c == 'f':
			if i, code = scanLiteral(b, i, "false"); code != 0 {
				return i, code
			}
		case c == 'n':
			if i, code = scanLiteral(b, i, "null"); code != 0 {
				return i, code
			}
		case c == '-' || class[c]&classDigit != 0:
			if i, code = scanNumber(b, i); code != 0 {
				return i, code
			}
		default:
			return i, NoValue
		}

		// A value has ended at i: close what closes, until another value begins.
		for {
			if open == 0 {
				return i, 0
			}
			i = SkipSpace(b, i)
			if i >= len(b) {
				return len(b), Truncated
			}
			isObject := kinds[(open-1)>>6]>>((open-1)&63)&1 != 0
			if b[i] == ',' {
				i = SkipSpace(b, i+1)
				if isObject {
					if i, code = scanKey(b, i); code != 0 {
						return i, code
					}
				}
				break
			}
			switch {
			case isObject && b[i] == '}', !isObject && b[i] == ']':
				open--
				i++
			case isObject:
				return i, NoCommaOrBrace
			default:
				return i, NoCommaOrBracket
			}
		}
	}
}

// scanKey checks a member's name and colon at i and returns the offset of the member's value.
func scanKey(b []byte, i int) (int, Code) {
	if i >= len(b) {
		return len(b), Truncated
	}
	if b[i] != '"' {
		return i, NoKey
	}
	i, code := scanString(b, i)
	if code != 0 {
		return i, code
	}
	i = SkipSpace(b, i)
	if i >= len(b) {
		return len(b), Truncated
	}
	if b[i] != ':' {
		return i, NoColon
	}
	return SkipSpace(b, i+1), 0
}

func scanLiteral(b []byte, i int, want string) (int, Code) {
	for j := 0; j < len(want); j++ {
		if i+j >= len(b) {
			return len(b), Truncated
		}
		if b[i+j] != want[j] {
			return i + j, BadLiteral
		}
	}
	return i + len(want), 0
}

// scanNumber checks a number: -? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?
// A number at the very end of b is complete: only the caller knows whether more was to come.
func scanNumber(b []byte, i int) (int, Code) {
	if b[i] == '-' {
		i++
	}
	if i >= len(b) {
		return len(b), Truncated
	}
	if b[i] == '0' {
		i++
		if i < len(b) && class[b[i]]&classDigit != 0 {
			return i, BadNumber // a leading zero
		}
	} else {
		j := skipDigits(b, i)
		if j == i {
			return i, BadNumber
		}
		i = j
	}
	if i < len(b) && b[i] == '.' {
		i++
		j := skipDigits(b, i)
		if j == i {
			return i, numberEnd(b, i)
		}
		i = j
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		j := skipDigits(b, i)
		if j == i {
			return i, numberEnd(b, i)
		}
		i = j
	}
	return i, 0
}

// numberEnd tells a number that is wrong at i from one that the text ends within.
func numberEnd(b []byte, i int) Code {
	if i >= len(b) {
		return Truncated
	}
	return BadNumber
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && class[b[i]]&classDigit != 0 {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, with the high bit of each byte of x, the bytes that end a plain run of a string:
// quotes, backslashes, control characters and non-ASCII. Borrows can mark bytes above a real mark
// falsely, so only the lowest mark may be used.
func special(x uint64) uint64 {
	quote := x ^ '"'*ones
	slash := x ^ '\\'*ones
	control := (x - 0x20*ones) &^ x
	return ((quote-ones)&^quote | (slash-ones)&^slash | control | x) & highs
}

// scanString checks the string whose opening quote is b[i] and returns the offset after its closing one.
func scanString(b []byte, i int) (int, Code) {
	i++
	for {
		// Plain ASCII, eight bytes at a time, then one at a time near the end of b.
		for i+8 <= len(b) {
			if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				goto found
			}
			i += 8
		}
		for i < len(b) && class[b[i]]&classPlain != 0 {
			i++
		}
		if i >= len(b) {
			return len(b), Truncated
		}
	found:
		switch c := b[i]; {
		case c == '"':
			return i + 1, 0
		case c == '\\':
			var code Code
			if i, code = scanEscape(b, i); code != 0 {
				return i, code
			}
		case c < 0x20:
			return i, ControlCharacter
		default:
			// A run of non-ASCII: stay here, most text that has one such character has many.
			for i < len(b) && b[i] >= 0x80 {
				// Most of what is not ASCII or Latin has three bytes; 0xe0 and 0xed have rules of their own.
				if r := b[i:]; len(r) >= 3 && r[0]&0xf0 == 0xe0 && r[0] != 0xe0 && r[0] != 0xed && r[1]&0xc0 == 0x80 && r[2]&0xc0 == 0x80 {
					i += 3
					continue
				}
				n := runeLen(b, i)
				if n == 0 {
					return i, BadUTF8
				}
				i += n
			}
		}
	}
}

// scanEscape checks the escape sequence at b[i] and returns the offset after it.
func scanEscape(b []byte, i int) (int, Code) {
	if i+1 >= len(b) {
		return len(b), Truncated
	}
	if b[i+1] != 'u' {
		if unescaped[b[i+1]] == 0 {
			return i, BadEscape
		}
		return i + 2, 0
	}
	for j := i + 2; j < i+6; j++ {
		if j >= len(b) {
			return len(b), Truncated
		}
		if class[b[j]]&classHex == 0 {
			return i, BadEscape
		}
	}
	return i + 6, 0
}

// runeLen returns the length of the non-ASCII UTF-8 sequence at b[i], or 0 if it is not well formed
// (Unicode, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
func runeLen(b []byte, i int) int {
	lead := leads[b[i]]
	n := int(lead.size)
	if n == 0 || i+n > len(b) {
		return 0
	}
	if c := b[i+1]; c < lead.low || c > lead.high {
		return 0
	}
	for j := i + 2; j < i+n; j++ {
		if b[j]&0xc0 != 0x80 {
			return 0
		}
	}
	return n
}
