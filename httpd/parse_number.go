package httpd

import "fastpaca/shard"

// parseInteger reads a JSON number that is a plain non-negative integer of at most limit: digits only.
// 1.0 and 1e3 are numbers of that value to some, and floats to others; refusing them keeps every client's
// idea of what it sent equal to ours.
func parseInteger(v []byte, limit uint64) (n uint64, ok bool) {
	if len(v) == 0 || len(v) > len("9007199254740991") || len(v) > 1 && v[0] == '0' {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= limit
}

// parseRatio reads a JSON number r with 0 < r <= 1 as parts per billion, from its decimal text: no float
// ever stands in between, so 0.7 is 700,000,000 exactly. Digits beyond the ninth are rounded half up;
// what rounds to nothing, or is above 1 by however little, is refused.
func parseRatio(v []byte) (ppb uint64, ok bool) {
	// Take the number apart: r = 0.D * 10^point with the significant digits D, the first of which is not 0.
	var (
		digits   = make([]byte, 0, 32) // the first of D; the rest matter only for being 0 or not
		rest     bool                  // a digit of D that is not in digits is not 0
		point    int
		fraction bool
		i        int
	)
	for ; i < len(v); i++ {
		c := v[i]
		if c == '.' {
			fraction = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		switch {
		case len(digits) == 0 && c == '0':
			if fraction {
				point--
			}
			continue
		case len(digits) < cap(digits):
			digits = append(digits, c)
		default:
			rest = rest || c != '0'
		}
		if !fraction {
			point++
		}
	}
	if i == 0 || len(digits) == 0 {
		return 0, false // a sign, not a number, or 0
	}
	if i < len(v) {
		exponent, ok := parseExponent(v[i:])
		if !ok {
			return 0, false
		}
		point += exponent
	}

	if point > 0 { // r >= 1
		for _, c := range digits[1:] {
			rest = rest || c != '0'
		}
		return shard.RatioOne, point == 1 && digits[0] == '1' && !rest
	}
	n := point + 9 // so many digits of D are whole parts per billion
	for j := range n {
		ppb *= 10
		if j < len(digits) {
			ppb += uint64(digits[j] - '0')
		}
	}
	if n >= 0 && n < len(digits) && digits[n] >= '5' {
		ppb++
	}
	return ppb, ppb > 0
}

// parseExponent reads e[+-]digits to the end of v, which a JSON scanner has accepted. Exponents beyond any
// body's number of digits are cut to a value that is still beyond.
func parseExponent(v []byte) (n int, ok bool) {
	const far = 1 << 40
	if v[0]|0x20 != 'e' {
		return 0, false
	}
	v = v[1:]
	negative := false
	if len(v) > 0 && (v[0] == '+' || v[0] == '-') {
		negative = v[0] == '-'
		v = v[1:]
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), far)
	}
	if negative {
		n = -n
	}
	return n, true
}
