package wal

import "time"

// manual is what Step needs where otherwise goroutines and timers are: see Options.Manual.
type manual struct {
	stepping bool
	ended    bool      // the writer has done its last round
	markAt   time.Time // when the idle mark is due, if markArmed
	retryAt  time.Time // when maintenance is due without a kick; zero: not
}

// Step does, with Options.Manual, what is due now: one round of the writer (all batches that wait are
// written, synced and reported done, in order, but for what endsHere leaves to the next) and one of maintenance (segments given up, the next one made,
// snapshots asked for). The idle mark and retries are due by Options.Now. worked is false if nothing was due;
// stepping until then terminates, unless callbacks submit again and again.
//
// done functions, RequestSnapshot and Fatal are called from within; they may Submit, but not Step or Close.
// Everything is called from one goroutine at a time. The owner may drop the log at any moment without Close,
// as a crash would, also by a panic out of a callback or the file system.
func (w *WAL) Step() (worked bool) {
	if !w.o.Manual {
		panic("wal: Step of a log that runs by itself: set Options.Manual")
	}
	w.enterManual()
	worked = w.step()
	w.manual.stepping = false
	return worked
}

// enterManual guards what may not be nested. A panic leaves it closed: what was halfway done stays so.
func (w *WAL) enterManual() {
	if w.manual.stepping {
		panic("wal: Step or Close within a Step, or after one that panicked: callbacks may submit, no more; open the log again")
	}
	w.manual.stepping = true
}

func (w *WAL) step() (worked bool) {
	m := &w.manual
	if m.ended || w.failed.Load() {
		return false
	}
	if w.markArmed.Load() && !w.o.Now().Before(m.markAt) {
		w.markDue()
	}
	if w.writerDue() {
		m.ended = w.round()
		worked = true
	}
	return w.maintainIfDue() || worked
}

// writerDue says whether the writer could do something: a round waits, or has begun and got what it waited for.
func (w *WAL) writerDue() bool {
	if w.job.begun {
		return !w.pool.mustWait()
	}
	return w.job.left() || w.q.due()
}

func (w *WAL) maintainIfDue() bool {
	m := &w.manual
	tick := !m.retryAt.IsZero() && !w.o.Now().Before(m.retryAt)
	select {
	case <-w.kick:
		tick = false // as in maintain, where a kick puts the timer off
	default:
		if !tick {
			return false
		}
	}
	if tick {
		m.retryAt = time.Time{}
	}
	if w.maintainOnce(tick) {
		m.retryAt = w.o.Now().Add(w.o.RetryEvery)
	}
	return true
}

// finishManually runs the writer to its last round. A spare that it waits for is made; if that fails for
// want of space, the writer, closing, gives up.
func (w *WAL) finishManually() {
	for !w.manual.ended {
		w.manual.ended = w.round()
		if w.job.begun {
			w.prepare()
		}
	}
	w.manual.stepping = false
	close(w.stop)
}
