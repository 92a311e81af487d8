package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Progress shows on a terminal one line that is redrawn, elsewhere one plain line for each step. Steps are weighed by
// the seconds they are expected to take, so that the bar moves evenly.
type Progress struct {
	w     io.Writer
	tty   bool
	total float64 // seconds
	start time.Time
	stop  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	done  float64 // seconds of finished steps
	now   float64 // of the current one
	since time.Time
	label string
	extra string
}

// NewProgress starts a bar over total expected seconds. Close it.
func NewProgress(w *os.File, total float64) *Progress {
	p := &Progress{w: w, tty: isTerminal(w), total: total, start: time.Now(), stop: make(chan struct{})}
	if p.tty {
		p.wg.Go(p.redraw)
	}
	return p
}

// Step begins the next step and thereby ends the one before.
func (p *Progress) Step(label string, seconds float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += p.now
	p.now, p.label, p.extra, p.since = seconds, label, "", time.Now()
	if !p.tty {
		fmt.Fprintf(p.w, "%5.1fs %3.0f%%  %s\n", time.Since(p.start).Seconds(), 100*p.share(0), label)
	}
}

// Note shows something beside the current step, on a terminal only.
func (p *Progress) Note(format string, args ...any) {
	p.mu.Lock()
	p.extra = fmt.Sprintf(format, args...)
	p.mu.Unlock()
}

// Close ends the bar and leaves an empty line's beginning.
func (p *Progress) Close() {
	close(p.stop)
	p.wg.Wait()
	if p.tty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *Progress) redraw() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			line := p.line()
			p.mu.Unlock()
			fmt.Fprint(p.w, line)
		}
	}
}

// share is how much of the whole is done, within being the part of the current step. Never 100% before the end.
func (p *Progress) share(within float64) float64 {
	if p.total <= 0 {
		return 0
	}
	return min((p.done+p.now*within)/p.total, 0.99)
}

func (p *Progress) line() string {
	within := 0.0
	if p.now > 0 {
		within = min(time.Since(p.since).Seconds()/p.now, 1)
	}
	const width = 30
	s := p.share(within)
	full := int(s * width)
	extra := p.extra
	if extra != "" {
		extra = " (" + extra + ")"
	}
	return fmt.Sprintf("\r\x1b[K[%s%s] %3.0f%% %s  %s%s", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*s,
		time.Since(p.start).Round(time.Second), p.label, extra)
}

func isTerminal(f *os.File) bool {
	var t syscall.Termios
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return e == 0
}
