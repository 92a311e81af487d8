package shard

import (
	"strconv"

	"fastpaca/ring"
)

// Cursor is a stream's place in a context: everything up to Version has been delivered, and possibly a
// part of the version after it. A stream that resumes starts with Cursor{Version: v}; one that wants live
// events only, with View.LiveCursor. The rest of the fields belong to NextEvent.
type Cursor struct {
	Version uint64

	next    uint64 // seq of the next message, 0 when only Version is known
	stage   eventStage
	closed  bool // tombstoned has been delivered
	pending pendingEvents
}

// pendingEvents is what follows the messages of a version, worked out when the last of them is delivered.
type pendingEvents struct {
	from, to uint64 // range of the compaction event
	used     uint64
}

type eventStage uint8

const (
	stageVersion    eventStage = iota // between versions
	stageMessages                     // cur.next is a message of Version+1
	stageCompaction                   // the compaction event of Version+1 is next
	stageContext                      // the context event of Version+1 is next
)

// LiveCursor is the place after everything that v holds.
func (v *View) LiveCursor() Cursor {
	h := &v.Header
	return Cursor{Version: h.Version, next: h.Last + 1}
}

// NextEvent appends the event that follows cur, as JSON, and moves cur past it. It returns false, and dst
// as it was, when v holds nothing more: the caller then waits for a wake, takes a new View, and goes on.
//
// The order within a version is: its messages by seq; a compaction event, if it was a compaction or the
// policy cut the window; a context event. Events depend on versions only, not on when they are asked for,
// with one exception: needs_compaction is judged by the configuration of v. So a replay equals what a
// live stream delivered. Where it cannot:
//
//   - a cursor from the future, or versions that are no longer known (more than compactionsKept
//     compactions ago): one reset event with the current version, then live events;
//   - messages that left memory: one gap event, then the messages that are there. Its expected may name a
//     seq that the client has already (the seq is a lower bound when only the version is known), never
//     one after the first it lacks.
//
// The tombstoned event is the last one; after it NextEvent returns false for ever.
func (v *View) NextEvent(dst []byte, cur *Cursor, includeMessages bool) ([]byte, bool) {
	h := &v.Header
	for {
		switch cur.stage {
		case stageVersion:
			switch {
			case cur.Version > h.Version:
				return v.reset(dst, cur), true
			case cur.Version == h.Version:
				if v.Ext.Tombstoned && !cur.closed {
					cur.closed = true
					return appendVersionEvent(dst, "tombstoned", h.Version), true
				}
				return dst, false
			}
			if c := v.Ext.compaction(cur.Version + 1); c != nil {
				cur.pending = pendingEvents{from: c.From, to: c.To, used: c.Used}
				cur.stage = stageCompaction
				continue
			}
			seq := v.AfterVersion(cur.Version)
			if (seq > h.First || seq == 1) && seq <= h.Last && v.Slot(seq).Version == cur.Version+1 {
				cur.next, cur.stage = seq, stageMessages
				continue
			}
			if out, said := v.lost(dst, cur); said {
				return out, true
			}

		case stageMessages:
			if cur.next < h.First {
				cur.stage = stageVersion
				continue
			}
			seq := cur.next
			s := v.Slot(seq)
			if s.Flags&ring.FlagEnd != 0 {
				cur.pending = pendingEvents{used: s.Used}
				cur.stage = stageContext
				if s.Flags&ring.FlagCut != 0 {
					cur.pending.from, cur.pending.to = v.cutRange(cur.Version+1, s.LiveFrom)
					cur.stage = stageCompaction
				}
			}
			cur.next++
			return v.appendMessageEvent(dst, s.Version, seq, includeMessages), true

		case stageCompaction:
			cur.stage = stageContext
			dst = append(dst, `{"type":"compaction","version":`...)
			dst = strconv.AppendUint(dst, cur.Version+1, 10)
			dst = append(dst, `,"range":{"from_seq":`...)
			dst = strconv.AppendUint(dst, cur.pending.from, 10)
			dst = append(dst, `,"to_seq":`...)
			dst = strconv.AppendUint(dst, cur.pending.to, 10)
			return append(dst, `}}`...), true

		case stageContext:
			cur.stage = stageVersion
			cur.Version++
			config := v.Ext.Config
			dst = append(dst, `{"type":"context","version":`...)
			dst = strconv.AppendUint(dst, cur.Version, 10)
			dst = append(dst, `,"needs_compaction":`...)
			dst = strconv.AppendBool(dst, above(cur.pending.used, config.TokenBudget, config.RatioPPB))
			dst = append(dst, `,"used_tokens":`...)
			dst = strconv.AppendUint(dst, cur.pending.used, 10)
			return append(dst, '}'), true
		}
	}
}

