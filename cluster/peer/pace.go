package peer

import (
	"context"
	"sync"
	"time"
)

// paceBurst is how much may go at once after a pause: two chunks, so that a timer that fires late costs nothing.
const paceBurst = 2 * chunkSize

// pace is a token bucket shared by all outgoing snapshots: appends that start while one is under way find the link, and
// the disks at both ends, partly idle.
type pace struct {
	perByte time.Duration // in units of 1/1024 ns, see init
	mu      sync.Mutex
	free    time.Time // when the bytes taken so far will have gone at the rate
}

// paceScale keeps fractions of a nanosecond per byte.
const paceScale = 1024

// init sets the rate in bytes per second; negative: no limit.
func (p *pace) init(rate int64) {
	if rate > 0 {
		p.perByte = max(time.Second*paceScale/time.Duration(rate), 1)
	}
}

func (p *pace) cost(n int) time.Duration { return p.perByte * time.Duration(n) / paceScale }

// reserve takes n bytes and returns how long to wait before they may go.
func (p *pace) reserve(n int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if earliest := now.Add(-p.cost(paceBurst)); p.free.Before(earliest) {
		p.free = earliest
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(p.cost(n))
	return wait
}

// take waits until n more bytes may go.
func (p *pace) take(ctx context.Context, n int, now time.Time) error {
	if p.perByte == 0 {
		return nil
	}
	wait := p.reserve(n, now)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
