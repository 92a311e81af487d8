package sim

import "container/heap"

// Virtual time is in microseconds since the start of the run.
const (
	millisecond int64 = 1000
	second            = 1000 * millisecond
)

// event is something that happens at a moment of virtual time. Events of the same moment happen in the order in which
// they were made.
type event struct {
	at  int64
	seq uint64
	run func()
}

// clock is the queue of what is going to happen.
type clock struct {
	now    int64
	seq    uint64
	events eventHeap
}

// at has f run at time t, or now if that has passed.
func (c *clock) at(t int64, f func()) {
	c.seq++
	heap.Push(&c.events, event{at: max(t, c.now), seq: c.seq, run: f})
}

// after has f run d from now.
func (c *clock) after(d int64, f func()) { c.at(c.now+d, f) }

// next runs the next event that is due by until. False: there is none, and the time is until.
func (c *clock) next(until int64) bool {
	if len(c.events) == 0 || c.events[0].at > until {
		c.now = until
		return false
	}
	e := heap.Pop(&c.events).(event)
	c.now = e.at
	e.run()
	return true
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, k int) bool {
	return h[i].at < h[k].at || h[i].at == h[k].at && h[i].seq < h[k].seq
}
func (h eventHeap) Swap(i, k int) { h[i], h[k] = h[k], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}
