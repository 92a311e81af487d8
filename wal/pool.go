package wal

import (
	"errors"
	"sync"
)

// pool holds the segments to be: pre-written files without an identity. Maintenance puts, the writer takes.
type pool struct {
	mu      sync.Mutex
	cond    sync.Cond // of everything below
	free    []spare
	noSpace bool // the last attempt to make one failed for lack of space
	closing bool // nobody waits for space any more
	aborted bool // nobody waits for anything any more
	waiting bool // the writer stands still until there is one
	manual  bool // take never blocks
}

// errNoSpare: with Options.Manual, there is no spare yet. What asked for one is to be called again.
var errNoSpare = errors.New("wal: no spare yet")

// spare is a pre-written file under a spare's name.
type spare struct {
	file File
	path string
	size int64
}

func (p *pool) init(manual bool) { p.cond.L, p.manual = &p.mu, manual }

// take waits for a spare. The error is ErrNoSpace if there is none and there will be none: the log has
// failed, or it is closing and the disk is full. One that is being made is waited for also while closing.
func (p *pool) take() (s spare, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mustWaitLocked() {
		p.waiting = true
		if p.manual {
			return spare{}, errNoSpare
		}
		p.cond.Wait()
	}
	p.waiting = false
	if len(p.free) == 0 {
		return spare{}, ErrNoSpace
	}
	s = p.free[0]
	p.free = append(p.free[:0], p.free[1:]...)
	return s, nil
}

func (p *pool) mustWaitLocked() bool {
	return len(p.free) == 0 && !p.aborted && !(p.closing && p.noSpace)
}

// mustWait says whether take would wait.
func (p *pool) mustWait() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mustWaitLocked()
}

func (p *pool) put(s spare) {
	p.mu.Lock()
	p.free = append(p.free, s)
	p.noSpace = false
	p.cond.Broadcast()
	p.mu.Unlock()
}

func (p *pool) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}

func (p *pool) setNoSpace(v bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = p.noSpace != v
	p.noSpace = v
	p.cond.Broadcast()
	return changed
}

func (p *pool) urgent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

func (p *pool) close() {
	p.mu.Lock()
	p.closing = true
	p.cond.Broadcast()
	p.mu.Unlock()
}

func (p *pool) abort() {
	p.mu.Lock()
	p.aborted, p.closing = true, true
	p.cond.Broadcast()
	p.mu.Unlock()
}

// drain hands out what is left, for closing the files. Call after writer and maintenance have ended.
func (p *pool) drain() []spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := p.free
	p.free = nil
	return free
}
