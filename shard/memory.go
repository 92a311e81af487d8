package shard

import (
	"unsafe"

	"fastpaca/ring"
)

// What Machine.Bytes counts beside pages. Close enough to steer when snapshots are due.
const (
	contextBytes = int64(unsafe.Sizeof(Context{}))
	seatBytes    = int64(unsafe.Sizeof(seat{})) + 8 + 16 // what every context has: its seat, pointer, and slots of the table
	keyBytes     = int64(unsafe.Sizeof(keyEntry{})) + 8
	headMsgBytes = int64(unsafe.Sizeof(ring.HeadMsg{}))
)

func (r *keyRing) bytes() int64 {
	if r == nil {
		return 0
	}
	return int64(cap(r.entries)) * keyBytes
}

// bytes is what c takes in memory besides its seat. Writer only.
func (c *Context) bytes() int64 {
	var v ring.View[Ext]
	c.log.Pending(&v)
	return contextBytes + int64(len(c.id)) + extBytes(v.Ext) + c.log.Bytes() + c.keys.bytes()
}

// extBytes leaves out what contexts share.
func extBytes(e *Ext) int64 {
	n := int64(len(e.Metadata)) + int64(len(e.Compactions))*int64(unsafe.Sizeof(Compaction{})) + headBytes(e)
	if n == 0 && !e.Tombstoned {
		return 0
	}
	return n + int64(unsafe.Sizeof(Ext{}))
}

// headBytes takes four bytes of text for a token, so that it does not depend on the length of the head. But what a compaction put
// there counts as it is, since the client says how many tokens it has.
func headBytes(e *Ext) int64 {
	h := e.Head
	if h == nil {
		return 0
	}
	text := int64(h.Tokens) * 4
	if h.Summary > 0 {
		text = max(text, e.summaryBytes)
	}
	return int64(unsafe.Sizeof(ring.Head{})) + int64(len(h.Holes))*8 + int64(len(h.Msgs))*headMsgBytes + text
}

// summaryBytes is what the summary of h takes.
func summaryBytes(h *ring.Head) (n int64) {
	if h == nil {
		return 0
	}
	for i := range h.Msgs[:h.Summary] {
		n += int64(len(h.Msgs[i].JSON) + len(h.Msgs[i].Aux))
	}
	return n
}
