package shard

import "sync"

// worklist is a queue of jobs for one background goroutine, or for whoever steps it in manual mode. Its owner bounds
// what is pushed.
type worklist[T any] struct {
	mu   sync.Mutex
	jobs []T
	wake chan struct{}
}

func (w *worklist[T]) init() { w.wake = make(chan struct{}, 1) }

func (w *worklist[T]) push(job T) {
	w.mu.Lock()
	w.jobs = append(w.jobs, job)
	w.mu.Unlock()
	w.signal()
}

func (w *worklist[T]) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worklist[T]) pop() (job T, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.jobs) == 0 {
		return job, false
	}
	job = w.jobs[0]
	var zero T
	w.jobs[0] = zero
	w.jobs = w.jobs[1:]
	return job, true
}

// run works the list off until stop is closed.
func (w *worklist[T]) run(step func() bool, stop, done chan struct{}) {
	defer close(done)
	for {
		for step() {
			select {
			case <-stop:
				return
			default:
			}
		}
		select {
		case <-w.wake:
		case <-stop:
			return
		}
	}
}
