package archive_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
	"fastpaca/archive/pg"
	"fastpaca/archive/s3"
	"fastpaca/archive/testserver"
)

var servers struct {
	pg *testserver.Postgres
	s3 *testserver.S3
}

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if servers.pg, err = testserver.StartPostgres(); err == nil {
		servers.s3, err = testserver.StartS3()
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if servers.s3 != nil {
		servers.s3.Stop()
	}
	if servers.pg != nil {
		servers.pg.Stop()
	}
	os.Exit(code)
}

// patience bounds what a test waits for; none waits that long unless something hangs. The tests of all packages may run at the
// same time, on two cores, under the race detector.
const patience = 2 * time.Minute

// onBoth runs a test against both stores, each empty and migrated. open gives a Store of another node.
func onBoth(t *testing.T, test func(t *testing.T, open func() archive.Store)) {
	run := func(name string, open func(t *testing.T) func() (archive.Store, error)) {
		t.Run(name, func(t *testing.T) {
			make := open(t)
			test(t, func() archive.Store {
				s, err := make()
				if err == nil {
					t.Cleanup(s.Close)
					err = s.Migrate(context.Background())
				}
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
	run("postgres", func(t *testing.T) func() (archive.Store, error) {
		url := servers.pg.URL(servers.pg.NewDatabase(t))
		return func() (archive.Store, error) { return pg.Open(pg.Config{URL: url, Timeout: patience}) }
	})
	run("s3", func(t *testing.T) func() (archive.Store, error) {
		bucket := servers.s3.NewBucket(t)
		return func() (archive.Store, error) {
			return s3.Open(s3.Config{Bucket: bucket, Endpoint: "http://" + servers.s3.Addr(), Access: testserver.AccessKey, Secret: testserver.SecretKey,
				Timeout: patience})
		}
	})
}

// ackedIsStored fails when something is acknowledged that the store does not hold.
func ackedIsStored(t *testing.T, store archive.Store) func(id string, from, to uint64) {
	return func(id string, from, to uint64) {
		if from > to {
			return
		}
		got, err := conformance.ReadAll(context.Background(), store, id, from, to, archive.Page{Rows: 1 << 20, Bytes: 1 << 30})
		if err != nil || len(got) != int(to-from+1) {
			t.Errorf("%s: %d to %d acknowledged, %d rows stored (%v)", id, from, to, len(got), err)
		}
	}
}

// TestKilledAtEveryStep kills the archiver before and after every Put and every acknowledgement, and starts a new one,
// as a new leader would: nothing is lost, doubled, or acknowledged before it is stored.
func TestKilledAtEveryStep(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		const contexts = 4
		s := newShards(contexts)
		store := open()
		s.check = ackedIsStored(t, store)
		var mu sync.Mutex
		inserted, kills := 0, 0
		for at := 0; ; at++ {
			for i := range contexts {
				s.grow(i, uint64(1+(at+i)%5))
			}
			ctx, cancel := context.WithCancel(context.Background())
			st := &steps{at: at, kill: cancel}
			s.beforeAck = func(string, uint64) error { return st.step() }
			s.afterAck = s.beforeAck
			a := archive.New(archive.Config{Store: &stepStore{store, st, &mu, &inserted}, Source: s, BatchRows: 7})
			var err error
			for err == nil && s.pending() > 0 {
				_, err = a.Flush(ctx)
			}
			cancel()
			if err == nil {
				break
			}
			kills++
		}
		s.beforeAck, s.afterAck = nil, nil
		total := 0
		for _, c := range s.contexts {
			total += int(c.last)
			if c.archived != c.last {
				t.Errorf("%s: archived to %d of %d", c.id, c.archived, c.last)
			}
		}
		if kills < 10 || inserted != total {
			t.Errorf("%d kills, %d rows inserted of %d", kills, inserted, total)
		}
		checkStored(t, s, open())
	})
}

// TestTwoLeaders: two archivers that both believe that they lead work on the same contexts while these grow.
func TestTwoLeaders(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		const contexts = 30
		s := newShards(contexts)
		s.check = ackedIsStored(t, open())
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var mu sync.Mutex
		inserted := 0
		var again atomic.Bool // a Put failed in its middle: what of it was stored was counted by nobody
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			a := archive.New(archive.Config{Store: &stepStore{open(), &steps{at: -1}, &mu, &inserted}, Source: s, BatchRows: 50})
			wg.Go(func() {
				for {
					if _, err := a.Flush(ctx); errors.Is(err, archive.ErrUnavailable) && ctx.Err() == nil {
						again.Store(true)
					} else if err != nil {
						t.Error(err)
						return
					}
					select {
					case <-done:
						if s.pending() == 0 {
							return
						}
					default:
					}
				}
			})
		}
		for round := range 40 {
			for i := range contexts {
				s.grow(i, uint64((round+i)%4))
			}
			time.Sleep(time.Millisecond)
		}
		close(done)
		wg.Wait()
		total := 0
		for _, c := range s.contexts {
			total += int(c.last)
		}
		if inserted != total && !again.Load() {
			t.Errorf("%d rows inserted, want %d", inserted, total)
		}
		checkStored(t, s, open())
	})
}

