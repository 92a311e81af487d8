package main

import (
	"sync"
	"time"
)

const (
	hiccupEvery = 50 * time.Millisecond
	hiccupMin   = 500 * time.Millisecond // shorter ones matter to no bound
)

// hiccups are times at which this process was due and did not run, because the machine is overloaded or was suspended. Servers cannot
// be blamed for silence then.
type hiccups struct {
	mu   sync.Mutex
	list []hiccup
}

type hiccup struct{ at, late int64 } // ns since the run began; ns

// watch begins to note hiccups, until the function that it returns is called.
func (l *clients) watch() (stop func()) {
	done := make(chan struct{})
	go func() {
		for last := l.now(); ; {
			select {
			case <-done:
				return
			case <-time.After(hiccupEvery):
			}
			now := l.now()
			if late := now - last - int64(hiccupEvery); late > int64(hiccupMin) {
				l.hiccups.mu.Lock()
				l.hiccups.list = append(l.hiccups.list, hiccup{last, late})
				l.hiccups.mu.Unlock()
			}
			last = now
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}

// hiccupReach is how far from a fault a hiccup still stretches its silence.
const hiccupReach = int64(10 * time.Second)

// blame adds to each period the hiccups in and around it, and returns all together.
func (l *clients) blame(periods []period) (all int64) {
	l.hiccups.mu.Lock()
	defer l.hiccups.mu.Unlock()
	for _, h := range l.hiccups.list {
		all += h.late
		for i := range periods {
			if p := &periods[i]; h.at+h.late > p.Start-hiccupReach && h.at < p.End+hiccupReach {
				p.Hiccup += h.late
			}
		}
	}
	return all
}
