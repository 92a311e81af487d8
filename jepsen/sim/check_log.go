package sim

import (
	"fmt"

	"fastpaca/raft"
)

// truth is what the whole world knows of one group: the entries that were ever applied anywhere.
type truth struct {
	id      uint32
	entries []decided // index 1 is entries[0]
	wire    *wireChecks
	acked   uint64 // highest index whose command was acknowledged to a client
	applied map[uint64]uint64
	conf    raft.Conf // newest committed
}

// decided is a committed entry.
type decided struct {
	term, hash uint64
	maxTerm    uint64 // no leader of a later term was known when it was first applied: all of those must have it
}

func newTruth(id uint32, conf raft.Conf) *truth {
	return &truth{id: id, wire: newWireChecks(), applied: map[uint64]uint64{}, conf: conf}
}

// applied is told of every entry that a node applies, in its order.
func (w *World) applied(m *machine, group uint32, e *raft.Entry) {
	g := w.group(group)
	hash := hashEntry(e)
	n := uint64(len(g.entries))
	switch {
	case e.Index > n+1:
		w.violate("group %d: %s applies entry %d, but only %d were ever committed", group, m, e.Index, n)
		return
	case e.Index == n+1:
		g.entries = append(g.entries, decided{term: e.Term, hash: hash, maxTerm: max(g.wire.maxTerm, e.Term)})
		w.count.Committed++
		w.trace("commit %d/%d.%d %x", group, e.Index, e.Term, hash)
		w.committed(g, e)
	default:
		if d := &g.entries[e.Index-1]; d.term != e.Term || d.hash != hash {
			w.violate("state-machine safety: group %d: %s applies entry %d of term %d, committed is term %d, hashes %x and %x",
				group, m, e.Index, e.Term, d.term, hash, d.hash)
			return
		}
	}
	if last, ok := m.appliedTo[group]; ok && e.Index <= last {
		w.violate("group %d: %s applies entry %d after %d", group, m, e.Index, last)
		return
	}
	m.appliedTo[group] = e.Index
}

// committed lets the model run what was committed just now.
func (w *World) committed(g *truth, e *raft.Entry) {
	switch e.Kind {
	case raft.KindConf:
		c, err := raft.DecodeConf(e.Data)
		if err != nil {
			w.violate("group %d: committed entry %d is no membership: %v", g.id, e.Index, err)
		}
		g.conf = c
		w.count.Confs++
		return
	case raft.KindNoop:
		return
	}
	if g.id >= w.firstControl {
		return // the placement group: its machine checks itself
	}
	o := w.ops[identity(e.Data)]
	if o == nil {
		w.violate("phantom: group %d: committed entry %d was never proposed: %.100q", g.id, e.Index, e.Data)
		return
	}
	if len(o.entries) > 0 && o.key == 0 {
		w.violate("group %d: op %d without a key is committed twice, at %d and %d", g.id, o.id, o.entries[0], e.Index)
		return
	}
	if o.refused && !o.unknown && o.open == 0 {
		w.violate("group %d: op %d was refused with nothing written, and is committed at %d", g.id, o.id, e.Index)
		return
	}
	a, err := o.ctx.commit(o, e.Index, timeOf(e.Data))
	if err != nil {
		w.violate("exactly once: group %d, entry %d: %v", g.id, e.Index, err)
		return
	}
	o.entries, o.answers = append(o.entries, e.Index), append(o.answers, a)
}

func (g *truth) String() string {
	return fmt.Sprintf("group %d (%d entries, %s)", g.id, len(g.entries), g.conf.String())
}