// TestOutage: the stores go away under load, and come back. The archiver catches up by itself, and says what happened.
func TestOutage(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		kill, start := servers.pg.Kill, servers.pg.Start
		if strings.HasSuffix(t.Name(), "s3") {
			kill, start = servers.s3.Kill, servers.s3.Start
		}
		s := newShards(10)
		store := open()
		s.check = ackedIsStored(t, store)
		log := &events{}
		a := archive.New(archive.Config{Store: store, Source: s, Interval: 10 * time.Millisecond, BatchRows: 20, Logf: log.add,
			Migrate: true, Rand: func() float64 { return 0 }})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { a.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		grow := func() {
			for i := range 10 {
				s.grow(i, 3)
			}
		}
		await := func(what string, ok func() bool) {
			t.Helper()
			for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s did not come; log: %q", what, log.get())
				}
			}
		}
		grow()
		await("the first rows", func() bool { return s.pending() == 0 })
		kill()
		grow()
		await("the failure", func() bool { return log.has("archive_failed kind unavailable") })
		grow()
		if err := start(); err != nil {
			t.Fatal(err)
		}
		await("the rest", func() bool { return s.pending() == 0 && log.has("archive_recovered") })
		lines := log.get() // one line, and one a minute where the server takes that long to start
		if len(lines) < 2 || slices.ContainsFunc(lines[:len(lines)-1], func(l string) bool {
			return !strings.HasPrefix(l, "archive_failed kind unavailable")
		}) {
			t.Errorf("log: %q", lines)
		}
		cancel()
		wg.Wait()
		checkStored(t, s, open())
	})
}

// TestStuckContext: a context whose messages the store holds differently keeps no other context back.
func TestStuckContext(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		s := newShards(5)
		store := open()
		other := conformance.Row("c2", 2)
		other.Message = bytes.Replace(other.Message, []byte(`"user"`), []byte(`"else"`), 1)
		if _, err := store.Put(context.Background(), []archive.Row{other}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			s.grow(i, 4)
		}
		log := &events{}
		now := time.Now()
		a := archive.New(archive.Config{Store: store, Source: s, Logf: log.add, Now: func() time.Time { return now }})
		for range 3 {
			if more, err := a.Flush(context.Background()); more || err != nil {
				t.Fatal(more, err)
			}
		}
		for i, c := range s.contexts {
			if want := uint64(4); i == 2 && c.archived != 0 || i != 2 && c.archived != want {
				t.Errorf("%s: archived to %d", c.id, c.archived)
			}
		}
		if got := log.get(); len(got) != 1 || !strings.Contains(got[0], "archive_context_stuck context_id c2 kind conflict") {
			t.Errorf("log: %q", got)
		}
		if m := metrics(a); !strings.Contains(m, "fastpaca_archive_stuck_contexts 1\n") || !strings.Contains(m, "fastpaca_archive_lag{context_id=\"c2\"} 4\n") {
			t.Error(m)
		}
		now = now.Add(6 * time.Minute)
		if _, err := a.Flush(context.Background()); err != nil || len(log.get()) != 2 {
			t.Errorf("not tried again: %v, %q", err, log.get())
		}
	})
}

