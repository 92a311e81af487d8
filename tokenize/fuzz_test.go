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

// FuzzMerge gives pieces that no scanner makes to both ways of merging, with windows of any size.
func FuzzMerge(f *testing.F) {
	for _, w := range worstCases {
		f.Add(repeated(w.unit, 200), uint8(40), uint8(9))
	}
	f.Fuzz(func(t *testing.T, piece []byte, window, margin uint8) {
		if len(piece) == 0 || len(piece) > 1024 {
			return
		}
		for i := range encodings {
			table := &encodings[i].ours().bpe.pairs
			want := len(table.mergeByDefinition(piece))
			got := newMerger(table).count(piece, 1+int(window), int(margin))
			if got != want {
				t.Errorf("%s: %+q in windows of %d (margin %d): %d tokens, want %d", encodings[i].name, piece, 1+int(window), margin, got, want)
			}
			if len(piece) <= shortPiece {
				if got := table.mergeShort(piece); got != want {
					t.Errorf("%s: %+q: %d tokens, want %d", encodings[i].name, piece, got, want)
				}
			}
		}
	})
}
