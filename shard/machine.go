package shard

import (
	"sync/atomic"

	"fastpaca/ring"
)

// Machine is the state of one shard: the contexts that a log of commands has made. Equal logs give equal
// machines, byte for byte in their snapshots, on every replica: Apply looks at the state and the command
// and at nothing else. One goroutine calls Apply and the snapshot methods; Lookup and everything on a
// Context are for any.
type Machine struct {
	shard    uint32
	table    table
	contexts contextList
	parking  parking
	index    uint64 // of the last entry applied
	lastMs   int64
	bytes    atomic.Int64

	watched   atomic.Int32 // subscriptions to its contexts
	tails     tails
	onPublish func(*Context)
	capture   *Captured // the snapshot being captured, nil if none
	captures  uint32    // how many were begun

	sharing

	// Scratch of Apply, to keep it off the heap.
	cmd     command
	view    ring.View[Ext]
	stamped []byte // stampMs as text
	stampMs int64
	skip    skipper

	imported []byte // the time of a message that brings its own, as text
}

// NewMachine returns the empty state of a shard.
func NewMachine(shard uint32) *Machine {
	return &Machine{shard: shard}
}

// OnPublish sets what Apply calls after changing a context that has subscribers. It runs on the loop and
// must not block. Set it before the first Apply.
func (m *Machine) OnPublish(f func(*Context)) { m.onPublish = f }

// Lookup returns the context with this id, or nil. Any goroutine, no locks, no allocation; id is not
// kept. A tombstoned context is found like any other.
//
// It is for machines that have all contexts in memory, and panics where one cannot be read back from disk.
func (m *Machine) Lookup(id []byte) *Context {
	c, err := m.find(id, hash64(id))
	if err != nil {
		panic(err)
	}
	return c
}

// Len returns the number of contexts, tombstoned ones included. Any goroutine.
func (m *Machine) Len() int { return m.contexts.len() }

// Bytes estimates the memory of the state. Any goroutine.
func (m *Machine) Bytes() int64 { return m.bytes.Load() }

// StateBytes estimates what a snapshot of the state takes: Bytes, and what is on disk only. Any goroutine.
func (m *Machine) StateBytes() int64 { return m.bytes.Load() + m.parking.bytes.Load() }

// LastMs returns the newest time of any command applied, in Unix ms. Same goroutine as Apply.
func (m *Machine) LastMs() int64 { return m.lastMs }

// sharing is what contexts made alike share: the newest configuration, and the newest Ext with nothing but it.
type sharing struct {
	config *Config
	plain  *Ext
}

// Apply runs the command at index through the state and overwrites res with the answer. An error means
// that the command cannot be understood, or that its context cannot be read back from disk (*RecordError); nothing was
// changed, and the node must stop, since skipping it would make this replica differ from the others. cmd is not kept.
//
// An append allocates nothing but, now and then, a page.
func (m *Machine) Apply(index uint64, cmd []byte, res *Result) error {
	c := &m.cmd
	if err := c.decode(cmd); err != nil {
		e := &CommandError{Shard: m.shard, Index: index, Reason: err.Error()}
		if len(cmd) > 1 {
			e.Version, e.Kind = cmd[0], cmd[1]
		}
		return e
	}
	res.reset()
	m.index = index
	c.timeMs = min(max(c.timeMs, 0), maxTimeMs)
	m.lastMs = max(m.lastMs, c.timeMs)

	hash := hash64(c.id)
	ctx, err := m.lookup(c.id, hash)
	if err != nil {
		return err
	}
	if ctx == nil {
		if c.kind != kindPut {
			res.Code = CodeNotFound
			return nil
		}
		ctx = m.create(hash)
		res.Created = true
		m.captureView(ctx, res)
		return nil
	}
	m.beforeChange(ctx)

	var changed bool
	switch c.kind {
	case kindAppend:
		changed = m.applyAppend(ctx, res)
	case kindCompact:
		changed = m.applyCompact(ctx, res)
	case kindPut:
		changed = m.applyPut(ctx, res)
	case kindDelete:
		changed = m.applyDelete(ctx, res)
	case kindPatchMetadata:
		changed = m.applyPatch(ctx, res)
	case kindAckArchived:
		changed = m.applyAck(ctx, res)
	default:
		panic("shard: decode let a command of unknown kind pass; this is a bug, please report it")
	}
	if changed && m.onPublish != nil && ctx.HasSubscribers() {
		m.onPublish(ctx)
	}
	return nil
}