// memory is a Store for tests of what the archiver does by itself; it records the batches.
type memory struct {
	archive.Store
	mu      sync.Mutex
	batches [][]archive.Row
	err     error
}

func (m *memory) Put(_ context.Context, rows []archive.Row) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	m.batches = append(m.batches, slices.Clone(rows))
	return len(rows), nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// TestBatches: batches are bounded in rows and bytes, everybody gets a turn, and a message larger than a batch goes alone.
func TestBatches(t *testing.T) {
	s := newShards(40)
	s.grow(3, 1000)
	s.grow(7, 2)
	s.contexts[7].fill = 50_000
	s.grow(8, 3)
	s.contexts[8].fill = 4000
	for i := range 40 {
		s.grow(i, 3)
	}
	m := &memory{}
	a := archive.New(archive.Config{Store: m, Source: s, BatchRows: 100, BatchBytes: 20_000})
	turns := map[string]int{}
	for n := 1; s.pending() > 0; n++ {
		more, err := a.Flush(context.Background())
		if err != nil || more != (s.pending() > 0) {
			t.Fatal(more, s.pending(), err)
		}
		if n > 40 {
			t.Fatal("no progress")
		}
		batch := m.batches[len(m.batches)-1]
		size := 0
		for _, r := range batch {
			size += len(r.Message)
			if turns[r.Context] == 0 {
				turns[r.Context] = n
			}
		}
		if len(batch) > 100 || size > 20_000 && len(batch) > 1 {
			t.Errorf("batch %d: %d rows, %d bytes", n, len(batch), size)
		}
	}
	for id, n := range turns {
		if n > 12 {
			t.Errorf("%s waited for %d batches", id, n)
		}
	}
}

// TestPanicsOnAGap: rows that do not follow archived_seq must never be acknowledged.
func TestPanicsOnAGap(t *testing.T) {
	s := newShards(1)
	s.grow(0, 5)
	defer func() {
		if recover() == nil {
			t.Error("a gap was archived")
		}
	}()
	archive.New(archive.Config{Store: &memory{}, Source: gapSource{s}}).Flush(context.Background())
}

type gapSource struct{ *shards }

func (g gapSource) Read(id string, from uint64, page archive.Page, dst []archive.Row) []archive.Row {
	return g.shards.Read(id, from+1, page, dst)
}

// TestWhenItFlushes drives Run by a clock of its own: by time, by rows, and more slowly the longer the store fails.
func TestWhenItFlushes(t *testing.T) {
	s := newShards(1)
	m := &memory{}
	var mu sync.Mutex
	now := time.UnixMilli(0)
	waits := make(chan time.Duration)
	wake := make(chan time.Time)
	ctx, cancel := context.WithCancel(context.Background())
	a := archive.New(archive.Config{
		Store: m, Source: s, BatchRows: 100, Rand: func() float64 { return 1 },
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		After: func(d time.Duration) <-chan time.Time {
			select {
			case waits <- d:
			case <-ctx.Done():
			}
			return wake
		},
	})
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	pass := func() (d time.Duration) { // one wait of Run
		d = <-waits
		mu.Lock()
		now = now.Add(d)
		mu.Unlock()
		wake <- now
		return d
	}
	pass() // Run flushes once at the start
	s.grow(0, 10)
	n := 0
	for s.pending() > 0 {
		pass()
		n++
	}
	if n < 99 || n > 102 { // 5 s in steps of 50 ms
		t.Errorf("10 rows went after %d waits", n)
	}
	s.grow(0, 100)
	n = 0
	for s.pending() > 0 {
		pass()
		n++
	}
	if n > 3 {
		t.Errorf("100 rows waited for %d waits", n)
	}
	pass()
	m.fail(errors.New("down"))
	s.grow(0, 100)
	var got []time.Duration
	for len(got) < 9 {
		if d := pass(); d != 50*time.Millisecond {
			got = append(got, d)
		}
	}
	want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}
	for i, d := range got {
		if w := append(slices.Clone(want), 5*time.Second)[min(i, len(want))]; d != w {
			t.Errorf("wait %d is %v, want %v", i, d, w)
		}
	}
}

