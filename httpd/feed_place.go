package httpd

import "bytes"

// streamPlace is how far a stream's client is: version in full, and of the version after it the messages up to seq
// and so many events of other kinds. Events depend on versions only (shard.View.NextEvent), so that every replica gives the
// same ones, and a place taken on one node is good on another.
type streamPlace struct {
	version uint64
	seq     uint64 // of the last message, of whatever version, or before the one that a gap leads to
	others  int    // compaction and context events of version+1
}

// advance moves p past an event that was delivered.
func (p *streamPlace) advance(event []byte, e eventInfo) {
	if e.version != p.version {
		p.version, p.others = e.version, 0
	}
	switch e.kind {
	case eventMessage:
		p.seq = eventSeq(event)
	case eventGap:
		p.seq = max(p.seq, gapActual(event)-1) // the client fetches what is before: another replica that has it is not to send it
	case eventCompaction:
		p.others++
	}
}

// resumer leaves out what a client has, at the beginning of a feed that starts after the last full version.
type resumer struct {
	active bool
	seen   streamPlace
	others int
}

func (r *resumer) begin(p streamPlace) {
	*r = resumer{active: p.version > 0 || p.seq > 0 || p.others > 0, seen: p}
}

// has says whether the client has the event.
func (r *resumer) has(event []byte, e eventInfo) bool {
	if !r.active {
		return false
	}
	switch e.kind {
	case eventMessage:
		if eventSeq(event) <= r.seen.seq {
			return true
		}
	case eventGap:
		// What is missing up to actual was delivered before it left memory, or the gap was. But a gap that ends behind the version
		// that the client is in takes that one's compaction and context with it, and compactions after it: they are not seqs,
		// and the client has to hear that something is missing.
		if r.seen.seq > 0 && gapActual(event) <= r.seen.seq+1 && e.version == r.seen.version {
			return true
		}
	case eventCompaction:
		if eventVersion(event, e.kind) == r.seen.version+1 && r.others < r.seen.others {
			r.others++
			return true
		}
	}
	r.active = false
	return false
}

// gapActual reads the first seq that follows a gap.
func gapActual(event []byte) uint64 {
	_, rest, ok := bytes.Cut(event, []byte(`,"actual":`))
	if !ok {
		panic("httpd: a gap event without actual; shard's NextEvent and httpd must agree on its members")
	}
	seq, _ := leadingUint(rest)
	return seq
}
