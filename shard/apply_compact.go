package shard

import "fastpaca/ring"

// applyCompact puts the command's messages in the place of the whole window. The log stays as it is.
func (m *Machine) applyCompact(ctx *Context, res *Result) bool {
	c := &m.cmd
	v := &m.view
	ctx.log.Pending(v)
	if !m.admit(ctx, v, res) {
		return false
	}
	h := v.Header
	h.UpdatedMs = max(h.UpdatedMs, c.timeMs)
	h.Version++
	old := v.Ext

	w := ring.Window{Head: old.Head, LiveFrom: v.LiveFrom, Used: v.Used}
	from, to := ring.ReplacedRange(v, w)
	w = ring.Replace(v, w, m.replacement(m.stamp(h.UpdatedMs)))
	h.LiveFrom, h.Used = w.LiveFrom, w.Used

	ext := *old
	ext.Head, ext.summaryBytes = w.Head, summaryBytes(w.Head)
	ext.CompactionCount++
	ext.Compactions = withCompaction(old.Compactions, Compaction{Version: h.Version, From: from, To: to, Used: h.Used})
	m.publish(ctx, h, old, &ext)
	ctx.clean = cleanMark{} // skip_parts has not seen the new head
	res.Version = h.Version
	m.remember(ctx, res)
	return true
}

// replacement encodes the command's messages. Their bytes lie in one block.
func (m *Machine) replacement(stamp []byte) []ring.HeadMsg {
	var msg Message
	size := 0
	for all := m.cmd.messages; all.next(&msg); {
		size += storedLen(0, &msg)
	}
	msgs := make([]ring.HeadMsg, 0, m.cmd.messages.left)
	block := make([]byte, 0, size)
	for m.cmd.messages.next(&msg) {
		from := len(block)
		block = appendStored(block, 0, &msg, m.stampOf(&msg, stamp))
		out := ring.HeadMsg{Tokens: msg.Tokens, Flags: msg.Flags & ring.FlagSystem, JSON: block[from:len(block):len(block)]}
		if len(msg.Aux) > 0 {
			from = len(block)
			block = append(block, msg.Aux...)
			out.Aux = block[from:len(block):len(block)]
			_, tools, _ := ring.ScanAux(out.Aux)
			out.Flags |= tools
		}
		msgs = append(msgs, out)
	}
	return msgs
}
