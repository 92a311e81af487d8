package archive

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Backlog is what a Source says of one context.
type Backlog struct {
	Context  string
	Order    uint64 // contexts come in rising order, which stays the same from scan to scan
	Archived uint64 // every seq up to here is in the store
	Last     uint64 // newest seq; equal to Archived where nothing waits
	Tail     uint64 // messages in memory
	Tokens   uint64 // of the window
}

// Source is the shards of this node as the archiver sees them. What it shows is committed, so that it may be stored even
// if this node has lost its leadership meanwhile. Its methods never wait for a shard, and a shard never waits for them;
// only Ack waits, for the log. One archiver calls them, Ack from several goroutines.
type Source interface {
	// Waiting is a cheap guess of how many rows have come since the last Scan.
	Waiting() int
	// Scan calls f for every context that this node leads and that has rows to store, and, if all is true, for the others,
	// too. b is valid during the call.
	Scan(all bool, f func(b *Backlog))
	// Read appends the rows of a context from seq from on, as many as fit the page, at least one. The messages belong to the
	// Source and stay as they are for as long as somebody holds them. None: this node does not lead the context any more, or
	// does not hold from any more.
	Read(id string, from uint64, page Page, dst []Row) []Row
	// Ack says through the log that every row of the context up to seq is in the store, and waits until that is so on a
	// quorum. trimmed is how many messages left memory for it.
	Ack(ctx context.Context, id string, seq uint64) (trimmed uint64, err error)
}

// Config is what an Archiver is made of.
type Config struct {
	Store   Store
	Source  Source
	Migrate bool // Run prepares the store first, for as long as that takes (MIGRATE_ON_BOOT)

	Interval   time.Duration // a row waits no longer than this; default 5 s (FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS)
	BatchRows  int           // as many rows do not wait; the most of a batch; default 5000 (FASTPACA_ARCHIVER_BATCH_SIZE)
	BatchBytes int           // of messages in a batch; default 8 MiB; a longer message goes alone

	Now   func() time.Time                     // default time.Now
	After func(time.Duration) <-chan time.Time // default time.After
	Tick  func(time.Duration) <-chan time.Time // default time.Tick
	Rand  func() float64                       // in [0, 1); default math/rand
	Logf  func(event string, keyvals ...any)   // default silent
}

const (
	// pollEvery is how often Waiting is looked at between flushes.
	pollEvery = 50 * time.Millisecond
	// backoffMin and backoffMax bound the wait after a failure; the later one also how long a store that is back waits for us.
	backoffMin, backoffMax = 500 * time.Millisecond, 5 * time.Second
	// ackParallel is how many acknowledgements are under way at a time: they share the log's fsyncs.
	ackParallel = 64
	// stuckMax bounds the contexts that are left out because the store refuses them. With more of them the store is not ours.
	stuckMax = 1000
	// stuckRetry is when such a context gets another chance.
	stuckRetry = 5 * time.Minute
	// fullScanEvery is how often all contexts are looked at, for the series that are about all of them.
	fullScanEvery = 30 * time.Second
	// lookEvery is how often what waits is counted while a batch is being stored: a store that hangs takes its timeout to fail, and
	// the series should not stand still for that long.
	lookEvery = 5 * time.Second
	// logEvery is how often a failure that goes on is logged again.
	logEvery = time.Minute
)

// Archiver moves messages from a Source into a Store, in batches, one after the other. It holds nothing that would have
// to be kept: what it has not acknowledged it finds again.
type Archiver struct {
	cfg      Config
	stats    stats
	cursor   uint64               // Backlog.Order of the last context of the last batch: the next one begins behind it
	stuck    map[string]time.Time // contexts that are left out, until when
	todo     []candidate          // what the last scan found and no batch has had yet
	left     bool                 // it found more than todo has room for, or a batch was given up in part
	fullScan time.Time            // when the last one was

	scannedAt time.Time     // when the last scan for todo ended
	scanTook  time.Duration // and how long it took

	failing  time.Time // since when, zero: it works
	loggedAt time.Time
	logged   string // kind of the last failure logged
}

// New returns an Archiver that does nothing until Run or Flush.
func New(cfg Config) *Archiver {
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Second
	}
	if cfg.BatchRows == 0 {
		cfg.BatchRows = 5000
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = 8 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.After == nil {
		cfg.After = time.After
	}
	if cfg.Tick == nil {
		cfg.Tick = time.Tick
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	return &Archiver{cfg: cfg, stuck: map[string]time.Time{}}
}

// Run archives until ctx is done.
func (a *Archiver) Run(ctx context.Context) {
	if a.cfg.Migrate && !a.migrate(ctx) {
		return
	}
	failures := 0
	begun := a.cfg.Now()
	for {
		more, err := a.flushLogged(ctx)
		wait := pollEvery
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = a.backoff(failures)
			failures++
		default:
			failures = 0
			if more {
				continue
			}
		}
		next := begun.Add(a.cfg.Interval)
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.cfg.After(wait):
			}
			now := a.cfg.Now()
			if err != nil || !now.Before(next) || a.cfg.Source.Waiting() >= a.cfg.BatchRows && a.scanDue(now) {
				break
			}
		}
		begun = a.cfg.Now()
	}
}

