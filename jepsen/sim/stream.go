package sim

import (
	"bytes"
	"strconv"

	"fastpaca/shard"
)

// stream follows one context on whatever replica it finds, and goes on elsewhere by version when that one is gone, as
// the product's streams do. It must see every version once, in order, and every message's bytes.
type stream struct {
	w    *World
	ctx  *modelContext
	cur  shard.Cursor
	next uint64 // message that comes next
	on   *machine
	life uint64
	buf  []byte
	view shard.View
}

func (s *stream) poll() {
	w := s.w
	if w.failed != nil {
		return
	}
	defer w.after(w.between(20*millisecond, 400*millisecond), s.poll)
	if s.on == nil || s.on.life != s.life || !s.on.running() || w.rng.IntN(50) == 0 {
		s.on = w.machines[w.rng.IntN(len(w.machines))]
		s.life = s.on.life
		s.cur = shard.Cursor{Version: s.cur.Version}
		if s.ctx.window > 0 && w.rng.IntN(2) == 0 { // a client that was away for long
			s.cur.Version = w.rng.Uint64N(s.cur.Version + 1)
		}
		s.next = s.ctx.lastAt[s.cur.Version] + 1
	}
	if !s.on.running() {
		return
	}
	ctx, code := s.on.node.Replica(s.ctx.id)
	if code != shard.CodeOK {
		s.on = nil
		return
	}
	ctx.View(&s.view)
	if s.view.Version < s.cur.Version {
		return // it is behind: the product waits for a read index first
	}
	behind := s.view.Version - s.cur.Version
	for {
		var ok bool
		s.buf, ok = s.view.NextEvent(s.buf[:0], &s.cur, true)
		if !ok {
			break
		}
		w.count.Events++
		s.event(behind)
	}
	if s.cur.Version != s.view.Version || s.next != s.view.Last+1 {
		w.violate("stream of %s on %s stands at version %d, message %d, the view at %d, %d", s.ctx.id, s.on, s.cur.Version, s.next, s.view.Version, s.view.Last+1)
		return
	}
	if s.ctx.created && s.view.Version < uint64(len(s.ctx.indexAt)) {
		w.saw(s.ctx, s.view.Version)
	}
}

// compactionsKept is how many versions without messages a stream may be behind (API.md).
const compactionsKept = 64

func (s *stream) event(behind uint64) {
	switch {
	case bytes.HasPrefix(s.buf, []byte(`{"type":"message"`)):
		if seq := number(s.buf, `"seq":`); seq != s.next {
			s.w.violate("stream of %s on %s: message %d where %d comes next", s.ctx.id, s.on, seq, s.next)
			return
		}
		if s.next <= s.ctx.last() && !bytes.Contains(s.buf, s.ctx.messages[s.next-1]) {
			s.w.violate("stream of %s on %s: %.200s, committed is %.200s", s.ctx.id, s.on, s.buf, s.ctx.messages[s.next-1])
		}
		s.next++
	case bytes.HasPrefix(s.buf, []byte(`{"type":"gap"`)):
		// The client reads what lies between, by seq. Expected may be what it has already, never beyond what it lacks.
		expected, actual := number(s.buf, `"expected":`), number(s.buf, `"actual":`)
		if s.view.First == 1 || expected > s.next || actual < s.next || actual != s.view.First {
			s.w.violate("stream of %s on %s: %s where %d comes next; memory begins with %d", s.ctx.id, s.on, s.buf, s.next, s.view.First)
			return
		}
		s.w.count.Gaps++
		s.next = actual
	case bytes.HasPrefix(s.buf, []byte(`{"type":"reset"`)):
		if behind <= compactionsKept {
			s.w.violate("stream of %s on %s: %s, though it was only %d versions behind", s.ctx.id, s.on, s.buf, behind)
			return
		}
		s.next = s.view.Last + 1
	}
}

// number is the number behind a member's name.
func number(b []byte, name string) uint64 {
	_, rest, _ := bytes.Cut(b, []byte(name))
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(rest[:end]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
