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

// Follows reports whether this node takes part in group, so that it hears who leads it. Not: a replica that is to come or was
// forgotten, of which there is nothing here yet, and one that is stopped (group_diverged). Any goroutine.
func (n *Node) Follows(group uint32) bool {
	g := n.group(group)
	return g != nil && g.member.Load()
}

// LeaderChanged returns a channel that is closed when the known leader of any group changes next. To miss nothing, ask
// for the channel first, then for the leaders.
func (n *Node) LeaderChanged() <-chan struct{} { return n.leaders.wait() }
