package shard

import (
	"sync"
	"time"
)

// retryAfter is the pause after a step that failed, for example on a full disk.
const retryAfter = time.Second

// background is the goroutine behind a worklist, from the start of the node to its end. In manual mode there is none, and
// whoever steps the node does its work.
type background struct {
	manual bool
	pause  bool // the step failed: not at once again. The goroutine's
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once
}

func (b *background) init(n *Node) {
	b.manual, b.stop, b.done = n.opt.Manual, make(chan struct{}), make(chan struct{})
}

// close ends the goroutine and waits for it.
func (b *background) close() {
	b.once.Do(func() { close(b.stop) })
	if !b.manual {
		<-b.done
	}
}

// wait waits, but not beyond close.
func (b *background) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.stop:
	}
}

// retrying is step with a pause behind it where it failed.
func (b *background) retrying(step func() bool) func() bool {
	return func() bool {
		worked := step()
		if b.pause {
			b.wait(retryAfter)
		}
		return worked
	}
}