// migrate prepares the store, however often that takes. It returns false when ctx is done.
func (a *Archiver) migrate(ctx context.Context) bool {
	for failures := 0; ; failures++ {
		err := a.cfg.Store.Migrate(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return true // the first flush says whether all is well
		}
		now := a.cfg.Now()
		a.scan(now) // what waits meanwhile should show
		a.report(now, err)
		select {
		case <-ctx.Done():
			return false
		case <-a.cfg.After(a.backoff(failures)):
		}
	}
}

// backoff grows by powers of two and is anything from half of that to all of it, so that nodes do not come back together.
func (a *Archiver) backoff(failures int) time.Duration {
	d := min(backoffMin<<min(failures, 10), backoffMax)
	return d/2 + time.Duration(a.cfg.Rand()*float64(d/2))
}

// Flush stores one batch and acknowledges it. more says that there is more to do at once. After an error the same is
// tried by the next Flush. Flush is for one goroutine at a time.
func (a *Archiver) Flush(ctx context.Context) (more bool, err error) {
	start := a.cfg.Now()
	b := a.gather(start)
	if len(b.runs) == 0 {
		return false, nil
	}
	defer func() {
		if err != nil {
			a.todo = nil // what is in it may have been done by somebody else until it works again
		}
		a.stats.flushed(a.cfg.Now().Sub(start), err)
	}()
	for {
		a.stats.attempted.Add(uint64(len(b.rows)))
		inserted, err := a.put(ctx, append(b.sent[:0], b.rows...))
		if err == nil {
			a.stats.inserted.Add(uint64(inserted))
			break
		}
		id, ok := culprit(err)
		if !ok && errors.Is(err, ErrRefused) {
			if len(b.runs) > 1 { // one of them, but which? The others have their turn again soon.
				b.halve()
				a.left = true
				continue
			}
			id, ok = b.runs[0].id, true
		}
		if !ok || len(a.stuck) >= stuckMax || !b.drop(id) {
			return false, err
		}
		// One context that the store refuses must not keep all others back.
		a.stuck[id] = start.Add(stuckRetry)
		a.cfg.Logf("archive_context_stuck", "context_id", id, "kind", Kind(err), "error", err, "retry_in", stuckRetry)
		if len(b.runs) == 0 {
			return b.full, nil
		}
	}
	if err := a.acknowledge(ctx, b.runs); err != nil {
		return false, err
	}
	return b.full, nil
}

// put is Store.Put. While that takes its time what waits is counted now and then, for whoever looks at the series.
func (a *Archiver) put(ctx context.Context, rows []Row) (inserted int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		inserted, err = a.cfg.Store.Put(ctx, rows)
	}()
	tick := a.cfg.Tick(lookEvery)
	for {
		select {
		case <-done:
			return inserted, err
		case <-tick:
			a.scan(a.cfg.Now())
		}
	}
}

// culprit returns the context whose row made the store refuse a batch.
func culprit(err error) (id string, ok bool) {
	var c *ConflictError
	var r *RowError
	switch {
	case errors.As(err, &c):
		return c.Context, true
	case errors.As(err, &r):
		return r.Context, true
	}
	return "", false
}

// acknowledge moves archived_seq of each context to what is stored. Some may fail; the others have still got on.
func (a *Archiver) acknowledge(ctx context.Context, runs []run) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	next := make(chan run)
	for range min(ackParallel, len(runs)) {
		wg.Go(func() {
			for r := range next {
				trimmed, err := a.cfg.Source.Ack(ctx, r.id, r.last)
				a.stats.trimmed.Add(trimmed)
				if err == nil {
					a.stats.acked(&r)
				} else {
					a.stats.ackFailures.Add(1)
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, r := range runs {
		next <- r
	}
	close(next)
	wg.Wait()
	return first
}

// flushLogged is Flush, and tells an operator how it went.
func (a *Archiver) flushLogged(ctx context.Context) (more bool, err error) {
	more, err = a.Flush(ctx)
	if ctx.Err() == nil {
		a.report(a.cfg.Now(), err)
	}
	return more, err
}

// report logs the first failure, then one line a minute or when the kind changes, and the recovery.
func (a *Archiver) report(now time.Time, err error) {
	switch {
	case err == nil && !a.failing.IsZero():
		a.cfg.Logf("archive_recovered", "after", now.Sub(a.failing))
		a.failing, a.logged = time.Time{}, ""
	case err != nil:
		if a.failing.IsZero() {
			a.failing = now
		}
		if kind := Kind(err); kind != a.logged || now.Sub(a.loggedAt) >= logEvery {
			a.logged, a.loggedAt = kind, now
			a.cfg.Logf("archive_failed", "kind", kind, "error", err, "failing_for", now.Sub(a.failing),
				"pending_rows", a.stats.pendingRows.Load())
		}
	}
}