// hanging is a Store whose Put does not return until it is let go.
type hanging struct {
	memory
	entered, leave chan struct{}
}

func (h *hanging) Put(ctx context.Context, rows []archive.Row) (int, error) {
	h.entered <- struct{}{}
	<-h.leave
	return h.memory.Put(ctx, rows)
}

// TestCountsWhileTheStoreHangs: what waits shows although the store neither takes a batch nor refuses it.
func TestCountsWhileTheStoreHangs(t *testing.T) {
	s := newShards(2)
	s.grow(0, 3)
	h := &hanging{entered: make(chan struct{}), leave: make(chan struct{})}
	tick := make(chan time.Time)
	a := archive.New(archive.Config{Store: h, Source: s, Tick: func(time.Duration) <-chan time.Time { return tick }})
	done := make(chan error)
	go func() {
		_, err := a.Flush(context.Background())
		done <- err
	}()
	<-h.entered
	s.grow(1, 4)
	tick <- time.Time{}
	tick <- time.Time{} // the first has been seen to
	if m := metrics(a); !strings.Contains(m, "fastpaca_archive_pending_rows 7\n") || !strings.Contains(m, "fastpaca_archive_pending_contexts 2\n") {
		t.Error(m)
	}
	close(h.leave)
	if err := <-done; err != nil || s.pending() != 4 {
		t.Errorf("%v, %d rows wait", err, s.pending())
	}
}

type events struct {
	mu    sync.Mutex
	lines []string
}

func (e *events) add(event string, kv ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, fmt.Sprint(event, " ", strings.TrimSpace(fmt.Sprintln(kv...))))
}

func (e *events) get() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.lines)
}

func (e *events) has(prefix string) bool {
	return slices.ContainsFunc(e.get(), func(l string) bool { return strings.HasPrefix(l, prefix) })
}

// textMetrics writes series as httpd.MetricsWriter does, without HELP and TYPE.
type textMetrics struct{ strings.Builder }

func (w *textMetrics) Counter(name, help string, v uint64) { fmt.Fprintf(w, "%s %d\n", name, v) }
func (w *textMetrics) Gauge(name, help string, v float64)  { fmt.Fprintf(w, "%s %g\n", name, v) }
func (w *textMetrics) Histogram(name, help string, bounds []float64, counts []uint64, sum float64) {
	n := uint64(0)
	for _, c := range counts {
		n += c
	}
	if len(counts) != len(bounds)+1 {
		panic("histogram")
	}
	fmt.Fprintf(w, "%s_count %d\n", name, n)
}

func metrics(a *archive.Archiver) string {
	var w textMetrics
	a.WriteMetrics(&w)
	return w.String()
}

