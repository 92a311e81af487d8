package sim

import (
	"fmt"
	"strings"

	"fastpaca/shard"
)

// client does one thing after the other, as one connection would: appends with and without guards and keys, compactions,
// reads. It believes what the nodes say about who leads, and sometimes asks somebody else.
type client struct {
	w       *World
	index   int
	version []uint64 // newest version known of each context, for guards
	old     []*op    // keyed ops of the past, to be sent again
}

func (c *client) next() {
	if c.w.failed != nil || c.w.clientsStop {
		return
	}
	c.w.after(1+c.w.often(c.w.swarm.think), c.act)
}

func (c *client) act() {
	w := c.w
	if c.version == nil {
		c.version = make([]uint64, len(w.model.contexts))
	}
	ctx := w.model.contexts[w.rng.IntN(len(w.model.contexts))]
	if !ctx.created {
		c.write(&op{kind: opPut, ctx: ctx})
		return
	}
	r := w.rng.IntN(100)
	switch {
	case r < 30:
		c.read(ctx)
		return
	case r < 35 && len(c.old) > 0: // a late repeat
		c.again(c.old[w.rng.IntN(len(c.old))])
		return
	case r < 36:
		c.write(&op{kind: opPut, ctx: ctx})
		return
	case r < 39:
		c.write(&op{kind: opCompact, ctx: ctx, guarded: true, ifVersion: c.version[ctx.index], texts: []string{fmt.Sprintf("summary of op%d", w.nextOp+1)}})
		return
	}
	o := &op{kind: opAppend, ctx: ctx}
	if w.rng.IntN(4) == 0 {
		o.guarded, o.ifVersion = true, c.version[ctx.index]
	}
	if w.rng.IntN(4) == 0 {
		o.key, o.body = w.rng.Uint64()|1, w.rng.Uint64()
	}
	size := w.rng.IntN(40)
	if w.net.chance(w.swarm.big) {
		size = w.rng.IntN(60 << 10)
	}
	for i := range 1 + w.rng.IntN(3)*w.rng.IntN(2) {
		o.texts = append(o.texts, fmt.Sprintf("op%d-%d %s", w.nextOp+1, i, strings.Repeat("x", size)))
	}
	c.write(o)
}

// target is the node to ask about a shard.
func (c *client) target(group uint32) *machine {
	w := c.w
	start := w.rng.IntN(len(w.machines))
	asked := w.machines[start]
	if w.rng.IntN(10) == 0 || !asked.running() {
		return asked
	}
	if id, _ := asked.node.Leader(group); id != 0 {
		if m := w.machineOf(id); m != nil {
			return m
		}
	}
	return asked
}

func (c *client) write(o *op) {
	c.w.nextOp++
	o.id = c.w.nextOp
	o.encode()
	c.w.ops[identity(o.cmd)] = o
	o.told = o.ctx.history.began(o)
	if o.key != 0 {
		if c.old = append(c.old, o); len(c.old) > 20 {
			c.old = c.old[1:]
		}
	}
	c.w.count.Writes++
	c.attempt(o, c.target(o.ctx.shard), 0)
	if o.key != 0 && c.w.rng.IntN(5) == 0 {
		c.background(o) // the same at the same time elsewhere
	}
}

// again sends a keyed op of the past once more.
func (c *client) again(o *op) {
	c.w.count.Repeats++
	c.attempt(o, c.target(o.ctx.shard), 0)
}

func (c *client) background(o *op) {
	t := &attempt{c: c, o: o, late: true}
	t.send(c.w.machines[c.w.rng.IntN(len(c.w.machines))])
}

// attempt is one sending of an op.
type attempt struct {
	c     *client
	o     *op
	tries int
	floor uint64 // the entry of this attempt, or of one before it, must be behind this index
	late  bool   // nobody waits any more
	done  bool
}

func (c *client) attempt(o *op, m *machine, tries int) {
	t := &attempt{c: c, o: o, tries: tries}
	t.send(m)
	c.w.after(c.w.swarm.patience/2+c.w.rng.Int64N(c.w.swarm.patience), func() {
		if !t.done && !t.late {
			t.giveUp()
		}
	})
}

func (t *attempt) send(m *machine) {
	w, o := t.c.w, t.o
	t.floor = w.group(o.ctx.shard).acked
	if !m.running() {
		if m.up() { // it hears of it when it goes on: the kernel took it
			o.open++
			m.in(0, func() { t.submit(m) })
			m.orphans = append(m.orphans, t)
			return
		}
		t.done = true
		t.retryOrNext()
		return
	}
	o.open++
	m.orphans = append(m.orphans, t)
	t.submit(m)
}

func (t *attempt) submit(m *machine) {
	r := shard.AcquireRequest()
	r.Cmd = append(r.Cmd[:0], t.o.cmd...)
	life := m.life
	r.Done = func(r *shard.Request) {
		if m.life == life && !t.done {
			t.answered(m, &r.Result)
		}
	}
	m.guard("submit", func() { m.node.Submit(t.o.ctx.shard, r) })
	m.wake()
}

