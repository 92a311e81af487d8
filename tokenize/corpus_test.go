package tokenize

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// corpus is testdata/corpus: texts in many scripts and of many kinds, two of them on purpose full of odd
// white space and of what is not UTF-8.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.txt")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 9)
	texts := map[string][]byte{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		texts[filepath.Base(f)] = text
	}
	return texts
}

// Whole files, lines, and windows of every length at every place, which cuts characters, words and runs of
// white space in all ways, and puts every piece near the end of the text, where loads of 16 bytes are unsafe.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for name, text := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			compareAll(t, text)
			for line := range bytes.Lines(text) {
				compareAll(t, line)
			}
			step := 3
			if raceEnabled || testing.Short() {
				step = 31
			}
			for i, n := 0, 1; i < len(text); i, n = i+step, n%40+1 {
				if !compareAll(t, text[i:min(i+n, len(text))]) && t.Failed() {
					return
				}
			}
		})
	}
}

// What comes after the text in memory is not counted, and the text is not written to.
func TestTextIsNotTouched(t *testing.T) {
	t.Parallel()
	whole := []byte("The quick brown fox jumps. Über 漢字 \xff\xfe don't      stop\n\n words and more words")
	before := bytes.Clone(whole)
	for i := range encodings {
		for n := range whole {
			require.Equal(t, encodings[i].ours().Count(bytes.Clone(whole[:n])), encodings[i].ours().Count(whole[:n]))
		}
	}
	require.Equal(t, before, whole)
}
