package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// progress counts what a transfer has done, and shows it on a terminal. Its counters may be used by any goroutine.
type progress struct {
	contexts atomic.Uint64
	messages atomic.Uint64
	done     atomic.Int64  // of total, in whatever unit
	total    atomic.Int64  // 0: unknown
	before   atomic.Uint64 // messages of an earlier run, which say nothing about the rate

	verb  string
	w     io.Writer
	shown bool // w is a terminal
	began time.Time
	stop  chan struct{}
	group sync.WaitGroup
	mu    sync.Mutex // w
}

const (
	progressEvery = 200 * time.Millisecond
	progressWidth = 30
)

func newProgress(w io.Writer, verb string) *progress {
	return &progress{verb: verb, w: w, shown: isTerminal(w), began: time.Now(), stop: make(chan struct{})}
}

// start shows the bar until close.
func (p *progress) start() {
	if !p.shown {
		return
	}
	p.group.Add(1)
	go func() {
		defer p.group.Done()
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				p.mu.Lock()
				fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(time.Since(p.began)))
				p.mu.Unlock()
			case <-p.stop:
				return
			}
		}
	}()
}

// close takes the bar away.
func (p *progress) close() {
	close(p.stop)
	p.group.Wait()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// say prints a line, above the bar if there is one.
func (p *progress) say(msg string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, "fastpaca %s: %s\n", p.verb, msg)
}

// line is the bar after so long.
func (p *progress) line(after time.Duration) string {
	var b strings.Builder
	if total := p.total.Load(); total > 0 {
		share := min(max(float64(p.done.Load())/float64(total), 0), 1)
		full := int(share * progressWidth)
		fmt.Fprintf(&b, "[%s%s] %3.0f%%  ", strings.Repeat("#", full), strings.Repeat(".", progressWidth-full), 100*share)
	}
	messages := p.messages.Load()
	rate := float64(messages-min(p.before.Load(), messages)) / max(after.Seconds(), 0.001)
	fmt.Fprintf(&b, "%d contexts, %d messages, %.0f messages/s", p.contexts.Load(), messages, rate)
	return b.String()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
