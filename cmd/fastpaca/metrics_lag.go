package main

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"fastpaca/cluster"
	"fastpaca/shard"
)

// lagWait bounds how long a scrape waits for the shards' loops. A disk that hangs may hold one up, and just then the
// metrics are wanted: they show what was known before.
const lagWait = 500 * time.Millisecond

// peerLag is how far a node is behind in the groups that this node leads.
type peerLag struct {
	id      uint64
	name    string
	entries uint64
	groups  int
}

// lagSampler asks the loops, one question at a time.
type lagSampler struct {
	node *cluster.Node

	mu   sync.Mutex
	last []peerLag
	done chan struct{} // of the question under way; nil: none
}

func newLagSampler(node *cluster.Node) *lagSampler { return &lagSampler{node: node} }

// sample returns the lag of all other nodes, by name. Read-only.
func (l *lagSampler) sample() []peerLag {
	l.mu.Lock()
	if l.done == nil {
		l.done = make(chan struct{})
		go l.ask(l.done)
	}
	done := l.done
	l.mu.Unlock()
	t := time.NewTimer(lagWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// ask takes as long as the slowest loop. A node that is closed answers at once.
func (l *lagSampler) ask(done chan struct{}) {
	var lag []peerLag
	if s := l.node.Shard(); s != nil {
		s.Members(func(m *shard.MemberStatus) { lag = addLag(lag, m) })
	}
	names := l.node.Map()
	for i := range lag {
		lag[i].name = strconv.FormatUint(lag[i].id, 10)
		if names != nil {
			if n := names.Node(lag[i].id); n != nil {
				lag[i].name = n.Name
			}
		}
	}
	slices.SortFunc(lag, func(a, b peerLag) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id)) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.done = lag, nil
	close(done)
}

// addLag adds what the leader of one group knows of its members; others know nothing.
func addLag(lag []peerLag, m *shard.MemberStatus) []peerLag {
	for i := range m.Peers {
		p := &m.Peers[i]
		if p.ID == m.ID {
			continue
		}
		at := slices.IndexFunc(lag, func(x peerLag) bool { return x.id == p.ID })
		if at < 0 {
			at = len(lag)
			lag = append(lag, peerLag{id: p.ID})
		}
		lag[at].groups++
		lag[at].entries += m.Commit - min(p.Match, m.Commit)
	}
	return lag
}
