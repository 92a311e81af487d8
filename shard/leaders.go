package shard

import "sync"

// leaders tells whoever waits that some group's known leader has changed.
type leaders struct {
	mu   sync.Mutex
	next chan struct{} // nil while nobody waits
}

func (w *leaders) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == nil {
		w.next = make(chan struct{})
	}
	return w.next
}

func (w *leaders) changed() {
	w.mu.Lock()
	if w.next != nil {
		close(w.next)
		w.next = nil
	}
	w.mu.Unlock()
}

// Leader returns the leader of group as this node knows it, and the term. 0: not known. It may have been replaced
// already. Any goroutine.
func (n *Node) Leader(group uint32) (id, term uint64) {
	g := n.group(group)
	if g == nil {
		return 0, 0
	}
	return g.leaderNow.Load(), g.termNow.Load()
}

// LeaderChanged returns a channel that is closed when the known leader of any group changes next. To miss nothing, ask
// for the channel first, then for the leaders.
func (n *Node) LeaderChanged() <-chan struct{} { return n.leaders.wait() }
