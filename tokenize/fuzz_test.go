package tokenize

import "testing"

// FuzzCount compares with the library, and the other way of matching with the expressions as written.
func FuzzCount(f *testing.F) {
	for _, text := range corpus(f) {
		for i := 0; i < len(text); i += 400 {
			f.Add(text[i:min(i+100, len(text))])
		}
	}
	for _, w := range worstCases {
		f.Add(repeated(w.unit, 130))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4096 {
			return
		}
		compareAll(t, text)
		if len(text) <= 256 {
			for _, e := range writtenEncodings {
				e().compare(t, string(text))
			}
		}
	})
}
