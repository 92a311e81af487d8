package archive_test

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/archive/pg"
	"fastpaca/shard"
)

var benchRows = flag.Int("archive.rows", 100_000, "messages that BenchmarkArchiver archives, 100 in each context")

// BenchmarkArchiver archives the backlog of a real node into a real Postgres, checks that every row is there once, in
// order and byte for byte, and then copies the same rows by a bare pgx CopyFrom into a table with the same columns and
// indexes. The promise is copy-ratio >= 0.7.
//
//	go test -run '^$' -bench Archiver -benchtime 1x -timeout 30m ./archive -archive.rows 1000000
func BenchmarkArchiver(b *testing.B) {
	const perContext = 100
	contexts := max(*benchRows/perContext, 1)
	ctx := context.Background()
	for b.Loop() {
		db := servers.pg.NewDatabase(b)
		store, err := pg.Open(pg.Config{URL: servers.pg.URL(db)})
		if err != nil {
			b.Fatal(err)
		}
		if err := store.Migrate(ctx); err != nil {
			b.Fatal(err)
		}
		n, err := shard.Open(shard.Options{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		for ok, _ := n.Ready(); !ok; ok, _ = n.Ready() {
			time.Sleep(time.Millisecond)
		}
		want := fill(b, n, contexts, perContext)

		a := archive.New(archive.Config{Store: store, Source: archive.NewShardSource(n, 1000, func(string, ...any) {}),
			Logf: func(event string, kv ...any) { b.Log(event, kv) }})
		conn, err := pgx.Connect(ctx, servers.pg.URL(db))
		if err != nil {
			b.Fatal(err)
		}
		servers.pg.Exec(b, db, "CREATE TABLE bare (LIKE messages INCLUDING ALL)")
		var all []archive.Row
		for i := range contexts {
			all = append(all, want[fmt.Sprintf("context-%06d", i)]...)
		}
		// In turns, so that what else goes on on the machine hits both alike.
		var ours, bare time.Duration
		copied := 0
		for more := true; more; {
			begin := time.Now()
			if more, err = a.Flush(ctx); err != nil {
				b.Fatal(err)
			}
			ours += time.Since(begin)
			upTo := min(copied+5000, len(all))
			if !more {
				upTo = len(all)
			}
			bare += bareCopy(b, conn, all[copied:upTo])
			copied = upTo
		}
		for i := range contexts {
			id := fmt.Sprintf("context-%06d", i)
			got, err := conformance.ReadAll(ctx, store, id, 1, perContext+1, archive.Page{Rows: perContext + 1, Bytes: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			conformance.Equal(b, got, want[id])
		}
		var count int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages").Scan(&count); err != nil || count != contexts*perContext {
			b.Fatal(count, err)
		}
		conn.Close(ctx)
		store.Close()
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(all))/ours.Seconds(), "rows/s")
		b.ReportMetric(float64(len(all))/bare.Seconds(), "copy-rows/s")
		b.ReportMetric(bare.Seconds()/ours.Seconds(), "copy-ratio")
	}
}

// bareCopy copies rows as a program would that has nothing else to do, and returns how long the copying took.
func bareCopy(b *testing.B, conn *pgx.Conn, rows []archive.Row) time.Duration {
	columns := []string{"context_id", "seq", "role", "parts", "metadata", "token_count", "inserted_at", "message"}
	values := make([][]any, 0, len(rows))
	for _, r := range rows {
		c, err := archive.ColumnsOf(r.Message)
		if err != nil {
			b.Fatal(err)
		}
		values = append(values, []any{r.Context, int64(r.Seq), "user", c.Parts, c.Metadata, int32(r.Tokens), time.UnixMilli(r.InsertedMs), r.Message})
	}
	begin := time.Now()
	if _, err := conn.CopyFrom(context.Background(), pgx.Identifier{"bare"}, columns, pgx.CopyFromRows(values)); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkScan: what it costs to find out what there is to archive, for each context of the shards that have changed.
func BenchmarkScan(b *testing.B) {
	const contexts = 100_000
	n, err := shard.Open(shard.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	for ok, _ := n.Ready(); !ok; ok, _ = n.Ready() {
		time.Sleep(time.Millisecond)
	}
	fill(b, n, contexts, 1)
	for b.Loop() {
		src := archive.NewShardSource(n, 1000, func(string, ...any) {}) // one that has seen nothing yet
		found := 0
		begin := processorTime()
		src.Scan(false, func(*archive.Backlog) { found++ })
		b.ReportMetric(float64(processorTime()-begin)/contexts, "cpu-ns/context")
		if found != contexts {
			b.Fatal(found)
		}
	}
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAck: what it costs to say that a context is archived: a command in the log for each, 64 at a time.
func BenchmarkAck(b *testing.B) {
	const contexts = 20_000
	n, err := shard.Open(shard.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	for ok, _ := n.Ready(); !ok; ok, _ = n.Ready() {
		time.Sleep(time.Millisecond)
	}
	fill(b, n, contexts, 1)
	a := archive.New(archive.Config{Store: nowhere{}, Source: archive.NewShardSource(n, 1000, func(string, ...any) {})})
	begin, cpu := time.Now(), processorTime()
	for more := true; more; {
		if more, err = a.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime()-cpu)/contexts, "cpu-ns/context")
	b.ReportMetric(float64(time.Since(begin))/contexts, "ns/context")
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
}

// nowhere is a Store that takes everything and keeps nothing.
type nowhere struct{ archive.Store }

func (nowhere) Put(_ context.Context, rows []archive.Row) (int, error) { return len(rows), nil }

// fill appends to a node, in batches of a few messages, and returns the rows that must come out.
func fill(b *testing.B, n *shard.Node, contexts, perContext int) map[string][]archive.Row {
	batch := min(20, perContext)
	var mu sync.Mutex
	want := map[string][]archive.Row{}
	var wg sync.WaitGroup
	ids := make(chan string)
	for range 64 {
		wg.Go(func() {
			for id := range ids {
				r := shard.AcquireRequest()
				r.Cmd = shard.EncodePut(r.Cmd[:0], &shard.Put{ID: []byte(id)})
				n.Do(shard.Of([]byte(id)), r)
				for from := 1; from <= perContext && r.Result.Code == shard.CodeOK; from += batch {
					r.Cmd = shard.BeginAppend(r.Cmd[:0], shard.AppendHeader{ID: []byte(id), Count: batch})
					for i := range batch {
						m := shard.Message{Tokens: uint32(i), Flags: shard.FlagNoMetadata,
							Fields: fmt.Appendf(nil, `"role":"user","parts":[{"type":"text","text":"%s says %0100d"}]`, id, from+i)}
						r.Cmd = shard.AppendMessage(r.Cmd, &m)
					}
					n.Do(shard.Of([]byte(id)), r)
				}
				if r.Result.Code != shard.CodeOK {
					b.Error(r.Result.Code)
				}
				shard.ReleaseRequest(r)
				var v shard.View
				if code := n.Read([]byte(id), &v); code != shard.CodeOK || v.Last != uint64(perContext) {
					b.Error(code, v.Last)
				}
				var rows []archive.Row
				for seq := uint64(1); seq <= v.Last; seq++ {
					json, _, m := v.Message(seq)
					_, ms, _ := shard.StoredFacts(json)
					rows = append(rows, archive.Row{Context: id, Seq: seq, Tokens: m.Tokens, InsertedMs: ms, Message: json})
				}
				mu.Lock()
				want[id] = rows
				mu.Unlock()
			}
		})
	}
	for i := range contexts {
		ids <- fmt.Sprintf("context-%06d", i)
	}
	close(ids)
	wg.Wait()
	return want
}
