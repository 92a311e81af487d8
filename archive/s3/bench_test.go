package s3

import (
	"context"
	"fmt"
	"testing"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
)

// BenchmarkPut stores batches of 5000 rows, one of each of 5000 contexts: the worst there is for the index.
func BenchmarkPut(b *testing.B) {
	s, _ := migrated(b)
	n := uint64(0)
	for b.Loop() {
		n++
		rows := make([]archive.Row, 0, 5000)
		for i := range 5000 {
			rows = append(rows, conformance.Row(fmt.Sprint("c", i), n))
		}
		if got, err := s.Put(context.Background(), rows); err != nil || got != len(rows) {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(n*5000)/b.Elapsed().Seconds(), "rows/s")
}
