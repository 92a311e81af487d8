package wal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fastpaca/wal/walfs"

	"github.com/stretchr/testify/require"
)

// BenchmarkCommit has n submitters that each commit one 200-byte entry at a time, against the floor
// measured in the same run: n goroutines that each wait for a bare group-committed pwrite + fdatasync of
// the same bytes on a pre-written file. One op is one commit. The metric ratio is floor/ours: 1 means that
// the log costs nothing.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("submitters=%d", n), func(b *testing.B) {
			floor := commitFloor(b, n, min(max(b.N, 200), 20000))
			dir := b.TempDir()
			w, err := Open(Options{Dir: dir, Groups: 257}, nil)
			require.NoError(b, err)
			for w.pool.len() == 0 {
				time.Sleep(time.Millisecond)
			}
			data := bytes.Repeat([]byte("d"), 200)
			next := make([]uint64, n)
			b.ReportAllocs()
			b.ResetTimer()
			took := submitters(n, b.N, func(i int) func() {
				done := make(chan struct{}, 1)
				batch := NewBatch(func(*Batch) { done <- struct{}{} })
				return func() {
					batch.Reset()
					next[i]++
					batch.Entry(uint32(i%256), next[i]-1, Entry{Index: next[i], Term: 1, Data: data})
					if next[i]%1000 == 0 {
						batch.Snapshot(uint32(i%256), next[i]-1, 1, nil)
					}
					w.Submit(batch)
					<-done
				}
			})
			b.StopTimer()
			var s Stats
			w.Stats(&s)
			require.NoError(b, w.Close())
			b.ReportMetric(float64(floor)/(float64(took)/float64(b.N)), "ratio")
			b.ReportMetric(float64(s.Batches)/float64(max(s.Syncs, 1)), "batches/sync")
			b.ReportMetric(float64(floor), "floor-ns/op")
			b.ReportMetric(float64(s.SyncNanos)/float64(max(s.Syncs, 1)), "sync-ns")
		})
	}
}

