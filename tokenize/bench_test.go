package tokenize

import (
	"strings"
	"testing"
)

const benchEnglish = `The lighthouse keeper had not spoken to anyone for eleven days when the supply boat finally appeared on the horizon. He watched it through the salt-streaked window, counting the seconds between each rise and fall of its bow, and wondered whether they had remembered the coffee this time. "You look thin," said Margaret, stepping onto the slippery rocks with a crate under each arm. She didn't wait for an answer; she never did. There were letters, she explained, and newspapers from three weeks ago, and a new wick for the lamp, although the Board of Trade wouldn't pay for another before 1924. `

func BenchmarkCount(b *testing.B) {
	for _, s := range []struct{ name, text string }{
		{"english", strings.Repeat(benchEnglish, 20)},
		{"message200", benchEnglish[:200]},
	} {
		for i := range encodings {
			e := &encodings[i]
			c, lib := e.ours(), e.oracle()
			text := []byte(s.text)
			b.Run(s.name+"/"+e.name+"/ours", func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					c.Count(text)
				}
			})
			b.Run(s.name+"/"+e.name+"/library", func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					lib.Count(s.text)
				}
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
