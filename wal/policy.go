package wal

import (
	"cmp"
	"slices"
)

// The ladder that keeps the log short (ANCHORS E.5), as a pure function. Under pressure, that is above
// the soft limit or out of disk space, each evaluation looks at the groups with live entries in the oldest
// fifth of the segments:
//
//  1. each is asked to snapshot, which is best: its entries go, and nothing is written twice;
//  2. one that was asked before and holds little is copied forward. Its owner may know better than to write
//     a snapshot of a big state for the sake of a few entries;
//  3. one that holds much is asked again, and copied forward after askLimit requests, one at a time.
//
// There is one evaluation per rotation, or per retry while the log is full, so that a request has the time
// in which a segment fills to be answered.
const (
	carrySmallMax = 256 << 10
	askLimit      = 9
	oldestShare   = 5 // a fifth
)

// pin is a group with live entries, as the policy sees it.
type pin struct {
	group uint32
	floor uint64 // segment of its first live entry
	bytes int64  // live, encoded
	asked int    // requests made since it last pinned nothing old
}

// pressure is the state of the log at an evaluation.
type pressure struct {
	oldest, active uint64 // segment ids
	segmentBytes   int64
	preamble       int64 // bytes of the next checkpoint
	pins           []pin
}

// plan is what to do about it.
type plan struct {
	ask   []uint32
	carry []uint32
	frees int // segments that come free if everything in carry is carried
}

func (p *pressure) plan() plan {
	if p.active == p.oldest {
		return plan{} // the active segment cannot come free
	}
	boundary := min(p.oldest+max(1, (p.active-p.oldest)/oldestShare), p.active)
	small := min(carrySmallMax, p.segmentBytes/16)
	smallBudget := p.segmentBytes / 8
	heavyBudget := p.segmentBytes/2 - p.preamble
	slices.SortFunc(p.pins, func(a, b pin) int {
		return cmp.Or(cmp.Compare(a.floor, b.floor), cmp.Compare(a.group, b.group))
	})
	var out plan
	rest := p.active // oldest segment that is pinned after carrying
	for i := range p.pins {
		q := &p.pins[i]
		switch {
		case q.floor >= boundary:
		case q.asked == 0:
			out.ask = append(out.ask, q.group)
		case q.bytes <= small && q.bytes <= smallBudget:
			smallBudget -= q.bytes
			heavyBudget -= q.bytes
			out.carry = append(out.carry, q.group)
			continue
		case q.asked >= askLimit && q.bytes <= heavyBudget:
			heavyBudget = -1 // one at a time
			smallBudget = 0
			out.carry = append(out.carry, q.group)
			continue
		default:
			out.ask = append(out.ask, q.group)
		}
		rest = min(rest, q.floor)
	}
	out.frees = int(rest - p.oldest)
	return out
}
