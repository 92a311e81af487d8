package shard

import (
	"slices"
	"sync/atomic"
)

// subscribers are the wake channels of a context's streams: copy on write, so that waking takes no lock
// and the writer of the shard looks at one pointer only, however many there are.
type subscribers struct {
	list atomic.Pointer[[]chan<- struct{}]
}

// Subscribe makes WakeSubscribers signal wake, which must have a buffer of one; a signal that finds it
// full is dropped, since the one in it says the same. The subscriber must look at the context once after
// subscribing: what was published before is not signalled. Any goroutine. O(subscribers).
func (c *Context) Subscribe(wake chan<- struct{}) {
	for {
		old := c.subs.list.Load()
		var list []chan<- struct{}
		if old != nil {
			list = slices.Clone(*old)
		}
		list = append(list, wake)
		if c.subs.list.CompareAndSwap(old, &list) {
			c.watch(1)
			return
		}
	}
}

// Unsubscribe undoes one Subscribe. A wake that is under way may still be signalled once.
func (c *Context) Unsubscribe(wake chan<- struct{}) {
	for {
		old := c.subs.list.Load()
		if old == nil {
			return
		}
		i := slices.Index(*old, wake)
		if i < 0 {
			return
		}
		var next *[]chan<- struct{}
		if len(*old) > 1 {
			list := slices.Delete(slices.Clone(*old), i, i+1)
			next = &list
		}
		if c.subs.list.CompareAndSwap(old, next) {
			c.watch(-1)
			return
		}
	}
}

// watch counts a subscription in, or out.
func (c *Context) watch(n int32) {
	if c.watched != nil {
		c.watched.Add(n)
	}
}

// HasSubscribers costs one atomic load.
func (c *Context) HasSubscribers() bool { return c.subs.list.Load() != nil }

// WakeSubscribers signals every subscriber without blocking. The runtime's hub calls it, not Apply.
func (c *Context) WakeSubscribers() {
	list := c.subs.list.Load()
	if list == nil {
		return
	}
	for _, wake := range *list {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
