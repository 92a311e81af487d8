package shard

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

// abandon answers every request that was proposed in a term before limit: this node does not lead that term any more, so
// that nobody here will see to it that the entry commits. It may commit all the same. The slots stay, with what they
// hold of the budget, but for those at the front whose entries are on disk up to stable: what is left of them is in the
// log's memory only, and goes when the next leader's log is here, whenever that is.
func (p *pending) abandon(limit, stable uint64, unknown func(*Request), release func(bytes int)) {
	for i := range p.size {
		x := p.at(i)
		if x.term < limit && x.req != nil {
			unknown(x.req)
			x.req = nil
		}
	}
	for p.size > 0 && p.at(0).term < limit && p.at(0).index <= stable {
		release(p.at(0).bytes)
		p.pop()
	}
}
