package jsonscan

// Bits of class.
const (
	classSpace = 1 << iota
	classDigit
	classHex
	classPlain // stands for itself in a string, in one byte
)

// The tables are constants in all but name: filled here, before anything runs, and never written again.
var (
	class = makeClass()
	// unescaped maps the letter of a two-byte escape to what it stands for; 0 means there is no such escape.
	unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}
	leads     = makeLeads()
)

func makeClass() (t [256]byte) {
	for _, c := range []byte(" \t\r\n") {
		t[c] |= classSpace
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= classDigit | classHex
	}
	for c := 'a'; c <= 'f'; c++ {
		t[c] |= classHex
		t[c-'a'+'A'] |= classHex
	}
	for c := 0x20; c < 0x80; c++ {
		if c != '"' && c != '\\' {
			t[c] |= classPlain
		}
	}
	return t
}

// lead says what may follow a first byte: the length of the sequence (0: cannot begin one) and the
// range of its second byte.
type lead struct{ size, low, high byte }

// makeLeads is table 3-7 of the Unicode standard.
func makeLeads() (t [256]lead) {
	for c := 0xc2; c <= 0xdf; c++ {
		t[c] = lead{2, 0x80, 0xbf}
	}
	for c := 0xe0; c <= 0xef; c++ {
		t[c] = lead{3, 0x80, 0xbf}
	}
	t[0xe0].low = 0xa0
	t[0xed].high = 0x9f
	for c := 0xf0; c <= 0xf4; c++ {
		t[c] = lead{4, 0x80, 0xbf}
	}
	t[0xf0].low = 0x90
	t[0xf4].high = 0x8f
	return t
}
