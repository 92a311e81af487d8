package pg

import (
	"bytes"

	"fastpaca/shard/jsonscan"
)

// replacement stands for what jsonb cannot hold. It is as long as the escape that it replaces.
const replacement = `\ufffd`

// numberMax bounds the digits and the exponent of a number that is given to jsonb as one. Postgres' numeric ends at
// 131072 digits before and 16383 behind the point; no other database, and no double, reaches that far.
const numberMax = 400

// appendJSONB appends raw, valid JSON, in the form that jsonb takes: \u0000 and escapes of lone surrogates become U+FFFD,
// and numbers beyond numberMax strings.
func appendJSONB(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			end := i + stringLen(raw[i:])
			dst = appendString(dst, raw[i:end])
			i = end
		case c == '-' || '0' <= c && c <= '9':
			end := i + 1
			for end < len(raw) && isNumber(raw[end]) {
				end++
			}
			if fitsNumeric(raw[i:end]) {
				dst = append(dst, raw[i:end]...)
			} else {
				dst = append(append(append(dst, '"'), raw[i:end]...), '"')
			}
			i = end
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// stringLen returns the length of the raw string at the start of b, quotes included.
func stringLen(b []byte) int {
	for i := 1; ; {
		n := bytes.IndexByte(b[i:], '"')
		i += n
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			return i
		}
	}
}

// appendString appends the raw string s without the escapes that jsonb refuses.
func appendString(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		if s[1] != 'u' {
			dst = append(dst, s[:2]...)
			s = s[2:]
			continue
		}
		switch u := unit(s); {
		case u == 0, 0xdc00 <= u && u < 0xe000:
			dst = append(dst, replacement...)
			s = s[6:]
		case 0xd800 <= u && u < 0xdc00:
			if low := unit(s[6:]); 0xdc00 <= low && low < 0xe000 {
				dst = append(dst, s[:12]...)
				s = s[12:]
			} else {
				dst = append(dst, replacement...)
				s = s[6:]
			}
		default:
			dst = append(dst, s[:6]...)
			s = s[6:]
		}
	}
}

// unit reads the \uXXXX at the start of s, -1 if there is none.
func unit(s []byte) int {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	u := 0
	for _, c := range s[2:6] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		u = u<<4 | int(c)
	}
	return u
}

func isNumber(c byte) bool {
	return '0' <= c && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

func fitsNumeric(n []byte) bool {
	if len(n) > numberMax {
		return false
	}
	i := bytes.IndexAny(n, "eE")
	if i < 0 {
		return true
	}
	exp := 0
	for _, c := range n[i+1:] {
		if '0' <= c && c <= '9' {
			exp = exp*10 + int(c-'0')
		}
		if exp > numberMax {
			return false
		}
	}
	return true
}

// appendText appends the text of a raw string for a column of type text, which cannot hold the character 0.
func appendText(dst, raw []byte) []byte {
	if !jsonscan.HasEscapes(raw) {
		return append(dst, raw[1:len(raw)-1]...)
	}
	at := len(dst)
	dst = jsonscan.Unescape(dst, raw)
	if bytes.IndexByte(dst[at:], 0) < 0 {
		return dst
	}
	return append(dst[:at], bytes.ReplaceAll(dst[at:], []byte{0}, []byte("\uFFFD"))...)
}