func (v *View) reset(dst []byte, cur *Cursor) []byte {
	closed := cur.closed
	*cur = v.LiveCursor()
	cur.closed = closed
	return appendVersionEvent(dst, "reset", cur.Version)
}

// lost deals with a version after cur.Version that cannot be delivered from its first message: a gap up
// to the oldest message in memory, or a reset where no gap explains it. It returns false if, on a closer
// look, nothing is missing; cur then stands at the message.
func (v *View) lost(dst []byte, cur *Cursor) ([]byte, bool) {
	h := &v.Header
	if h.First <= 1 || h.First > h.Last || v.AfterVersion(cur.Version) != h.First {
		return v.reset(dst, cur), true
	}
	expected := cur.next
	if expected == 0 {
		// At least so many messages belong to versions up to the cursor's: every version that was not a
		// compaction has one or more.
		known := uint64(0)
		e := v.Ext
		for i := range e.Compactions {
			if e.Compactions[i].Version > cur.Version {
				known++
			}
		}
		expected = 1
		if before := e.CompactionCount - known; before < cur.Version {
			expected += cur.Version - before
		}
	}
	first := v.Slot(h.First)
	if expected >= h.First {
		if first.Version == cur.Version+1 && expected == h.First {
			cur.next, cur.stage = h.First, stageMessages
			return dst, false
		}
		return v.reset(dst, cur), true
	}
	cur.Version, cur.next, cur.stage = first.Version-1, h.First, stageMessages
	dst = append(dst, `{"type":"gap","expected":`...)
	dst = strconv.AppendUint(dst, expected, 10)
	dst = append(dst, `,"actual":`...)
	dst = strconv.AppendUint(dst, h.First, 10)
	return append(dst, '}'), true
}

// cutRange is the range of the compaction event for a cut that the policy made at version: from where the
// window began before it, up to where it begins since.
func (v *View) cutRange(version, liveFrom uint64) (from, to uint64) {
	h := &v.Header
	to = liveFrom - 1
	first := v.AfterVersion(version - 1)
	switch {
	case first > h.First:
		before := v.Slot(first - 1)
		from = first // a compaction lies between: it left nothing live
		if before.Version == version-1 {
			from = before.LiveFrom
		}
	case first == 1:
		from = 1
	default:
		from = 1 // what came before is not in memory: everything up to to is out of the window
	}
	if from > to {
		// Only messages before the live ones went: what the last compaction had put there.
		from = to
		list := v.Ext.Compactions
		for i := len(list) - 1; i >= 0; i-- {
			if list[i].Version < version {
				from = min(from, list[i].From)
				break
			}
		}
	}
	return max(from, 1), max(to, 1)
}

func (v *View) appendMessageEvent(dst []byte, version, seq uint64, include bool) []byte {
	dst = append(dst, `{"type":"message","version":`...)
	dst = strconv.AppendUint(dst, version, 10)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	if include {
		dst = append(dst, `,"message":`...)
		dst = v.AppendMessages(dst, seq, seq)
	}
	return append(dst, '}')
}

func appendVersionEvent(dst []byte, kind string, version uint64) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","version":`...)
	dst = strconv.AppendUint(dst, version, 10)
	return append(dst, '}')
}
