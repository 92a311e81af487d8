package shard

// ListMax bounds the contexts of one List: the loop that copies their addresses serves nobody else meanwhile, and a
// thousand are copied in a microsecond.
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
	err := g.loop.call(func() {
		if g.applied < index {
			code = CodeNotLeader
			return
		}
		dst, more = g.machine.list(from, min(limit, ListMax), dst)
	})
	if err != nil {
		return dst, false, CodeShuttingDown
	}
	return dst, more, code
}

func (m *Machine) list(from uint32, limit int, dst []*Context) ([]*Context, bool) {
	rest := m.contexts[min(int(from), len(m.contexts)):]
	n := min(max(limit, 0), len(rest))
	return append(dst, rest[:n]...), n < len(rest)
}
