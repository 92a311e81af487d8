package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/raft"
	"fastpaca/shard"
	"fastpaca/wal/walfs"
)

// trio is three nodes in one process, each a voter of every shard and with an archiver of its own.
type trio struct {
	t    *testing.T
	open func() archive.Store
	log  *events

	mu    sync.Mutex
	lives [3]*life
	sends sync.WaitGroup
}

// life is a node from one start to its end.
type life struct {
	trio   *trio
	id     uint64
	disk   *walfs.Mem
	node   *shard.Node
	over   bool // no message of it arrives any more, or is delivered to it; under trio.mu
	cancel context.CancelFunc
	done   chan struct{}
}

func (l *life) Send(msgs []raft.Message) {
	l.trio.mu.Lock()
	defer l.trio.mu.Unlock()
	for i := range msgs {
		if to := l.trio.lives[msgs[i].To-1]; !l.over && to != nil && !to.over && to.node != nil {
			to.node.Deliver(l.id, msgs[i:i+1])
		}
	}
}

func (l *life) SendSnapshot(m raft.Message) {
	l.trio.sends.Go(func() {
		l.trio.mu.Lock()
		to := l.trio.lives[m.To-1]
		down := l.over || to == nil || to.over || to.node == nil
		l.trio.mu.Unlock()
		ok := false
		if meta, _, r, err := l.node.OpenSnapshot(m.Group, m.Snapshot.Index, m.Term); err == nil {
			if !down {
				m.Snapshot = &meta
				ok = to.node.ReceiveSnapshot(m, r) == nil
			}
			r.Close()
		}
		l.node.ReportSnapshot(m.Group, m.To, ok)
	})
}

func (c *trio) start(i int, disk *walfs.Mem) {
	c.t.Helper()
	l := &life{trio: c, id: uint64(i + 1), disk: disk, done: make(chan struct{})}
	n, err := shard.Open(shard.Options{
		Dir: "/data", FS: disk, ID: l.id, Genesis: func(uint32) raft.Conf { return raft.Conf{Voters: []uint64{1, 2, 3}} }, Transport: l,
		Loops: 1, RequestTimeout: time.Second, SegmentBytes: 4 << 20, SnapshotBytes: 16 << 10, MaxCommandBytes: 1 << 20, TailKeep: tailKeep, SpillBytes: 1,
		Fatal: func(err error) { c.t.Errorf("node %d: %v", i+1, err) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	store := c.open()
	a := archive.New(archive.Config{Store: store, Source: archive.NewShardSource(n, tailKeep, c.log.add), Interval: 5 * time.Millisecond, BatchRows: 40, Logf: c.log.add})
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	l.node, l.cancel = n, cancel
	c.lives[i] = l
	c.mu.Unlock()
	go func() {
		defer close(l.done)
		a.Run(ctx)
	}()
}

// end ends a life: with a crash the disk forgets what was not synced, and the archiver is cut off in the middle.
func (c *trio) end(i int, crash *rand.Rand) *walfs.Mem {
	l := c.lives[i]
	disk := l.disk
	c.mu.Lock()
	if crash != nil {
		l.over = true
		disk = disk.Crash(crash, walfs.CrashOptions{Keep: 50, Tear: 50})
	}
	c.mu.Unlock()
	l.cancel()
	<-l.done
	c.mu.Lock()
	l.over = true
	c.mu.Unlock()
	c.sends.Wait()
	_ = l.node.Close()
	return disk
}

func (c *trio) leader(id []byte) *shard.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lives {
		if l != nil && !l.over && l.node.Leads(shard.Of(id)) {
			return l.node
		}
	}
	return nil
}

// do carries a command out, whoever leads. Whether a command is done whose answer got lost does not matter here.
func (c *trio) do(id string, encode func(dst []byte) []byte) {
	r := shard.AcquireRequest()
	defer shard.ReleaseRequest(r)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: no leader", id)
		}
		if n := c.leader([]byte(id)); n != nil {
			r.Cmd = encode(r.Cmd[:0])
			if n.Do(shard.Of([]byte(id)), r); r.Result.Code == shard.CodeOK {
				return
			}
		}
	}
}

// TestClusterArchives: leaders change, and nodes lose power, while their archivers are at work. What the cluster serves
// in the end is what the store holds: nothing skipped, nothing doubled.
func TestClusterArchives(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		c := &trio{t: t, open: open, log: &events{}}
		r := rand.New(rand.NewPCG(5, 6))
		for i := range c.lives {
			c.start(i, walfs.NewMem())
		}
		defer func() {
			for i := range c.lives {
				c.end(i, nil)
			}
		}()
		const contexts = 25
		ids := make([]string, contexts)
		for i := range ids {
			ids[i] = fmt.Sprint("context-", i)
			c.do(ids[i], func(dst []byte) []byte { return shard.EncodePut(dst, &shard.Put{ID: []byte(ids[i])}) })
		}
		n := 0
		grow := func(batches int) {
			for range batches {
				id := ids[r.IntN(contexts)]
				count := 1 + r.IntN(10)
				c.do(id, func(dst []byte) []byte {
					dst = shard.BeginAppend(dst, shard.AppendHeader{ID: []byte(id), Count: count})
					for range count {
						n++
						dst = shard.AppendMessage(dst, &shard.Message{Tokens: 1, Flags: shard.FlagNoMetadata,
							Fields: fmt.Appendf(nil, `"role":"user","parts":[{"type":"text","text":"%0200d"}]`, n)})
					}
					return dst
				})
			}
		}
		for round := range 12 {
			grow(60)
			i := r.IntN(3)
			if round%3 == 0 {
				c.start(i, c.end(i, r))
				continue
			}
			for g := range uint32(shard.Shards) {
				if from := c.lives[i].node; from.Leads(g) {
					_ = from.Transfer(g, uint64((i+1+r.IntN(2))%3+1))
				}
			}
		}
		grow(20)

		store := open()
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			missing := ""
			for _, id := range ids {
				var v shard.View
				if node := c.leader([]byte(id)); node == nil || node.Read([]byte(id), &v) != shard.CodeOK || v.Archived != v.Last {
					missing = fmt.Sprintf("%s: archived to %d of %d", id, v.Archived, v.Last)
				}
			}
			if missing == "" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s; log: %q", missing, c.log.get())
			}
		}
		total := 0
		for _, id := range ids {
			var v shard.View
			node := c.leader([]byte(id))
			if code := node.Read([]byte(id), &v); code != shard.CodeOK {
				t.Fatal(code)
			}
			got, err := conformance.ReadAll(context.Background(), store, id, 1, v.Last+100, archive.Page{Rows: 1 << 20, Bytes: 1 << 30})
			if err != nil || uint64(len(got)) != v.Last {
				t.Fatalf("%s: %d rows of %d, %v", id, len(got), v.Last, err)
			}
			total += len(got)
			for i, row := range got {
				if row.Seq != uint64(i+1) {
					t.Fatalf("%s: row %d has seq %d", id, i, row.Seq)
				}
				if json, _, _ := v.Message(row.Seq); json != nil && !bytes.Equal(json, row.Message) {
					t.Fatalf("%s, seq %d: stored %s, served %s", id, row.Seq, row.Message, json)
				}
			}
		}
		t.Logf("%d messages", total)
	})
}