func TestMetrics(t *testing.T) {
	s := newShards(250)
	for i := range 250 {
		s.grow(i, uint64(i+1))
	}
	s.contexts[249].id = `q"u\o`
	s.index[s.contexts[249].id] = s.contexts[249]
	a := archive.New(archive.Config{Store: &memory{}, Source: s, BatchRows: 100})
	if m := metrics(a); !strings.Contains(m, `fastpaca_archive_tail_size{context_id="/rest"} 0`) {
		t.Errorf("before the first flush: %s", m)
	}
	for range 3 {
		if _, err := a.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	m := metrics(a)
	rest := 0
	for i := 1; i <= 150; i++ {
		rest += i
	}
	for _, want := range []string{
		"fastpaca_archive_attempted_total 300\n", "fastpaca_archive_inserted_total 300\n", "fastpaca_archive_trimmed_total 300\n",
		fmt.Sprintf("fastpaca_archive_pending_rows %d\n", 250*251/2-300), "fastpaca_archive_flush_duration_ms_count 3\n",
		`fastpaca_archive_lag{context_id="q\"u\\o"} 250` + "\n", `fastpaca_archive_lag{context_id="c248"} 249` + "\n",
		fmt.Sprintf("fastpaca_archive_tail_size{context_id=\"/rest\"} %d\n", rest),
		fmt.Sprintf("fastpaca_archive_llm_token_count{context_id=\"/rest\"} %d\n", rest*10),
		`fastpaca_archive_failures_total{kind="denied"} 0` + "\n",
	} {
		if !strings.Contains(m, want) {
			t.Errorf("no %q", want)
		}
	}
	if n := strings.Count(m, "\n"); n > 350 {
		t.Errorf("%d series", n)
	}
}

// TestBootWithoutStore: the store is away when the node starts, and not set up. The archiver waits for it, sets it up
// and goes on.
func TestBootWithoutStore(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		s := newShards(3)
		s.grow(1, 5)
		store := &comesLater{Store: open(), away: 3}
		log := &events{}
		waits := 0
		now := time.UnixMilli(1e12)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		a := archive.New(archive.Config{Store: store, Source: s, Migrate: true, Logf: log.add, Now: func() time.Time { return now },
			After: func(d time.Duration) <-chan time.Time {
				now = now.Add(d)
				c := make(chan time.Time, 1)
				c <- now
				if waits++; s.pending() == 0 || waits > 50 {
					cancel()
				}
				return c
			}})
		a.Run(ctx)
		if s.pending() != 0 || store.away != 0 {
			t.Errorf("%d rows wait, %d tries left; log: %q", s.pending(), store.away, log.get())
		}
		if got := log.get(); len(got) != 2 || !strings.HasPrefix(got[0], "archive_failed kind unavailable") || !strings.HasPrefix(got[1], "archive_recovered") {
			t.Errorf("log: %q", got)
		}
		if m := metrics(a); !strings.Contains(m, "fastpaca_archive_pending_rows") {
			t.Error(m)
		}
	})
}

// comesLater is a Store that cannot be reached at first.
type comesLater struct {
	archive.Store
	away int
}

func (c *comesLater) Migrate(ctx context.Context) error {
	if c.away > 0 {
		c.away--
		return archive.ErrUnavailable
	}
	return c.Store.Migrate(ctx)
}

// TestRefusedRow: the store refuses a batch for one row of it and does not say which. The others go on.
func TestRefusedRow(t *testing.T) {
	s := newShards(20)
	for i := range 20 {
		s.grow(i, 3)
	}
	log := &events{}
	m := &picky{refuses: "c13"}
	a := archive.New(archive.Config{Store: m, Source: s, Logf: log.add})
	for more, n := true, 0; more; n++ {
		var err error
		if more, err = a.Flush(context.Background()); err != nil || n > 20 {
			t.Fatal(n, err)
		}
	}
	if s.pending() != 3 || s.index["c13"].archived != 0 {
		t.Errorf("%d rows wait", s.pending())
	}
	if got := log.get(); len(got) != 1 || !strings.HasPrefix(got[0], "archive_context_stuck context_id c13 kind refused") {
		t.Errorf("log: %q", got)
	}
}

type picky struct {
	memory
	refuses string
}

func (p *picky) Put(ctx context.Context, rows []archive.Row) (int, error) {
	for i := range rows {
		if rows[i].Context == p.refuses {
			return 0, archive.ErrRefused
		}
	}
	return p.memory.Put(ctx, rows)
}