// giveUp: the client has waited long enough. The answer may still come, and is checked, but nobody acts on it.
func (t *attempt) giveUp() {
	t.late = true
	t.c.w.count.Unknown++
	if t.o.key != 0 && t.tries < 5 && t.c.w.rng.IntN(2) == 0 {
		t.c.w.count.Repeats++
		t.c.attempt(t.o, t.c.target(t.o.ctx.shard), t.tries+1)
		return
	}
	t.c.next()
}

// lost: the connection broke with the process.
func (t *attempt) lost() {
	if t.done {
		return
	}
	t.done = true
	t.o.open--
	t.o.unknown = true
	if !t.late {
		t.giveUp()
	}
}

func (t *attempt) retryOrNext() {
	switch {
	case t.late:
	case t.tries < 8 && t.c.w.rng.IntN(4) > 0:
		t.c.w.after(t.c.w.between(millisecond, 100*millisecond), func() { t.c.attempt(t.o, t.c.target(t.o.ctx.shard), t.tries+1) })
	default:
		t.c.next()
	}
}

// read asks for a linearizable view: of the leader's state, or of another replica's once that has applied the leader's read
// index, as streams and proxied reads do.
func (c *client) read(ctx *modelContext) {
	w := c.w
	m := c.target(ctx.shard)
	if !m.up() {
		c.next()
		return
	}
	floor, life, over := ctx.seen, m.life, false
	call := ctx.history.began(nil)
	end := func() {
		if !over {
			over = true
			c.next()
		}
	}
	w.after(w.swarm.patience, end)
	if !m.running() { // it hears of it when it goes on: the kernel took it
		m.in(0, func() { c.ask(m, ctx, call, floor, life, &over, end) })
		return
	}
	c.ask(m, ctx, call, floor, life, &over, end)
}

func (c *client) ask(m *machine, ctx *modelContext, call *told, floor, life uint64, over *bool, end func()) {
	w := c.w
	m.guard("read", func() {
		m.node.SubmitBarrier(ctx.shard, func(index uint64, code shard.Code) {
			switch {
			case m.life != life || *over:
			case code != shard.CodeOK:
				w.count.ReadsFailed++
				end()
			case w.rng.IntN(3) == 0:
				c.readElsewhere(w.any(), ctx, call, index, floor, over, end)
			default:
				c.readNow(m, ctx, call, floor)
				end()
			}
		})
	})
	m.wake()
}

// readElsewhere waits until a replica has applied index.
func (c *client) readElsewhere(m *machine, ctx *modelContext, call *told, index, floor uint64, over *bool, end func()) {
	switch {
	case *over:
	case !m.running():
		end()
	case m.node.Applied(ctx.shard) >= index:
		c.readNow(m, ctx, call, floor)
		end()
	default:
		c.w.after(3*millisecond, func() { c.readElsewhere(m, ctx, call, index, floor, over, end) })
	}
}

func (c *client) readNow(m *machine, ctx *modelContext, call *told, floor uint64) {
	var v shard.View
	replica, code := m.node.Replica(ctx.id)
	if code == shard.CodeOK {
		replica.View(&v)
	}
	c.readDone(m, ctx, call, floor, &v, code)
}

func (c *client) readDone(m *machine, ctx *modelContext, call *told, floor uint64, v *shard.View, code shard.Code) {
	w := c.w
	switch code {
	case shard.CodeOK:
		w.count.Reads++
		if v.Version+1 < floor {
			w.violate("stale read: %s shows version %d of %s, version %d was known when the read arrived", m, v.Version, ctx.id, floor-1)
			return
		}
		from := uint64(1)
		if v.Last > 5 && w.rng.IntN(20) > 0 {
			from = v.Last - 5
		}
		if err := ctx.check(m.node, v, from); err != nil {
			w.violate("read from %s: %v", m, err)
			return
		}
		call.version, call.last = v.Version, v.Last
		ctx.history.ended(call)
		w.saw(ctx, v.Version)
		c.version[ctx.index] = max(c.version[ctx.index], v.Version)
		w.trace("read %d %s %d", m.id, ctx.id, v.Version)
	case shard.CodeNotFound:
		w.count.Reads++
		if floor > 0 {
			w.violate("stale read: %s does not know context %s, version %d was known when the read arrived", m, ctx.id, floor-1)
		}
	default:
		w.count.ReadsFailed++
	}
}

// writeForever sends a keyed write, or a PUT, until it is answered.
func (c *client) writeForever(o *op) {
	w := c.w
	w.nextOp++
	o.id = w.nextOp
	o.encode()
	w.ops[identity(o.cmd)] = o
	o.told = o.ctx.history.began(o)
	var again func()
	again = func() {
		if o.answered || w.failed != nil {
			return
		}
		t := &attempt{c: c, o: o, late: true}
		t.send(c.target(o.ctx.shard))
		w.after(500*millisecond, again)
	}
	again()
}