// submitters shares ops among n goroutines and returns how long they took.
func submitters(n, ops int, make func(i int) func()) time.Duration {
	var wg sync.WaitGroup
	steps := []func(){}
	for i := range n {
		steps = append(steps, make(i))
	}
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			for range ops/n + (n-1-i+ops%n)/n {
				steps[i]()
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// commitFloor returns nanoseconds per op of the least that a durable group commit can do.
func commitFloor(b *testing.B, n, ops int) float64 {
	f, err := walfs.OS().Create(filepath.Join(b.TempDir(), "floor"))
	require.NoError(b, err)
	defer f.Close()
	const size = 64 << 20
	for off := int64(0); off < size; off += 1 << 20 {
		_, err := f.WriteAt(make([]byte, 1<<20), off)
		require.NoError(b, err)
	}
	require.NoError(b, f.Sync())
	var mu sync.Mutex
	var waiting []chan struct{}
	wake := make(chan struct{}, 1)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		off := int64(0)
		var buf []byte
		for {
			select {
			case <-wake:
			case <-stop:
				return
			}
			mu.Lock()
			now := waiting
			waiting = nil
			mu.Unlock()
			buf = append(buf[:0], make([]byte, 248*len(now))...)
			if off+int64(len(buf)) > size {
				off = 0
			}
			if _, err := f.WriteAt(buf, off); err != nil {
				panic(err)
			}
			off += int64(len(buf))
			if err := f.Sync(); err != nil {
				panic(err)
			}
			for _, c := range now {
				c <- struct{}{}
			}
		}
	}()
	took := submitters(n, ops, func(int) func() {
		done := make(chan struct{}, 1)
		return func() {
			mu.Lock()
			waiting = append(waiting, done)
			mu.Unlock()
			select {
			case wake <- struct{}{}:
			default:
			}
			<-done
		}
	})
	close(stop)
	<-ended
	return float64(took) / float64(ops)
}

// replayBytes is how much log BenchmarkReplay reads: four full segments.
const replayBytes = 256 << 20

// countingHandler does what any handler must at least: look at each entry.
type countingHandler struct{ entries, bytes int }

func (*countingHandler) Snapshot(uint32, uint64, uint64, []byte) {}
func (*countingHandler) State(uint32, HardState)                 {}
func (h *countingHandler) Entry(_ uint32, _ uint64, e Entry) {
	h.entries++
	h.bytes += len(e.Data)
}

// BenchmarkReplay opens a log of 300-byte entries in 256 groups, in the page cache, against reading the
// same files with nothing done to them. SetBytes counts log bytes; ratio is ours/plain read.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	w, err := Open(Options{Dir: dir, Groups: 257, SoftLimitBytes: 1 << 40}, nil)
	require.NoError(b, err)
	data := bytes.Repeat([]byte("d"), 300)
	done := make(chan struct{}, 1)
	batch := NewBatch(func(*Batch) { done <- struct{}{} })
	for index := uint64(1); w.count.bytes.Load() < replayBytes; index++ {
		batch.Reset()
		for g := range uint32(256) {
			batch.Entry(g, index-1, Entry{Index: index, Term: 1, Data: data})
		}
		w.Submit(batch)
		<-done
	}
	require.NoError(b, w.Close())
	plain := readPlain(b, dir)
	var read int64
	var took time.Duration
	for b.Loop() {
		var h countingHandler
		w, err := Open(Options{Dir: dir, Groups: 257, SoftLimitBytes: 1 << 40}, &h)
		require.NoError(b, err)
		var s Stats
		w.Stats(&s)
		read = s.ReplayBytes
		took += s.ReplayTook // without the new segment, which a node that ran for a second finds made
		for w.pool.len() == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(b, w.Close())
	}
	speed := float64(read) / (took.Seconds() / float64(b.N))
	b.ReportMetric(speed/1e6, "replay-MB/s")
	b.ReportMetric(speed/plain, "ratio")
}

// readPlain returns bytes per second of reading a directory's segments with 4 MiB reads.
func readPlain(b *testing.B, dir string) float64 {
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	require.NoError(b, err)
	buf := make([]byte, 4<<20)
	var total int64
	best := time.Duration(1 << 62)
	for range 3 {
		total = 0
		began := time.Now()
		for _, name := range names {
			f, err := os.Open(name)
			require.NoError(b, err)
			for {
				n, err := f.Read(buf)
				total += int64(n)
				if err != nil {
					break
				}
			}
			require.NoError(b, f.Close())
		}
		best = min(best, time.Since(began))
	}
	return float64(total) / best.Seconds()
}

// BenchmarkDecode is the decoder alone: one core, no reading.
func BenchmarkDecode(b *testing.B) {
	e := encoder{life: makeLife(formatVersion, 1, 2)}
	for i := range uint64(4000) {
		e.entry(kindEntry, uint32(i%256), i, &Entry{Index: i, Term: 1, Data: make([]byte, 300)})
	}
	b.SetBytes(int64(len(e.buf)))
	b.ReportAllocs()
	var r record
	for b.Loop() {
		for off := int64(0); off < e.offset(); {
			v, n := decodeRecord(e.buf[off:], e.life, off, e.offset(), &r)
			if v != valid {
				b.Fatal("not valid")
			}
			off += int64(n)
		}
	}
}

// BenchmarkEncode is what the writer does per entry besides writing.
func BenchmarkEncode(b *testing.B) {
	e := encoder{life: makeLife(formatVersion, 1, 2)}
	en := Entry{Index: 1, Term: 1, Data: make([]byte, 200)}
	b.SetBytes(int64(len(en.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if len(e.buf) > 1<<20 {
			e.buf = e.buf[:0]
		}
		e.entry(kindEntry, 1, 1, &en)
	}
}
