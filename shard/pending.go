package shard

import "math"

// pending is the queue of proposals of one group that wait for their entry to be applied, in log order.
// It is a ring buffer: no allocation once it has grown to the group's usual depth.
type pending struct {
	buf        []proposal
	head, size int
}

// proposal ties a request to the log position that was given to it. The request is nil once its client
// has been answered (its time was up); the slot, and the bytes it holds of the node's budget, stay until
// the entry is applied or known to be lost: a disk that hangs must not be given ever more to write.
type proposal struct {
	index, term uint64
	bytes       int
	at          int64 // when it was proposed, in nanoseconds of loop.nanos
	req         *Request
}

func (p *pending) push(x proposal) {
	if p.size == len(p.buf) {
		p.grow()
	}
	p.buf[(p.head+p.size)&(len(p.buf)-1)] = x
	p.size++
}

func (p *pending) grow() {
	bigger := make([]proposal, max(8, 2*len(p.buf)))
	for i := range p.size {
		bigger[i] = *p.at(i)
	}
	p.buf, p.head = bigger, 0
}

// at returns the i-th waiting proposal, the oldest being 0.
func (p *pending) at(i int) *proposal { return &p.buf[(p.head+i)&(len(p.buf)-1)] }

func (p *pending) pop() {
	*p.at(0) = proposal{}
	p.head = (p.head + 1) & (len(p.buf) - 1)
	p.size--
}

// take removes and returns the proposal at (index, term), if it is one of ours. Proposals before it lost
// their place in the log to another leader's entries: lost is called for each, they were not written. So
// did those of earlier terms behind it: terms never fall along the log.
func (p *pending) take(index, term uint64, lost func(proposal)) (proposal, bool) {
	for p.size > 0 {
		front := *p.at(0)
		if front.index > index && front.term >= term {
			break
		}
		p.pop()
		if front.index == index && front.term == term {
			return front, true
		}
		lost(front)
	}
	return proposal{}, false
}

// expire answers every request whose deadline has passed. Requests are pushed in the order of their
// deadlines, so that it stops at the first that still has time.
func (p *pending) expire(now int64, late func(*Request)) {
	for i := range p.size {
		x := p.at(i)
		if x.req == nil {
			continue
		}
		if x.req.deadline > now {
			return
		}
		late(x.req)
		x.req = nil
	}
}

// hurry bounds by deadline the wait of every request that was proposed in a term before limit. The order of deadlines
// along the queue stays as it is.
func (p *pending) hurry(limit uint64, deadline int64) {
	for i := range p.size {
		if x := p.at(i); x.term < limit && x.req != nil {
			x.req.deadline = min(x.req.deadline, deadline)
		}
	}
}

// abandon answers every request: nobody here will hear what became of it.
func (p *pending) abandon(unknown func(*Request), release func(bytes int)) {
	for i := range p.size {
		if x := p.at(i); x.req != nil {
			unknown(x.req)
			x.req = nil
		}
	}
	p.forget(math.MaxUint64, release)
}

// forget gives up the slots at the front whose clients have their answer and whose entries are on disk, which is up to
// stable: for a node that does not lead, and so does not know whether it will ever hear of them. What is not on disk yet still
// costs what the budget is there to bound.
func (p *pending) forget(stable uint64, release func(bytes int)) {
	for p.size > 0 && p.at(0).req == nil && p.at(0).index <= stable {
		release(p.at(0).bytes)
		p.pop()
	}
}
