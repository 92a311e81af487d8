package pg

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
)

// BenchmarkPut stores batches of 5000 rows, as the archiver does, and the same rows by a bare pgx CopyFrom into a table
// with the same columns and indexes, in turns. The promise is copy-ratio >= 0.7.
//
//	go test -run '^$' -bench Put -benchtime 20x ./archive/pg
func BenchmarkPut(b *testing.B) {
	const batch, perContext = 5000, 100
	ctx := context.Background()
	s, db := migrated(b)
	server.Exec(b, db, "CREATE TABLE bare (LIKE messages INCLUDING ALL)")
	conn, err := pgx.Connect(ctx, server.URL(db))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	columns := []string{"context_id", "seq", "role", "parts", "metadata", "token_count", "inserted_at", "message"}

	var ours, bare time.Duration
	n := 0
	for b.Loop() {
		rows := make([]archive.Row, 0, batch)
		values := make([][]any, 0, batch)
		for range batch {
			r := conformance.Row(fmt.Sprintf("context-%07d", n/perContext), uint64(n%perContext+1))
			c, err := archive.ColumnsOf(r.Message)
			if err != nil {
				b.Fatal(err)
			}
			rows = append(rows, r)
			values = append(values, []any{r.Context, int64(r.Seq), "user", c.Parts, c.Metadata,
				int32(r.Tokens), time.UnixMilli(r.InsertedMs), r.Message})
			n++
		}
		t0 := time.Now()
		if got, err := s.Put(ctx, rows); err != nil || got != batch {
			b.Fatal(got, err)
		}
		t1 := time.Now()
		if got, err := conn.CopyFrom(ctx, pgx.Identifier{"bare"}, columns, pgx.CopyFromRows(values)); err != nil || got != batch {
			b.Fatal(got, err)
		}
		ours += t1.Sub(t0)
		bare += time.Since(t1)
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "rows/s")
	b.ReportMetric(float64(n)/bare.Seconds(), "copy-rows/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "copy-ratio")
}
