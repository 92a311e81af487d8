package shard

// ListMax bounds the contexts of one List: those that are on disk only are read for it, a thousand in some ten
// milliseconds.
const ListMax = 1000

// List appends to dst the contexts of a shard in the order of their creation, from the one with place from (0 is the first)
// on, at most limit and at most ListMax of them, tombstoned ones included. more says that others follow. A place is a
// context's for ever and on every replica: contexts are never removed, and equal logs make them in equal order. So a walk
// that goes on at the place behind the last one seen misses nothing that was there when it began, whoever leads by then.
//
// It shows every context whose creation was acknowledged before the call. Codes as for Read.
func (n *Node) List(group, from uint32, limit int, dst []*Context) (out []*Context, more bool, code Code) {
	g := n.group(group)
	if g == nil || group >= Shards {
		return dst, false, CodeUnavailable
	}
	index, code := n.Barrier(group)
	if code != CodeOK {
		return dst, false, code
	}
	// The leader has applied what the barrier asks for, and what the loop runs now it runs after that; unless the group has
	// been given away since, and its state is gone (Forget).
	var m *Machine
	err := g.loop.call(func() {
		if g.applied < index {
			code = CodeNotLeader
			return
		}
		m = g.machine
	})
	if err != nil {
		return dst, false, CodeShuttingDown
	}
	if code != CodeOK {
		return dst, false, code
	}
	began := len(dst)
	if dst, more, err = m.list(from, min(limit, ListMax), dst); err != nil {
		return dst[:began], false, n.unread(g, err)
	}
	return dst, more, CodeOK
}

// list is for any goroutine. Contexts that are on disk only are read from there, and stay there.
func (m *Machine) list(from uint32, limit int, dst []*Context) (_ []*Context, more bool, err error) {
	total := m.contexts.len()
	r := acquireRecords()
	defer releaseRecords(r)
	i := min(int(from), total)
	for end := i + min(max(limit, 0), total-i); i < end; i++ {
		c := m.contexts.live(uint32(i)).Load()
		if c == nil {
			if c, err = m.fetchBy(r, uint32(i), false); err != nil {
				return dst, false, err
			}
		}
		dst = append(dst, c)
	}
	return dst, i < total, nil
}
