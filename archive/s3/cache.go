package s3

import (
	"container/list"
	"sync"
)

// cacheBytes bounds what of immutable objects is kept: the segments of some million extents, or 500 blocks.
const cacheBytes = 32 << 20

// cache keeps the most recently used values, about cacheBytes of them. For any goroutine.
type cache struct {
	mu    sync.Mutex
	items map[any]*list.Element
	order list.List // of *cached, most recently used first
	size  int
}

type cached struct {
	key, value any
	size       int
}

func (c *cache) get(key any) (value any, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).value, true
}

func (c *cache) add(key, value any, size int) {
	if size > cacheBytes/4 {
		return // one giant would drive all others out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items == nil {
		c.items = map[any]*list.Element{}
	}
	if _, ok := c.items[key]; ok {
		return
	}
	c.items[key] = c.order.PushFront(&cached{key: key, value: value, size: size})
	for c.size += size; c.size > cacheBytes; {
		last := c.order.Back()
		old := c.order.Remove(last).(*cached)
		delete(c.items, old.key)
		c.size -= old.size
	}
}
