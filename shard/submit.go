package shard

// Submission is a request and the group that it is for.
type Submission struct {
	Group   uint32
	Request *Request
}

// SubmitAll is Submit for several requests at once: a loop that sleeps is woken once for all of them, and not by the first
// while the others are still to come. Requests for one group keep their order, but for those whose context is on disk only:
// neither the caller nor a loop waits for the disk then, each of them has a goroutine that does. subs is not kept.
func (n *Node) SubmitAll(subs []Submission) {
	for i := range subs {
		if s := &subs[i]; n.asleep(s) {
			n.wake(*s)
			s.Request = nil
		}
	}
	if len(subs) == 1 {
		if subs[0].Request != nil {
			n.Submit(subs[0].Group, subs[0].Request) // which may be alone on the node
		}
		return
	}
	for i := range subs {
		r := subs[i].Request
		if r == nil {
			continue
		}
		r.then, r.group = r.Done, n.group(subs[i].Group)
		code := CodeUnavailable
		if r.group != nil {
			code, _ = n.admit(len(r.Cmd), subs[i].Group == PlacementGroup || frees(r.Cmd))
		}
		if code != CodeOK {
			r.Result.Code, r.group = code, nil
		}
	}
	for _, l := range n.loops {
		if l.box.requestAll(l, subs) {
			l.box.signal()
		}
	}
	// Last: Done takes a request back, and what loops took may be back already.
	for i := range subs {
		if r := subs[i].Request; r != nil {
			r.Done(r)
		}
	}
}

// wakesMax bounds the goroutines of SubmitAll, each with a few hundred KiB to read a context with. What comes on top is loaded by
// the loops.
const wakesMax = 256

// wake is Submit on a goroutine of its own.
func (n *Node) wake(s Submission) {
	n.wakes.Add(1)
	go func() {
		defer n.wakes.Add(-1)
		n.Submit(s.Group, s.Request)
	}()
}

// asleep says whether the context of s is on disk only, where that is this node's business and there is a goroutine left to wait
// for it.
func (n *Node) asleep(s *Submission) bool {
	g := n.group(s.Group)
	if g == nil || n.opt.Manual || n.wakes.Load() >= wakesMax {
		return false
	}
	m, id := g.mayBeParked(s.Request.Cmd)
	if id == nil {
		return false
	}
	_, asleep := m.asleep(hash64(id))
	return asleep
}

// requestAll leaves l's requests among subs, and forgets them there: they are the loop's. Those that it does not take stay,
// with the code to answer them with. first is as for request.
func (b *mailbox) requestAll(l *loop, subs []Submission) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first = b.in.empty()
	for i := range subs {
		r := subs[i].Request
		if r == nil || r.group == nil || r.group.loop != l {
			continue
		}
		code := CodeOK
		switch {
		case b.closed:
			code = CodeShuttingDown
		case len(b.in.requests) >= mailboxMax:
			code = CodeOverloaded
		}
		if code != CodeOK {
			l.node.inflight.Add(-int64(len(r.Cmd)))
			r.Result.Code, r.group = code, nil
			continue
		}
		b.in.requests = append(b.in.requests, r)
		subs[i].Request = nil
	}
	return first && !b.in.empty()
}
