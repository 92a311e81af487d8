package wal

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Handler receives the recovered log once, before Open returns, from one goroutine.
//
// First comes one Snapshot for each group that has one: its final truncation point. Then hard states and
// entries, in the order in which they were written, all above those points. At any moment of this, what a
// group has been told is a state it was once in, so that entries up to its commit index may be applied at
// once. Data and meta stay valid for ever.
//
// A commit index may be ahead of the last entry (the rest was torn off); whoever uses it takes the lesser.
type Handler interface {
	Snapshot(group uint32, index, term uint64, meta []byte)
	State(group uint32, hs HardState)
	// Entry delivers the next entry, or one at or below the previous index, which replaces the log from
	// there on.
	Entry(group uint32, commit uint64, e Entry)
}

// Releaser is what a Handler may be, too. Without it, the data of entries stays valid for ever, and recovery reads
// every buffer's worth of log into new memory. With it, done is handed over when all entries of a buffer have been
// delivered; calling it, once and from any goroutine, says that none of their data is used any more.
type Releaser interface {
	Release(done func())
}

// Forgetter is what a Handler may be, too. Forgotten is called where the log says so (Batch.Forget), in order with
// State and Entry. No entry of the group came before, the Snapshot that did is a later one, and so is every commit
// index heard of: who does not listen misses nothing of what the log holds. It is heard as long as the record is in
// the log, which is until it is given up with its segment.
type Forgetter interface {
	Forgotten(group uint32)
}

// ScaleSoftLimit raises the soft limit to bytes while that is above Options.SoftLimitBytes, up to half of the hard
// limit. A log that may grow with the state it leads to asks for snapshots once per doubling of the state; one that may
// not asks at every so many bytes, and each time the whole state is written again.
func (w *WAL) ScaleSoftLimit(bytes int64) { w.softScale.Store(bytes) }

func (w *WAL) softLimit() int64 {
	return max(w.o.SoftLimitBytes, min(w.softScale.Load(), w.o.HardLimitBytes/2))
}

// WAL is an open log. See doc.go.
type WAL struct {
	o Options

	softScale atomic.Int64 // see ScaleSoftLimit

	q       queue
	act     active // the writer's
	tab     table
	pool    pool
	durable atomic.Uint64 // position up to which everything is on disk
	needed  atomic.Uint64 // segment id below which nothing is needed, durably
	full    atomic.Bool
	failed  atomic.Bool
	failErr atomic.Pointer[error]

	markTimer *time.Timer
	markArmed atomic.Bool
	markSyncs uint64 // syncs until the timer was set; whoever sets it or hears of it has this

	units struct {
		sync.Mutex
		ready []*unit
	}

	// Maintenance's own.
	kick      chan struct{}
	asked     map[uint32]int
	evaluated uint64
	spareSeq  uint64
	activeID  atomic.Uint64 // set by the writer

	// The writer's own.
	gather   gather
	arrivals arrivals
	job      job
	gaveUp   bool // on a batch: nothing after it may be done either, it may count on it

	manual manual

	count  counters
	replay replayed

	stop         chan struct{}
	writerDone   chan struct{}
	maintainDone chan struct{}
	closeOnce    sync.Once
	closeErr     error
}

// Open recovers the log in o.Dir, hands it to h (which may be nil), and starts a new segment for writing.
//
// Errors: *CorruptionError if durable bytes cannot be read back; anything else is the operating system's
// or a bad option. After an error nothing runs and no file is open.
func Open(o Options, h Handler) (*WAL, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	w := &WAL{
		o: o, kick: make(chan struct{}, 1), asked: map[uint32]int{},
		stop: make(chan struct{}), writerDone: make(chan struct{}), maintainDone: make(chan struct{}),
	}
	w.q.init()
	w.pool.init(o.Manual)
	w.tab.groups = make([]group, o.Groups)
	if err := w.recover(h); err != nil {
		for _, sp := range w.pool.drain() {
			_ = sp.file.Close() // nothing was written to it
		}
		if w.act.file != nil {
			_ = w.act.file.Close() // the error above is the one to tell
		}
		return nil, err
	}
	w.kickMaintenance()
	if o.Manual {
		return w, nil
	}
	w.markTimer = time.AfterFunc(time.Hour, w.markDue)
	w.markTimer.Stop()
	go w.run()
	go w.maintain()
	return w, nil
}

// Submit gives a batch to the log, to be made durable after all batches submitted before it. It never
// blocks; how much may wait is for the caller to bound (see Full). After Close has begun it does nothing,
// and the batch is never reported done.
func (w *WAL) Submit(b *Batch) { w.q.submit(b, w.o.Now) }

// Full reports that client entries should be refused: the disk is full or the log at its hard limit, and
// what room is left is for batches under way (up to SegmentBytes/2) and raft's own records. It clears by
// itself.
func (w *WAL) Full() bool { return w.full.Load() }

// Stalled returns how long the oldest batch that is not durable has waited. A disk that hangs shows here.
func (w *WAL) Stalled() time.Duration { return w.q.stalled(w.o.Now) }

// Close writes and syncs what was submitted, reports it done, and closes the log. ErrNoSpace means that
// some of it found no room; other errors are what Fatal heard. Call it once no Submit can follow.
func (w *WAL) Close() error {
	w.closeOnce.Do(w.shutdown)
	return w.closeErr
}

func (w *WAL) shutdown() {
	if w.o.Manual {
		w.enterManual()
	}
	w.q.ask(func(q *queue) { q.closing = true })
	w.pool.close()
	if w.o.Manual {
		w.finishManually()
	} else {
		<-w.writerDone
		close(w.stop)
		<-w.maintainDone
		w.markTimer.Stop()
	}
	if err := w.failErr.Load(); err != nil {
		w.closeErr = *err
	}
	for _, sp := range w.pool.drain() {
		_ = sp.file.Close() // a spare holds nothing
	}
	if w.act.file != nil {
		if err := w.act.file.Close(); err != nil && w.closeErr == nil {
			w.closeErr = fmt.Errorf("wal: close of %s: %w", w.act.path, err)
		}
	}
}
