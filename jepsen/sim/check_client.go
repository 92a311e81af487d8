package sim

import (
	"fastpaca/shard"
)

// answered checks an answer to a write. The witness of the order is the committed log: whoever got an answer has an
// entry there, and behind all entries whose answers were known when it asked. With that, and reads that are never older
// than what was known when they began, every context is linearizable.
func (t *attempt) answered(m *machine, res *shard.Result) {
	w, o := t.c.w, t.o
	t.done = true
	o.open--
	w.trace("answer %d op %d %s %d %d %d", m.id, o.id, res.Code, res.Version, res.FirstSeq, res.Count)
	switch res.Code {
	case shard.CodeTimeout:
		o.unknown = true
		w.count.Unknown++
		t.retryAfterTimeout()
		return
	case shard.CodeUnavailable, shard.CodeNotLeader, shard.CodeStorageFull, shard.CodeOverloaded, shard.CodeShuttingDown:
		w.count.Refused++
		o.refused = true
		if len(o.entries) > 0 && !o.unknown && o.open == 0 && !o.answered {
			w.violate("op %d was refused by %s (%s, nothing written), but is committed at %d", o.id, m, res.Code, o.entries[0])
			return
		}
		t.retryOrNext()
		return
	}
	g := w.group(o.ctx.shard)
	if len(o.entries) == 0 {
		w.violate("op %d is answered %s by %s, but was never committed", o.id, res.Code, m)
		return
	}
	if newest := o.entries[len(o.entries)-1]; newest <= t.floor {
		w.violate("real time: op %d is answered %s by %s from entry %d, but entry %d was acknowledged before it was sent", o.id, res.Code, m, newest, t.floor)
		return
	}
	if !o.explains(res) {
		w.violate("op %d: %s answers %s, version %d, messages %d+%d (deduplicated %v); the log says %+v",
			o.id, m, res.Code, res.Version, res.FirstSeq, res.Count, res.Deduplicated, *o.answers[len(o.answers)-1])
		return
	}
	if !o.answered {
		o.told.code, o.told.version, o.told.first = res.Code, res.Version, res.FirstSeq
		o.ctx.history.ended(o.told)
	}
	o.answered = true
	w.count.Acked++
	g.acked = max(g.acked, o.entries[0])
	if res.Code == shard.CodeOK {
		w.saw(o.ctx, res.Version)
		t.c.version[o.ctx.index] = max(t.c.version[o.ctx.index], res.Version)
	}
	if res.Code == shard.CodeConflict {
		w.count.Conflicts++
		w.saw(o.ctx, res.CurrentVersion)
		t.c.version[o.ctx.index] = max(t.c.version[o.ctx.index], res.CurrentVersion)
	}
	if !t.late {
		t.c.next()
	}
}

func (t *attempt) retryAfterTimeout() {
	switch {
	case t.late:
	case t.o.key != 0 && t.tries < 5:
		t.c.w.count.Repeats++
		t.c.attempt(t.o, t.c.target(t.o.ctx.shard), t.tries+1)
	default:
		t.c.next()
	}
}

// explains says whether one of the op's entries gives this answer.
func (o *op) explains(res *shard.Result) bool {
	for _, a := range o.answers {
		if a.code == res.Code && (res.Code == shard.CodeNotFound || a.version == res.Version) &&
			(res.Code != shard.CodeConflict || res.CurrentVersion == a.current) &&
			(res.Code != shard.CodeOK || a.firstSeq == res.FirstSeq && a.count == res.Count) {
			return true
		}
	}
	return false
}

// saw notes that somebody outside knows a version of a context: nothing from now on may be older, and what is written
// from now on comes behind it in the log.
func (w *World) saw(ctx *modelContext, version uint64) {
	ctx.seen = max(ctx.seen, version+1)
	g := w.group(ctx.shard)
	g.acked = max(g.acked, ctx.indexAt[version])
}
