package shard

import (
	"strings"

	"fastpaca/ring"
)

// create makes the context of the put command at hand.
func (m *Machine) create(hash uint64) *Context {
	c := &m.cmd
	ctx := &Context{
		id:        string(c.id),
		hash:      hash,
		createdMs: c.timeMs,
		watched:   &m.watched,
	}
	ext := m.plainExt(m.putConfig(defaultConfig()))
	if c.has&flagMetadata != 0 {
		ext = ext.withMetadata(ownMetadata(c.metadata))
	}
	ctx.log.Publish(ring.Header{LiveFrom: 1, UpdatedMs: c.timeMs}, ext)
	ctx.touch()
	m.contexts.add(ctx, hash, place{})
	m.bytes.Add(seatBytes + ctx.bytes())
	m.table.insert(ctx.ordinal, hash, m.contexts.hashOf) // last: whoever finds it finds it complete
	return ctx
}

// putConfig returns base with what the put command at hand sets. The result is shared where an equal one
// is known, and base itself where nothing changes.
func (m *Machine) putConfig(base *Config) *Config {
	c := &m.cmd
	next := *base
	if c.has&flagBudget != 0 {
		next.TokenBudget = c.budget
	}
	if c.has&flagRatio != 0 {
		next.RatioPPB = c.ratio
	}
	if c.has&flagPolicy != 0 {
		next.Policy = c.policy
	}
	if next.equal(base) {
		return m.intern(base)
	}
	if c.has&flagPolicy != 0 {
		next.Policy = c.policy.clone() // the command's memory is not ours
	}
	return m.intern(&next)
}

// intern returns the configuration that contexts like c share. It knows the newest one only: contexts
// that are made alike are mostly made one after the other.
func (s *sharing) intern(c *Config) *Config {
	if s.config == nil || !s.config.equal(c) {
		s.config = c
	}
	return s.config
}

// plainExt returns the Ext of an active context with this configuration and nothing else.
func (s *sharing) plainExt(c *Config) *Ext {
	if s.plain == nil || s.plain.Config != c {
		s.plain = &Ext{Config: c}
	}
	return s.plain
}

func (e *Ext) withMetadata(metadata []byte) *Ext {
	next := *e
	next.Metadata = metadata
	return &next
}

// ownMetadata copies an object; an empty one is nil.
func ownMetadata(b []byte) []byte {
	if len(b) == 0 || string(b) == emptyObject {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// current reads the context as last published, for a command that changes no message: its extension, and
// its header with the time moved to ms unless that would go backwards.
func (m *Machine) current(ctx *Context, ms int64) (*Ext, ring.Header) {
	ctx.log.Pending(&m.view)
	h := m.view.Header
	h.UpdatedMs = max(h.UpdatedMs, ms)
	return m.view.Ext, h
}

func (m *Machine) applyPut(ctx *Context, res *Result) bool {
	c := &m.cmd
	old, h := m.current(ctx, c.timeMs)
	if old.Tombstoned {
		res.Code = CodeTombstoned
		return false
	}
	ext := *old
	ext.Config = m.putConfig(old.Config)
	if c.has&flagMetadata != 0 {
		ext.Metadata = ownMetadata(c.metadata)
	}
	m.publish(ctx, h, old, &ext)
	m.captureView(ctx, res)
	return true
}

// applyDelete tombstones the context. Doing so again changes nothing.
func (m *Machine) applyDelete(ctx *Context, res *Result) bool {
	old, h := m.current(ctx, m.cmd.timeMs)
	res.Version = h.Version
	if old.Tombstoned {
		return false
	}
	ext := *old
	ext.Tombstoned = true
	m.publish(ctx, h, old, &ext)
	return true
}

// MetadataMax bounds what patches may make of a context's metadata, in bytes of JSON: every answer about the context
// carries all of it, and so does every snapshot. It is part of what equal logs mean and must not change. A PUT is
// bounded by its body; a patch that makes the metadata smaller is always taken.
const MetadataMax = 1 << 20

func (m *Machine) applyPatch(ctx *Context, res *Result) bool {
	old, h := m.current(ctx, m.cmd.timeMs)
	if old.Tombstoned {
		res.Code = CodeTombstoned
		return false
	}
	merged := mergeMetadata(old.Metadata, m.cmd.metadata)
	if len(merged) > MetadataMax && len(merged) > len(old.Metadata) {
		res.Code = CodeMetadataFull
		return false
	}
	ext := *old
	ext.Metadata = merged
	m.publish(ctx, h, old, &ext)
	m.captureView(ctx, res)
	return true
}

// applyAck moves archived_seq forwards and lets pages go that are behind it by more than keep messages.
// The window stays in memory whatever its age.
func (m *Machine) applyAck(ctx *Context, res *Result) bool {
	c := &m.cmd
	_, h := m.current(ctx, 0) // an archive's progress is not the client's change: updated_at stays
	h.Archived = max(h.Archived, min(c.archived, ctx.log.Last()))
	if h.Archived > c.keep {
		before := ctx.log.Bytes()
		ctx.log.EvictBefore(min(h.Archived-c.keep+1, h.LiveFrom))
		m.bytes.Add(ctx.log.Bytes() - before)
	}
	ctx.log.Publish(h, nil)
	res.Version = h.Version
	return false // nothing that a stream shows
}

// publish swaps old for ext, keeping count of the memory.
func (m *Machine) publish(ctx *Context, h ring.Header, old, ext *Ext) {
	ctx.log.Publish(h, ext)
	m.bytes.Add(extBytes(ext) - extBytes(old))
}

func (m *Machine) captureView(ctx *Context, res *Result) {
	ctx.View(&res.View)
	res.Version = res.View.Version
}

func (p *Policy) clone() Policy {
	q := *p
	q.Config = append([]byte(nil), p.Config...)
	q.SkipKinds = nil
	for _, kind := range p.SkipKinds {
		q.SkipKinds = append(q.SkipKinds, strings.Clone(kind))
	}
	return q
}
