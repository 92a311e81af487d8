package cluster

import (
	"fastpaca/cluster/place"
	"fastpaca/shard"
)

// httpd.Store: what is served on this node.

// Do carries r.Cmd through the group's log; see shard.Node.
func (n *Node) Do(group uint32, r *shard.Request) {
	if s := n.Shard(); s != nil {
		s.Do(group, r)
		return
	}
	r.Result = shard.Result{Code: shard.CodeUnavailable}
}

// SubmitAll carries several requests through their groups' logs; see shard.Node.
func (n *Node) SubmitAll(subs []shard.Submission) {
	if s := n.Shard(); s != nil {
		s.SubmitAll(subs)
		return
	}
	for i := range subs {
		r := subs[i].Request
		r.Result = shard.Result{Code: shard.CodeUnavailable}
		r.Done(r)
	}
}

// Read fills v with a linearizable view of the context; see shard.Node.
func (n *Node) Read(id []byte, v *shard.View) shard.Code {
	if s := n.Shard(); s != nil {
		return s.Read(id, v)
	}
	return shard.CodeUnavailable
}

// AppendHistory appends messages that have left this node's memory; see shard.Node.
func (n *Node) AppendHistory(dst, id []byte, from, to uint64, maxBytes int) ([]byte, uint64, error) {
	if s := n.Shard(); s != nil {
		return s.AppendHistory(dst, id, from, to, maxBytes)
	}
	return dst, from, nil
}

// List appends contexts of one shard in the order of their creation; see shard.Node.
func (n *Node) List(group, from uint32, limit int, dst []*shard.Context) ([]*shard.Context, bool, shard.Code) {
	if s := n.Shard(); s != nil {
		return s.List(group, from, limit, dst)
	}
	return dst, false, shard.CodeUnavailable
}

// Context returns the live context for streaming, linearizably; see shard.Node.
func (n *Node) Context(id []byte) (*shard.Context, shard.Code) {
	if s := n.Shard(); s != nil {
		return s.Context(id)
	}
	return nil, shard.CodeUnavailable
}

// Ready says whether this node can serve every shard, itself or through others, and if not, why: raft_sync while it has no
// cluster or is not part of it yet, removed when the cluster has no place for it any more, or shard.Node's reasons.
func (n *Node) Ready() (bool, string) {
	m := n.member.Load()
	switch {
	case n.removed.Load():
		return false, "removed"
	case m == nil:
		return false, "raft_sync"
	}
	pm := m.machine.picture()
	if pm.Node(m.id) == nil {
		if pm.Departed(m.id) {
			return false, "removed"
		}
		return false, "raft_sync"
	}
	return m.store.ReadyFor(func(group uint32) bool { return group == place.Group || wanted(pm, group, m.id) })
}

// Status reports every shard; see shard.Node. It has no groups while the node has no cluster.
func (n *Node) Status() shard.Status {
	if s := n.Shard(); s != nil {
		return s.Status()
	}
	return shard.Status{}
}

// Stats fills st; see shard.Node.
func (n *Node) Stats(st *shard.Stats) {
	*st = shard.Stats{}
	if s := n.Shard(); s != nil {
		s.Stats(st)
	}
}
