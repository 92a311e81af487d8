package tokenize

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// worstCases are texts that punish a merge or a scan that is not linear: few places to cut, repetition,
// what the expressions look at and then give back. unit is repeated.
var worstCases = []struct{ name, unit string }{
	{"a", "a"}, {"A", "A"}, {"ab", "ab"}, {"abc", "abc"}, {"aab", "aab"},
	{"spaces", " "}, {"tabs", "\t"}, {"newlines", "\n"}, {"crlf", "\r\n"},
	{"space-newline", " \n"}, {"newline-space-x", "\n x"}, {"spaces-newline", "        \n"},
	{"nbsp", "\u00a0"}, {"ideographic-space", "\u3000"},
	{"dots", "."}, {"dashes", "-"}, {"equals-dash", "=-"}, {"slashes", "/"}, {"quotes", "'"}, {"quote-s", "'s"}, {"brackets", "(("}, {"punctuation", "!?.,;:"},
	{"digits", "7"}, {"digits-letters", "7a"},
	{"cjk-one", "的"}, {"cjk", "我们在这里等待着明天的到来"}, {"hangul", "안녕하세요"}, {"thai", "สวัสดีครับ"}, {"kana", "ありがとうございます"},
	{"marks", "\u0301"}, {"mark-A", "\u0301A"}, {"mark-AAAA", "\u0301AAAAAAAA"}, {"lo-A", "漢AAAAAAAAAAAAAAAA"}, {"Aa", "Aa"}, {"AAa", "AAAAAAAAa"}, {"titlecase", "ǅ"}, {"modifier", "ʰ"},
	{"emoji", "😀"}, {"zwj", "👨\u200d👩\u200d👧"}, {"flags", "🇩🇪"},
	{"dna", "acgtacca"}, {"german", "donaudampfschifffahrtsgesellschaft"}, {"fibonacci", fibonacci(987)},
	{"invalid", "\xff"}, {"invalid-cut", "\xe6\xbc"}, {"nul", "\x00"}, {"del", "\x7f"}, {"replacement", "\ufffd"},
	{"random-letters", randomOf("abcdefghijklmnopqrstuvwxyz", 4096)}, {"random-ab", randomOf("ab", 4096)}, {"random-punctuation", randomOf("!-/.=_(){}[]<>", 4096)},
	{"base64-letters", strings.Map(letterOnly, base64.StdEncoding.EncodeToString([]byte(randomOf("\x00\x17\x80\xff\x42\x93", 4096))))},
}

func fibonacci(n int) string {
	a, b := "a", "ab"
	for len(b) < n {
		a, b = b, b+a
	}
	return b
}

func randomOf(alphabet string, n int) string {
	rnd := rand.New(rand.NewPCG(5, 6))
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[rnd.IntN(len(alphabet))]
	}
	return string(out)
}

func letterOnly(r rune) rune {
	if r|0x20 < 'a' || r|0x20 > 'z' {
		return -1
	}
	return r | 0x20
}

func repeated(unit string, n int) []byte {
	return []byte(strings.Repeat(unit, n/len(unit)+1)[:n])
}

// Worst cases have the library's counts, at lengths around those at which the way changes.
func TestWorstCasesEqualTheLibrary(t *testing.T) {
	t.Parallel()
	for _, w := range worstCases {
		for _, n := range []int{1, 2, 3, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 95, 96, 97, 127, 128, 129, 130, 255, 256, 257, 600, 2500} {
			if n > 300 && (raceEnabled || testing.Short()) {
				continue
			}
			compareAll(t, repeated(w.unit, n))
		}
	}
}

// A quarter of a megabyte of each is counted. Anything quadratic would take minutes for some of them, and the
// test would run into its time limit.
func TestWorstCasesFinish(t *testing.T) {
	t.Parallel()
	for i := range encodings {
		for _, w := range worstCases {
			n := encodings[i].ours().Count(repeated(w.unit, cases(1<<18)))
			if w.unit != "\x7f" {
				require.Positive(t, n, w.name)
			}
		}
	}
}

// The number of merges made for a piece, those of overlapping windows included, is at most its length and a
// little. (What one merge costs does not depend on the piece: a few lookups and list operations; and besides
// merging, a window costs 64 words of the queue and one visit per byte.)
func TestMergeIsLinear(t *testing.T) {
	t.Parallel()
	for i := range encodings {
		m := newMerger(&encodings[i].ours().bpe.pairs)
		for _, w := range worstCases {
			for _, n := range []int{1 << 10, 1 << 14, 1 << 17} {
				if n > 1<<14 && (raceEnabled || testing.Short()) {
					continue
				}
				before := m.merges
				m.count(repeated(w.unit, n), windowSize, windowMargin)
				require.LessOrEqual(t, m.merges-before, n+n/16, "%s %s of %d bytes", encodings[i].name, w.name, n)
				require.LessOrEqual(t, cap(m.parts), 2*windowSize, "%s %s of %d bytes: a window had to grow", encodings[i].name, w.name, n)
			}
		}
	}
}

// Both ways of merging do what the definition says, also to pieces that no scanner makes, and whatever the
// windows.
func TestMerging(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range encodings {
		table := &encodings[i].ours().bpe.pairs
		m := newMerger(table)
		pieces := [][]byte{}
		for _, w := range worstCases {
			pieces = append(pieces, repeated(w.unit, 1+rnd.IntN(400)))
		}
		for n := range cases(6000) {
			piece := make([]byte, 1+rnd.IntN(90))
			for j := range piece {
				switch n % 4 {
				case 0:
					piece[j] = byte(rnd.Uint32())
				case 1:
					piece[j] = "abcdeirstn -\n"[rnd.IntN(13)]
				case 2:
					piece[j] = "\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x81\x82"[rnd.IntN(9)]
				default:
					piece[j] = "aab "[rnd.IntN(4)]
				}
			}
			pieces = append(pieces, piece)
		}
		for _, p := range pieces {
			want := table.mergeByDefinition(p)
			if len(p) <= shortPiece {
				require.Equal(t, len(want), table.mergeShort(p), "%s %+q", encodings[i].name, p)
			}
			m.merge(p)
			var got []uint32
			for at := 0; at < len(p); at += int(m.parts[at].size) {
				got = append(got, m.parts[at].token)
			}
			require.Equal(t, want, got, "%s %+q", encodings[i].name, p)
			for _, window := range []int{1, 2, 5, 16, 40} {
				margin := 1 + rnd.IntN(window)
				require.Equal(t, len(want), m.count(p, window, margin), "%s %+q window %d margin %d", encodings[i].name, p, window, margin)
			}
		}
		require.Equal(t, make([]int32, len(m.first)), m.first, "a bucket is left behind")
		require.Zero(t, m.level0)
		require.Zero(t, m.level1)
	}
}

// mergeByDefinition merges the leftmost of the neighbours with the lowest rank until there are none.
func (t *pairTable) mergeByDefinition(piece []byte) []uint32 {
	var parts []uint32
	for _, b := range piece {
		parts = append(parts, t.bytes[b])
	}
	for {
		best, at := uint32(noToken), 0
		for i := 0; i+1 < len(parts); i++ {
			if merged := t.merged(parts[i], parts[i+1]); merged < best {
				best, at = merged, i
			}
		}
		if best == noToken {
			return parts
		}
		parts[at] = best
		parts = append(parts[:at+1], parts[at+2:]...)
	}
}
