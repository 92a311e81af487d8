package tokenize

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// BenchmarkCount counts texts of some kinds in both encodings. Each line also has the library's speed on the
// same text, taken in the same run just before, and how many times that ours is ("x"):
//
//	go test -run xxx -bench Count ./tokenize
func BenchmarkCount(b *testing.B) {
	texts := corpus(b)
	cjk := bytes.Join(bytes.Split(texts["scripts.txt"], []byte("\n"))[29:33], nil)
	for _, s := range []struct {
		name string
		text []byte
	}{
		{"english", bytes.Repeat(texts["english.txt"], 8)},
		{"message-200B", texts["english.txt"][:200]},
		{"code", bytes.Repeat(texts["code.txt"], 4)},
		{"json", bytes.Repeat(texts["json.txt"], 8)},
		{"markdown", bytes.Repeat(texts["markdown.txt"], 8)},
		{"scripts", texts["scripts.txt"]},
		{"cjk", bytes.Repeat(cjk, 8)},
		{"emoji", texts["emoji.txt"]},
		{"worst/a", repeated("a", 1<<18)},
		{"worst/spaces", repeated(" ", 1<<18)},
		{"worst/dashes", repeated("-", 1<<18)},
		{"worst/punctuation", repeated(randomOf("!-/.=_(){}[]<>", 4096), 1<<18)},
		{"worst/cjk", repeated("我们在这里等待着明天的到来", 1<<18)},
		{"worst/letters", repeated(randomOf("abcdefghijklmnopqrstuvwxyz", 1<<18), 1<<18)},
	} {
		for i := range encodings {
			e := &encodings[i]
			c, lib := e.ours(), e.oracle()
			b.Run(s.name+"/"+strings.TrimSuffix(e.name, "_base"), func(b *testing.B) {
				text, runs := string(s.text), 0
				start := time.Now()
				for time.Since(start) < 100*time.Millisecond {
					lib.Count(text)
					runs++
				}
				library := time.Since(start) / time.Duration(runs)

				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					c.Count(s.text)
				}
				b.ReportMetric(float64(len(text))/1e6/library.Seconds(), "library-MB/s")
				b.ReportMetric(float64(library)/(float64(b.Elapsed())/float64(b.N)), "x")
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for _, e := range []string{encodingO200K, encodingCL100K} {
		b.Run(e, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustNew("tiktoken:" + e)
			}
		})
	}
}
