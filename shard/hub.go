package shard

import "sync"

// hub wakes the streams of contexts that have changed, so that a loop spends the same few nanoseconds on
// a context with one subscriber and on one with 512. A context waits in the hub at most once, so that its
// queue is never longer than the number of contexts with subscribers.
type hub struct {
	mu      sync.Mutex
	waiting []*Context
	queued  map[*Context]struct{}
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

func newHub() *hub {
	return &hub{queued: map[*Context]struct{}{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// changed notes that c has something new for its subscribers. Called by loops; never blocks on one.
func (h *hub) changed(c *Context) {
	h.mu.Lock()
	_, waits := h.queued[c]
	if !waits {
		h.queued[c] = struct{}{}
		h.waiting = append(h.waiting, c)
	}
	h.mu.Unlock()
	if !waits {
		h.signal()
	}
}

func (h *hub) run() {
	defer close(h.done)
	var batch []*Context
	for range h.wake {
		h.mu.Lock()
		batch, h.waiting = h.waiting, batch[:0]
		// Forget them before waking anyone: a change from here on queues the context again, a change
		// before is seen by the subscribers that are about to be woken.
		clear(h.queued)
		closed := h.closed
		h.mu.Unlock()
		for _, c := range batch {
			c.WakeSubscribers()
		}
		clear(batch)
		if closed {
			return
		}
	}
}

// step does what run does, once. False: nobody waits. For nodes without goroutines.
func (h *hub) step() bool {
	h.mu.Lock()
	batch := h.waiting
	h.waiting = nil
	clear(h.queued)
	h.mu.Unlock()
	for _, c := range batch {
		c.WakeSubscribers()
	}
	return len(batch) > 0
}

func (h *hub) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.signal()
	<-h.done
}
