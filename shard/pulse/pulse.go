// Package pulse lets the periodic work of a process begin together.
//
// A node has half a dozen things to do every 50 ms to 1 s. Each with a ticker of its own, they wake an idle process at as many
// moments, and waking it costs more than what it then does. Here whatever is due every d is due at the multiples of d since the
// process started, so that work with periods that divide one another shares its wake-ups.
package pulse

import "time"

// began is of the process, as its wake-ups are: nodes of one process (tests) share it.
var began = time.Now()

// Ticker is a time.Ticker whose ticks are at the multiples of its period. Whoever takes a tick calls Next before anything
// else. As with time's, one tick is kept for who comes late, and no more.
type Ticker struct {
	*time.Timer
	every time.Duration
	due   time.Duration // the tick to come, since began
}

// NewTicker returns a Ticker of period d, which is positive, to be stopped like time's.
func NewTicker(d time.Duration) *Ticker {
	now := time.Since(began)
	due := (now/d + 1) * d
	return &Ticker{time.NewTimer(due - now), d, due}
}

// Next sets the time of the next tick.
func (t *Ticker) Next() {
	now := time.Since(began)
	if t.due += t.every; t.due <= now {
		t.due = (now/t.every + 1) * t.every // what was missed is not made up for
	}
	t.Reset(t.due - now)
}

// Until is how long it is to the next multiple of d since the process started: at most d, and never 0.
func Until(d time.Duration) time.Duration { return d - time.Since(began)%d }
