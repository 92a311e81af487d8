package sim

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
	c.events.push(event{at: max(t, c.now), seq: c.seq, run: f})
}

// after has f run d from now.
func (c *clock) after(d int64, f func()) { c.at(c.now+d, f) }

// next runs the next event that is due by until. False: there is none, and the time is until.
func (c *clock) next(until int64) bool {
	if len(c.events) == 0 || c.events[0].at > until {
		c.now = until
		return false
	}
	e := c.events.pop()
	c.now = e.at
	e.run()
	return true
}

// eventHeap is a binary heap, the earliest event first. It is not container/heap's, which would put each event into an
// interface: a run has a million.
type eventHeap []event

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.seq < other.seq
}

func (h *eventHeap) push(e event) {
	*h = append(*h, e)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&a[up]) {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = e
}

func (h *eventHeap) pop() event {
	a := *h
	first, last := a[0], a[len(a)-1]
	a[len(a)-1] = event{}
	a = a[:len(a)-1]
	*h = a
	if len(a) == 0 {
		return first
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(a) {
			break
		}
		if down+1 < len(a) && a[down+1].before(&a[down]) {
			down++
		}
		if !a[down].before(&last) {
			break
		}
		a[i] = a[down]
		i = down
	}
	a[i] = last
	return first
}
