package shard

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkApplyAppend(b *testing.B) {
	policies := map[string]Put{
		"free":       {HasBudget: true, TokenBudget: 1 << 40},
		"last_n":     {HasBudget: true, TokenBudget: 1000},
		"skip_parts": {HasBudget: true, TokenBudget: 1000, HasPolicy: true, Policy: Policy{Strategy: SkipParts, Limit: 200, SkipKinds: DefaultSkipKinds()}},
	}
	for _, name := range []string{"free", "last_n", "skip_parts"} {
		b.Run(name, func(b *testing.B) {
			m := NewMachine(0)
			var res Result
			put := policies[name]
			const contexts = 256
			var cmds [contexts][]byte
			for i := range cmds {
				put.ID = fmt.Appendf(nil, "user-%06d", i)
				if err := m.Apply(1, EncodePut(nil, &put), &res); err != nil {
					b.Fatal(err)
				}
				cmds[i] = AppendMessage(BeginAppend(nil, AppendHeader{ID: put.ID, Count: 1}), chatMessage())
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(cmds[0])))
			n := 0
			for b.Loop() {
				cmd := cmds[n%contexts]
				n++
				StampTime(cmd, testTime+int64(n/50))
				if err := m.Apply(uint64(n), cmd, &res); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReads(b *testing.B) {
	for _, history := range []int{100, 100_000} {
		s := newStory(b, Put{HasBudget: true, TokenBudget: 2100, HasRatio: true, RatioPPB: RatioOne})
		cmd := AppendMessage(BeginAppend(nil, AppendHeader{ID: []byte("s"), Count: 1}), chatMessage())
		for range history {
			s.do(cmd)
		}
		c := s.m.Lookup([]byte("s"))
		id := []byte("s")
		var v View
		buf := make([]byte, 0, 1<<20)
		b.Run(fmt.Sprintf("window/%d", history), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.m.Lookup(id).View(&v)
				buf = v.AppendWindow(buf[:0], 0)
			}
			b.SetBytes(int64(len(buf)))
		})
		b.Run(fmt.Sprintf("tail/%d", history), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.View(&v)
				buf = v.AppendTail(buf[:0], 50, 0)
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

// chatMessage is a message of 200 bytes of text, as benchmarks and allocation tests use it.
func chatMessage() *Message {
	body := bytes.Repeat([]byte("word "), 40)
	return &Message{Fields: fmt.Appendf(nil, `"role":"user","parts":[{"type":"text","text":"%s"}]`, body), Tokens: 41, Flags: FlagNoMetadata}
}
