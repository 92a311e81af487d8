//go:build !race

package jsonscan

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoAllocations(t *testing.T) {
	text := []byte(`{"message":{"role":"user","parts":[{"type":"t\u0065xt","text":"h\u00e9llo 漢字"}]},"if_version":12}`)
	buf := make([]byte, 0, 256)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, _, err := Document(text); err != nil {
			panic(err)
		}
		m := Object(text, 0)
		for m.Next() {
			if !Equal(m.Key(), "message") {
				continue
			}
			message := m.Object()
			for message.Next() {
				if !Equal(message.Key(), "parts") {
					continue
				}
				parts := message.Array()
				for parts.Next() {
					part := parts.Object()
					for part.Next() {
						buf = Unescape(buf[:0], part.Value())
						Hash(part.Value())
					}
					parts.LeaveObject(&part)
				}
				message.LeaveArray(&parts)
			}
			m.LeaveObject(&message)
		}
		if _, err := m.End(); err != nil {
			panic(err)
		}
	}))
}

func BenchmarkDocument(b *testing.B) {
	f := func(name, text string) {
		b.Run(name, func(b *testing.B) {
			t := []byte(text)
			b.SetBytes(int64(len(t)))
			for b.Loop() {
				if _, _, err := Document(t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	long := ""
	cjk := ""
	numbers := "0"
	for range 100 {
		long += "The quick brown fox jumps over the lazy dog. "
		cjk += "敏捷的棕色狐狸跳过了懒狗。"
		numbers += ",-12.5e3, 17"
	}
	f("message", `{"message":{"role":"user","parts":[{"type":"text","text":"The quick brown fox jumps over the lazy dog."}]}}`)
	f("ascii", `"`+long+`"`)
	f("cjk", `"`+cjk+`"`)
	f("numbers", `[`+numbers+`]`)
}
