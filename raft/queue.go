package raft

// queue is a first-in-first-out list in one slice. The live values are buf[head:]; popped slots are
// zeroed at once, so that the garbage collector can have what they referred to. Pushing slides the
// values down when at least half of a full slice is popped, which makes pushes amortised O(1) and
// free of allocation once the slice has reached its working size.
type queue[T any] struct {
	buf  []T
	head int
}

// queueKeep is the capacity, in values, up to which an emptied queue keeps its slice. A longer one
// was made by a burst and goes back to the collector: 256 groups must not each keep their worst day.
const queueKeep = 4096

func (q *queue[T]) len() int { return len(q.buf) - q.head }

// at returns the i-th value, 0 being the oldest. The pointer is valid until the next push.
func (q *queue[T]) at(i int) *T { return &q.buf[q.head+i] }

// all returns the values, oldest first, valid until the next change.
func (q *queue[T]) all() []T { return q.buf[q.head:] }

func (q *queue[T]) push(v T) {
	if len(q.buf) == cap(q.buf) && q.head > 0 && q.head*2 >= len(q.buf) {
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	}
	q.buf = append(q.buf, v)
}

// pop drops the n oldest values.
func (q *queue[T]) pop(n int) {
	clear(q.buf[q.head : q.head+n])
	q.head += n
	q.settle()
}

// keep drops all but the n oldest values.
func (q *queue[T]) keep(n int) {
	clear(q.buf[q.head+n:])
	q.buf = q.buf[:q.head+n]
	q.settle()
}

func (q *queue[T]) settle() {
	if q.head < len(q.buf) {
		return
	}
	q.buf, q.head = q.buf[:0], 0
	if cap(q.buf) > queueKeep {
		q.buf = nil
	}
}
