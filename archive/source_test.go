package archive_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/shard"
)

const tailKeep = 20

func openNode(t *testing.T, dir string) *shard.Node {
	t.Helper()
	n, err := shard.Open(shard.Options{Dir: dir, SegmentBytes: 4 << 20, SnapshotBytes: 16 << 10, TailKeep: tailKeep, SpillBytes: 1,
		RequestTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if ok, why := n.Ready(); ok {
			return n
		} else if time.Now().After(deadline) {
			t.Fatal(why)
		}
	}
}

func do(t *testing.T, n *shard.Node, id string, encode func(dst []byte) []byte) {
	t.Helper()
	r := shard.AcquireRequest()
	defer shard.ReleaseRequest(r)
	r.Cmd = encode(r.Cmd[:0])
	if n.Do(shard.Of([]byte(id)), r); r.Result.Code != shard.CodeOK {
		t.Fatal(r.Result.Code)
	}
}

// load makes contexts and appends to them, and remembers what must come out.
type load struct {
	t    *testing.T
	r    *rand.Rand
	last map[string]uint64
}

func (l *load) text(id string, seq uint64) string {
	return strings.Repeat("x", int(seq*7%300)) + fmt.Sprint(id, "/", seq)
}

func (l *load) append(n *shard.Node, contexts, batches int) {
	for range batches {
		id := fmt.Sprint("context-", l.r.IntN(contexts))
		if l.last[id] == 0 {
			do(l.t, n, id, func(dst []byte) []byte {
				return shard.EncodePut(dst, &shard.Put{ID: []byte(id), HasPolicy: true, Policy: shard.Policy{Strategy: shard.LastN, Limit: 10, Config: []byte(`{"limit":10}`)}, HasBudget: true, TokenBudget: 50})
			})
		}
		count := 1 + l.r.IntN(8)
		do(l.t, n, id, func(dst []byte) []byte {
			dst = shard.BeginAppend(dst, shard.AppendHeader{ID: []byte(id), Count: count})
			for range count {
				l.last[id]++
				m := shard.Message{Fields: fmt.Appendf(nil, `"role":"user","parts":[{"type":"text","text":%q}]`, l.text(id, l.last[id])), Tokens: uint32(l.last[id]), Flags: shard.FlagNoMetadata}
				dst = shard.AppendMessage(dst, &m)
			}
			return dst
		})
	}
}

// TestShardSource archives a real node's messages into real stores: live, out of history files after an outage, and
// after a restart.
func TestShardSource(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		dir := t.TempDir()
		n := openNode(t, dir)
		defer func() { n.Close() }()
		log := &events{}
		l := &load{t: t, r: rand.New(rand.NewPCG(1, 2)), last: map[string]uint64{}}
		const contexts = 10
		start := func() (stop func()) {
			a := archive.New(archive.Config{Store: open(), Source: archive.NewShardSource(n, tailKeep, log.add), Interval: 20 * time.Millisecond, BatchRows: 300, Logf: log.add})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); a.Run(ctx) }()
			return func() { cancel(); <-done }
		}
		// lag is what waits; least the smallest First of a long context in memory.
		lag := func() (rows uint64) {
			archive.NewShardSource(n, tailKeep, log.add).Scan(false, func(b *archive.Backlog) { rows += b.Last - b.Archived })
			return rows
		}
		catchUp := func() {
			t.Helper()
			for deadline := time.Now().Add(patience); lag() > 0; time.Sleep(2 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d rows wait; log: %q", lag(), log.get())
				}
			}
		}
		stop := start()
		l.append(n, contexts, 600)
		catchUp()
		stop()

		// No archiver: what it does not take leaves memory for the history files.
		l.append(n, contexts, 2500)
		var v shard.View
		inHistory := func() (gone uint64) {
			for id := range l.last {
				if code := n.Read([]byte(id), &v); code != shard.CodeOK {
					t.Fatal(code)
				}
				if v.First > v.Archived+1 {
					gone += v.First - v.Archived - 1
				}
			}
			return gone
		}
		for deadline := time.Now().Add(patience); inHistory() == 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing went to the history files")
			}
		}
		t.Logf("%d rows to archive are in history files only", inHistory())
		stop = start()
		l.append(n, contexts, 300)
		catchUp()
		stop()

		// A restart in the middle.
		l.append(n, contexts, 300)
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n = openNode(t, dir)
		stop = start()
		l.append(n, contexts, 300)
		catchUp()
		stop()

		store := open()
		for id, last := range l.last {
			got, err := conformance.ReadAll(context.Background(), store, id, 1, last+10, archive.Page{Rows: 1 << 20, Bytes: 1 << 30})
			if err != nil {
				t.Fatal(err)
			}
			if uint64(len(got)) != last {
				t.Fatalf("%s: %d rows, want %d", id, len(got), last)
			}
			if code := n.Read([]byte(id), &v); code != shard.CodeOK {
				t.Fatal(code)
			}
			if v.Archived != last || v.Last-v.First > 8*tailKeep {
				t.Errorf("%s: archived to %d of %d, %d in memory", id, v.Archived, last, v.Last-v.First+1)
			}
			for i, r := range got {
				seq := uint64(i + 1)
				json, _, m := v.Message(seq)
				if json != nil && (string(json) != string(r.Message) || m.Tokens != r.Tokens) {
					t.Fatalf("%s, seq %d: stored %s, served %s", id, seq, r.Message, json)
				}
				if r.Seq != seq || r.Tokens != uint32(seq) || !strings.Contains(string(r.Message), fmt.Sprintf(`"text":%q`, l.text(id, seq))) {
					t.Fatalf("%s, seq %d: %s", id, seq, r.Message)
				}
			}
		}
		if lines := log.get(); len(lines) > 0 {
			t.Errorf("log: %q", lines)
		}
	})
}
