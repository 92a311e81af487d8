package peer

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/raft"
)

// BenchmarkAppends sends appends of one entry of 300 bytes over loopback, as several loops do: each pass says some to the peer.
// msgs/write and msgs/read are messages per system call.
func BenchmarkAppends(b *testing.B) {
	for _, perPass := range []int{1, 8, 64} {
		b.Run(map[int]string{1: "pass=1", 8: "pass=8", 64: "pass=64"}[perPass], func(b *testing.B) {
			var arrived atomic.Int64
			x, y := newRig(b, 1, nil), newRig(b, 2, nil)
			y.onDeliver = func(_ uint64, msgs []raft.Message) { arrived.Add(int64(len(msgs))) }
			x.start(x, y)
			y.start(x, y)
			connected(b, x, y)
			msgs := make([]raft.Message, perPass)
			for i := range msgs {
				msgs[i] = raft.Message{Type: raft.MsgAppend, To: 2, Group: uint32(i), Term: 9, Index: 1 << 20, LogTerm: 9, Commit: 1 << 20,
					Entries: []raft.Entry{{Index: 1<<20 + 1, Term: 9, Data: make([]byte, 300)}}}
			}
			b.ReportAllocs()
			b.ResetTimer()
			sent := int64(0)
			for sent < int64(b.N) {
				x.tr.Send(msgs)
				sent += int64(perPass)
				for sent-arrived.Load() > 4096 {
					time.Sleep(10 * time.Microsecond)
				}
			}
			for arrived.Load() < sent {
				time.Sleep(10 * time.Microsecond)
			}
			b.StopTimer()
			var s, r Stats
			x.tr.Stats(&s)
			y.tr.Stats(&r)
			b.ReportMetric(float64(sent)/float64(s.Data.Writes), "msgs/write")
			b.ReportMetric(float64(sent)/float64(r.Data.Reads), "msgs/read")
		})
	}
}

// BenchmarkCalls makes calls of 300 bytes from as many goroutines as connections of clients.
func BenchmarkCalls(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(map[int]string{1: "callers=1", 64: "callers=64", 256: "callers=256"}[callers], func(b *testing.B) {
			x, _ := pair(b, nil)
			req := make([]byte, 300)
			b.ReportAllocs()
			b.ResetTimer()
			var group sync.WaitGroup
			var next atomic.Int64
			for range callers {
				group.Add(1)
				go func() {
					defer group.Done()
					dst := make([]byte, 0, 512)
					for next.Add(1) <= int64(b.N) {
						if _, err := x.tr.Call(2, 1, req, dst, time.Minute); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			group.Wait()
			b.StopTimer()
			var s Stats
			x.tr.Stats(&s)
			b.ReportMetric(float64(s.Calls)/float64(s.Data.Writes), "calls/write")
			b.ReportMetric(float64(s.Calls)/float64(s.Data.Reads), "answers/read")
		})
	}
}

// BenchmarkCodec is what a message costs to encode and to decode.
func BenchmarkCodec(b *testing.B) {
	sent := []raft.Message{{Type: raft.MsgAppend, To: 2, Group: 7, Term: 9, Index: 1 << 20, LogTerm: 9, Commit: 1 << 20,
		Entries: []raft.Entry{{Index: 1<<20 + 1, Term: 9, Data: make([]byte, 300)}}}}
	var buf []byte
	var got []raft.Message
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMessages(buf[:0], sent)
		got, _ = DecodeMessages(buf, 1, 2, got[:0])
	}
}
