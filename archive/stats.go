package archive

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// topContexts is how many contexts get a series of their own in each family that has one per context: those with the
// largest values. The others are summed under the label context_id="/rest", which is no context's id, since those hold
// no slash.
const topContexts = 100

// flushBounds are the buckets of the flush duration, in ms.
var flushBounds = [...]float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000}

// stats is written by the archiver and read by whoever shows the metrics.
type stats struct {
	attempted, inserted, trimmed, ackFailures atomic.Uint64
	pendingRows, pendingContexts              atomic.Int64 // as of the last scan, less what was acknowledged since
	stuck                                     atomic.Uint64

	mu       sync.Mutex
	buckets  [len(flushBounds) + 1]uint64
	sumMs    float64
	failures [len(kinds)]uint64
	lag      *top
	tail     *top
	tokens   *top
}

// kinds are the words of Kind.
var kinds = [...]string{"unavailable", "denied", "not_ready", "full", "conflict", "refused", "damaged", "other"}

func (s *stats) flushed(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := float64(took) / float64(time.Millisecond)
	i, _ := slices.BinarySearch(flushBounds[:], ms)
	s.buckets[i]++
	s.sumMs += ms
	if err != nil {
		s.failures[slices.Index(kinds[:], Kind(err))]++
	}
}

func (s *stats) scanned(rows, contexts uint64, stuck int, t *tops) {
	s.pendingRows.Store(int64(rows))
	s.pendingContexts.Store(int64(contexts))
	s.stuck.Store(uint64(stuck))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = t.lag
	if t.tail != nil {
		s.tail, s.tokens = t.tail, t.tokens
	}
}

// acked: the rows of a run wait no longer.
func (s *stats) acked(r *run) {
	s.pendingRows.Add(-int64(r.rows))
	if r.whole {
		s.pendingContexts.Add(-1)
	}
}

// MetricsWriter is what WriteMetrics needs of httpd.MetricsWriter.
type MetricsWriter interface {
	Counter(name, help string, v uint64)
	Gauge(name, help string, v float64)
	Histogram(name, help string, bounds []float64, counts []uint64, sum float64)
}

// WriteMetrics writes every series of the archive. Any goroutine.
func (a *Archiver) WriteMetrics(w MetricsWriter) {
	s := &a.stats
	w.Gauge("fastpaca_archive_pending_rows",
		"Messages of shards that this node leads that are not in the archive, as of the last scan.",
		float64(max(s.pendingRows.Load(), 0))) // another leader may have been faster than this one
	w.Gauge("fastpaca_archive_pending_contexts", "Contexts that have such messages.", float64(max(s.pendingContexts.Load(), 0)))
	w.Gauge("fastpaca_archive_stuck_contexts",
		"Contexts that the archive refuses; the log says why (archive_context_stuck).", float64(s.stuck.Load()))
	w.Counter("fastpaca_archive_attempted_total", "Rows sent to the archive.", s.attempted.Load())
	w.Counter("fastpaca_archive_inserted_total", "Rows that the archive did not have yet.", s.inserted.Load())
	w.Counter("fastpaca_archive_trimmed_total", "Messages that left memory after they were archived.", s.trimmed.Load())
	w.Counter("fastpaca_archive_ack_failures_total",
		"Acknowledgements that did not get through the log; they are repeated.", s.ackFailures.Load())

	s.mu.Lock()
	defer s.mu.Unlock()
	w.Histogram("fastpaca_archive_flush_duration_ms",
		"Duration of a flush that had something to store: gathering, storing, acknowledging.",
		flushBounds[:], s.buckets[:], s.sumMs)
	for i, kind := range kinds {
		w.Counter(`fastpaca_archive_failures_total{kind="`+kind+`"}`, "Flushes that failed, by kind.", s.failures[i])
	}
	s.lag.write(w, "fastpaca_archive_lag",
		"last_seq - archived_seq of the 100 contexts that lag most; the others' sum is context_id=\"/rest\".")
	s.tail.write(w, "fastpaca_archive_tail_size",
		"Messages in memory of the 100 contexts with most; the others' sum is context_id=\"/rest\".")
	s.tokens.write(w, "fastpaca_archive_llm_token_count",
		"Tokens of the 100 largest windows; the others' sum is context_id=\"/rest\".")
}

// tops gathers the series that have one value per context.
type tops struct{ lag, tail, tokens *top }

func newTops(all bool) *tops {
	t := &tops{lag: &top{}}
	if all {
		t.tail, t.tokens = &top{}, &top{}
	}
	return t
}

func (t *tops) add(b *Backlog) {
	if b.Last > b.Archived {
		t.lag.add(b.Context, b.Last-b.Archived)
	}
	if t.tail != nil {
		t.tail.add(b.Context, b.Tail)
		t.tokens.add(b.Context, b.Tokens)
	}
}

// top keeps the topContexts largest of the values that were added, and the sum of the others. Adding costs a comparison
// once there are that many, unless the value belongs among them.
type top struct {
	heap []contextValue // least first
	rest uint64
	more bool // something is in rest
}

type contextValue struct {
	context string
	value   uint64
}

func (t *top) add(context string, value uint64) {
	if len(t.heap) < topContexts {
		t.heap = append(t.heap, contextValue{context, value})
		for i := len(t.heap) - 1; i > 0 && t.heap[i].value < t.heap[(i-1)/2].value; i = (i - 1) / 2 {
			t.heap[i], t.heap[(i-1)/2] = t.heap[(i-1)/2], t.heap[i]
		}
		return
	}
	t.more = true
	if value <= t.heap[0].value {
		t.rest += value
		return
	}
	t.rest += t.heap[0].value
	t.heap[0] = contextValue{context, value}
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(t.heap); c++ {
			if t.heap[c].value < t.heap[least].value {
				least = c
			}
		}
		if least == i {
			return
		}
		t.heap[i], t.heap[least] = t.heap[least], t.heap[i]
		i = least
	}
}

// write writes the values, largest first. Without any, the rest is written, so that the family exists.
func (t *top) write(w MetricsWriter, family, help string) {
	if t == nil {
		t = &top{}
	}
	list := slices.Clone(t.heap)
	slices.SortFunc(list, func(a, b contextValue) int {
		return cmp.Or(-cmp.Compare(a.value, b.value), cmp.Compare(a.context, b.context))
	})
	for _, v := range list {
		w.Gauge(family+`{context_id="`+escapeLabel(v.context)+`"}`, help, float64(v.value))
	}
	if t.more || len(list) == 0 {
		w.Gauge(family+`{context_id="/rest"}`, help, float64(t.rest))
	}
}

// escapeLabel escapes a label's value for the Prometheus text format; ids hold no line feeds.
func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}
