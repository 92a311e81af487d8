package tokenize

import (
	"math/rand/v2"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Every code point (of the planes in use; beyond them every 16th) by itself, between letters of either case,
// and in the company that tells one class from another.
func TestEveryCodePoint(t *testing.T) {
	t.Parallel()
	var buf []byte
	failures := 0
	// Characters are tried in batches, a line of its own for each; only a batch that differs is taken apart.
	forms := func(dst []byte, r rune) []byte {
		dst = utf8.AppendRune(dst, r)
		dst = append(dst, "\nAb"...)
		dst = utf8.AppendRune(dst, r)
		dst = append(dst, "cD"...)
		dst = utf8.AppendRune(dst, r)
		dst = append(dst, "E 1"...)
		dst = utf8.AppendRune(dst, r)
		dst = append(dst, " !"...)
		dst = utf8.AppendRune(dst, r)
		dst = utf8.AppendRune(dst, r)
		dst = append(dst, "\n '"...)
		dst = utf8.AppendRune(dst, r)
		return append(dst, "x\n"...)
	}
	for i := range encodings {
		e := &encodings[i]
		const batch = 64
		step := rune(1)
		for lo := rune(0); lo <= unicode.MaxRune; lo += batch * step {
			if step = 16; lo < 0x20000 || lo >= 0xE0000 && lo < 0xE0200 {
				step = 1
			}
			if raceEnabled || testing.Short() {
				step *= 23
			}
			buf = buf[:0]
			for r := lo; r < lo+batch*step && r <= unicode.MaxRune; r += step {
				buf = forms(buf, r)
			}
			want, err := e.oracle().Count(string(buf))
			if err != nil {
				t.Fatal(err)
			}
			if e.ours().Count(buf) == want {
				continue
			}
			for r := lo; r < lo+batch*step && r <= unicode.MaxRune; r += step {
				if !e.compare(t, forms(buf[:0], r)) {
					if failures++; failures > 10 {
						t.FailNow()
					}
				}
			}
		}
	}
}

// Short random strings over the characters at which the expressions decide something.
func TestRandomMixes(t *testing.T) {
	t.Parallel()
	alphabets := [][]string{
		{"a", "A", "b", "Z", "s", "S", "t", "re", "LL", "'", "ſ", "’", " ", "é", "É", "ǅ", "ʰ", "漢", "\u0301", "\u20dd", "1", "٣", "½", ".", "/", "\n", "\r"},
		{" ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u0085", "\u2028", "\v", "\f", "\x1c", "\u200b", "\ufeff", "a", ".", "/", "1"},
		{"'", "'s", "'S", "'t", "'re", "'rE", "'ve", "'m", "'ll", "'lL", "'l", "'d", "'ſ", "'", "a", "B", " ", "漢", "\u0301", "e", "v", "é"},
		{"\x80", "\xbf", "\xc0", "\xc2", "\xc3\xa9", "\xe0\xa0", "\xe6\xbc\xa2", "\xed\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbd", "\xf0\x9f\x98\x80", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf8", "\xff", "a", " ", "A", "\n", "1"},
		{"A", "b", "\u0301", "漢", "ʰ", " ", "!", "\U0001f600", "\u200d", "\ufe0f", "\U0001f1e9", "\U0001f3fd", "\n", "/", "//", "-"},
	}
	n := cases(100_000)
	rnd := rand.New(rand.NewPCG(1, 2))
	var buf []byte
	failures := 0
	for range n {
		alphabet := alphabets[rnd.IntN(len(alphabets))]
		buf = buf[:0]
		for range 1 + rnd.IntN(14) {
			buf = append(buf, alphabet[rnd.IntN(len(alphabet))]...)
		}
		if rnd.IntN(2) == 0 { // long enough for the fast way
			buf = append(buf, " tail of plain words"...)
		}
		if !compareAll(t, buf) {
			if failures++; failures > 10 {
				t.FailNow()
			}
		}
	}
}

// Random bytes of every length, and random code points.
func TestRandomBytes(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	n := cases(3000)
	for i := range n {
		buf := make([]byte, rnd.IntN(200))
		switch i % 3 {
		case 0:
			for j := range buf {
				buf[j] = byte(rnd.Uint32())
			}
		case 1:
			for j := range buf {
				buf[j] = byte(rnd.Uint32()) & 0x7f
			}
		default:
			buf = buf[:0]
			for range rnd.IntN(60) {
				r := rune(rnd.IntN(1 << (7 + rnd.IntN(14))))
				buf = utf8.AppendRune(buf, min(r, unicode.MaxRune))
			}
		}
		if !compareAll(t, buf) && t.Failed() && i > 100 {
			t.FailNow()
		}
	}
}
