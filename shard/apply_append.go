package shard

import (
	"strconv"

	"fastpaca/jepsen/planted"
	"fastpaca/ring"
)

// admit looks at what an append or compaction must pass before it changes anything: the idempotency key
// first, so that the retry of a write that went through gets its first answer even though the guard would
// not match any more, then the tombstone, then the guards. It returns false when res is the answer.
func (m *Machine) admit(ctx *Context, v *ring.View[Ext], res *Result) bool {
	c := &m.cmd
	res.Version = v.Version
	if c.has&flagKey != 0 {
		if e := ctx.keys.find(&c.key); e != nil {
			if e.bodyHash != c.bodyHash {
				res.Code = CodeKeyReused
				return false
			}
			res.Deduplicated = true
			res.Version, res.FirstSeq, res.Count = e.version, e.firstSeq, int(e.count)
			ctx.View(&res.View)
			return false
		}
	}
	if v.Ext.Tombstoned {
		res.Code = CodeTombstoned
		return false
	}
	if c.has&flagIfVersion != 0 && c.ifVersion != v.Version && !planted.On(planted.GuardIgnored) {
		res.Code = CodeConflict
		res.CurrentVersion, res.IfVersion = v.Version, c.ifVersion
		return false
	}
	if c.has&flagFirstSeq != 0 && c.firstSeq != v.Last+1 {
		res.Code = CodeSeqConflict
		res.LastSeq = v.Last
		return false
	}
	return true
}

// remember notes the answer of a keyed command.
func (m *Machine) remember(ctx *Context, res *Result) {
	if m.cmd.has&flagKey == 0 {
		return
	}
	if ctx.keys == nil {
		ctx.keys = &keyRing{}
	}
	before := ctx.keys.bytes()
	ctx.keys.add(keyEntry{
		key: m.cmd.key, bodyHash: m.cmd.bodyHash,
		version: res.Version, firstSeq: res.FirstSeq, count: uint32(res.Count),
	})
	m.bytes.Add(ctx.keys.bytes() - before)
}

// applyAppend adds the command's messages as one version: to the log all of them, to the window those that
// may stand in it; then the policy gets its turn.
func (m *Machine) applyAppend(ctx *Context, res *Result) bool {
	c := &m.cmd
	v := &m.view
	ctx.log.Pending(v)
	if !m.admit(ctx, v, res) {
		return false
	}
	before := ctx.log.Bytes()
	h := v.Header
	h.UpdatedMs = max(h.UpdatedMs, c.timeMs)
	h.Version++
	old := v.Ext
	w := ring.Window{Head: old.Head, LiveFrom: v.LiveFrom, Used: v.Used}

	first := ctx.log.Last() + 1
	res.Version, res.FirstSeq, res.Count = h.Version, first, c.messages.left
	stamp := m.stamp(h.UpdatedMs)
	var msg Message
	if c.messages.left > 1 {
		room := 0
		all := c.messages
		for seq := first; all.next(&msg); seq++ {
			room += storedLen(seq, &msg) + 1 + ring.SlotSize
		}
		ctx.log.Expect(room)
	}
	for seq := first; c.messages.next(&msg); seq++ {
		buf := appendStored(ctx.log.Reserve(storedLen(seq, &msg)), seq, &msg, m.stampOf(&msg, stamp))
		jsonLen := len(buf)
		if len(msg.Aux) > 0 {
			buf = append(buf, ',')
			_ = append(buf, msg.Aux...) // into the page: the room was reserved
		}
		ctx.log.Commit(jsonLen, len(msg.Aux), ring.Meta{Tokens: msg.Tokens, Flags: msg.Flags, Version: h.Version})
	}
	ctx.log.Pending(v)
	w = ring.Extend(v, w, first)

	cut := false
	if config := old.Config; above(w.Used, config.TokenBudget, config.RatioPPB) {
		before := w
		w = m.runPolicy(ctx, v, w, config)
		cut = w != before
	}
	h.LiveFrom, h.Used = w.LiveFrom, w.Used
	ctx.log.SealVersion(h.LiveFrom, h.Used, cut)
	var ext *Ext
	if w.Head != old.Head {
		next := *old
		next.Head = w.Head
		ext = &next
		m.bytes.Add(extBytes(ext) - extBytes(old))
	}
	ctx.log.Publish(h, ext)
	grown := ctx.log.Bytes() - before
	m.bytes.Add(grown)
	m.tails.note(ctx, grown)
	m.remember(ctx, res)
	return true
}

// stamp formats a time for the messages of one command.
func (m *Machine) stamp(ms int64) []byte {
	if m.stampMs != ms || m.stamped == nil {
		m.stampMs, m.stamped = ms, appendTime(m.stamped[:0], ms)
	}
	return m.stamped
}

// stampOf is what a message says about its time: its own, or that of its command. Valid until the next call.
func (m *Machine) stampOf(msg *Message, command []byte) []byte {
	if msg.Flags&FlagInserted == 0 {
		return command
	}
	m.imported = appendTime(m.imported[:0], msg.InsertedMs)
	return m.imported
}

const (
	storedSeq      = `{"seq":`
	storedTokens   = `,"token_count":`
	storedMetadata = `,"metadata":{}`
	storedInserted = `,"inserted_at":"`
	storedEnd      = `"}`
)

// storedLen is exactly what appendStored appends for the message, and one comma and its aux. seq 0 is a
// replacement message.
func storedLen(seq uint64, msg *Message) int {
	n := 1 + len(msg.Fields) + len(storedTokens) + decimals(uint64(msg.Tokens)) + len(storedInserted) + timeLen + len(storedEnd) + len(msg.Aux)
	if len(msg.Aux) > 0 {
		n++
	}
	if seq > 0 {
		n += len(storedSeq) + decimals(seq) // with the comma behind, without the brace
	}
	if msg.Flags&FlagNoMetadata != 0 {
		n += len(storedMetadata)
	}
	return n
}

// appendStored appends a message as it is kept and served: the client's members between seq and what the
// server adds. It is encoded here once; every read copies these bytes.
func appendStored(dst []byte, seq uint64, msg *Message, stamp []byte) []byte {
	if seq > 0 {
		dst = append(dst, storedSeq...)
		dst = strconv.AppendUint(dst, seq, 10)
		dst = append(dst, ',')
	} else {
		dst = append(dst, '{')
	}
	dst = append(dst, msg.Fields...)
	dst = append(dst, storedTokens...)
	dst = strconv.AppendUint(dst, uint64(msg.Tokens), 10)
	if msg.Flags&FlagNoMetadata != 0 {
		dst = append(dst, storedMetadata...)
	}
	dst = append(dst, storedInserted...)
	dst = append(dst, stamp...)
	return append(dst, storedEnd...)
}

func decimals(n uint64) int {
	d := 1
	for n >= 10 {
		n /= 10
		d++
	}
	return d
}
