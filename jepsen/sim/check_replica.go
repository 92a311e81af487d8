package sim

import (
	"fastpaca/shard"
)

// startChecks compares replicas with the model now and then.
func (w *World) startChecks() {
	var check func()
	check = func() {
		w.checkReplicas(false)
		w.after(100*millisecond, check)
	}
	w.after(100*millisecond, check)
}

// checkReplicas compares what every process has of every context with the model: what it has not seen yet, or all.
func (w *World) checkReplicas(all bool) {
	var v shard.View
	for _, m := range w.machines {
		if !m.up() {
			continue
		}
		for i, ctx := range w.model.contexts {
			c, code := m.node.Replica(ctx.id)
			if code != shard.CodeOK {
				continue
			}
			c.View(&v)
			seen := &m.verified[i]
			if seen.ctx != c || all { // the first time, or a snapshot has replaced the machine
				*seen = verified{ctx: c}
			}
			if err := ctx.check(m.node, &v, seen.seq+1); err != nil {
				w.violate("replica on %s: %v", m, err)
				return
			}
			seen.seq = v.Last
		}
		var s shard.Stats
		m.node.Stats(&s)
		if s.InvalidMessages > 0 {
			w.violate("%s was told what no correct node says", m)
		}
		if s.Diverged > 0 {
			w.violate("%s stopped a group: its history and another node's contradict one another", m)
		}
		if s.InflightBytes < 0 || s.InflightBytes > inflightBytes {
			w.violate("%s has %d bytes of commands under way, its limit is %d", m, s.InflightBytes, inflightBytes)
		}
	}
}
