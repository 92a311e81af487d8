package check

import (
	"cmp"
	"slices"
)

// placed is an operation with its place in the order that the log gives.
type placed struct {
	op    *Op
	at    uint64
	write bool
}

// RealTime demands that one context's history is linearizable. The final log gives the only order there can be: an append stands at
// its seq (found in the log even where the outcome is unknown), a read of last_seq n after append n and before n+1. Such a history
// is linearizable exactly if no operation that ended before another began stands behind it. One sweep over the starts
// with the furthest place of what has ended finds every violation.
func RealTime(v *Verdict, ops []*Op, log []Entry) {
	at := make(map[string]uint64, len(log))
	for _, e := range log {
		at[e.Text] = e.Seq
	}
	var all []placed
	for _, op := range ops {
		switch {
		case op.Kind == Append && op.Outcome != Fail:
			if seq := at[op.Texts[len(op.Texts)-1]]; seq != 0 {
				all = append(all, placed{op, seq, true})
			}
		case op.Kind == Read && op.Outcome == OK && op.HasSeq:
			if op.Seq > uint64(len(log)) {
				v.Add("%s: the log ends at %d", op, len(log))
			}
			all = append(all, placed{op, op.Seq, false})
		}
	}
	sweep(v, all)
}

// Versions demands the same of versions, which compactions have, too: of all operations that were told one. And a guarded
// write that succeeded made exactly the version after its guard.
func Versions(v *Verdict, ops []*Op) {
	var all []placed
	by := map[uint64]*Op{}
	for _, op := range ops {
		if op.Outcome != OK || !op.HasVer {
			continue
		}
		write := op.Kind != Read
		all = append(all, placed{op, op.Version, write})
		if !write {
			continue
		}
		if other := by[op.Version]; other != nil {
			v.Add("one version for two writes: %s / %s", other, op)
		}
		by[op.Version] = op
		if op.Guarded && op.Version != op.Guard+1 {
			v.Add("%s: if_version was %d", op, op.Guard)
		}
	}
	sweep(v, all)
}

// Compactions demands that a final version is made of the appends in the log and of compactions: all that were acknowledged, and
// none that was not sent.
func Compactions(v *Verdict, ops []*Op, f Final) {
	in := make(map[string]bool, len(f.Log))
	for _, e := range f.Log {
		in[e.Text] = true
	}
	var appends, acked, unknown uint64
	for _, op := range ops {
		switch {
		case op.Kind == Append && in[op.Texts[0]]:
			appends++
		case op.Kind == Compact && op.Outcome == OK:
			acked++
		case op.Kind == Compact && op.Outcome == Unknown:
			unknown++
		}
	}
	v.Checked++
	if f.Version < appends+acked || f.Version > appends+acked+unknown {
		v.Add("%s: version %d is not made of %d appends in the log, %d compactions acknowledged and at most %d unknown", f.Node, f.Version, appends, acked, unknown)
	}
}

// sweep reports operations that stand before, or for writes at, the place of what had ended before they began.
func sweep(v *Verdict, all []placed) {
	v.Checked += len(all)
	byEnd := slices.Clone(all)
	slices.SortFunc(all, func(a, b placed) int { return cmp.Compare(a.op.Start, b.op.Start) })
	slices.SortFunc(byEnd, func(a, b placed) int { return cmp.Compare(a.op.End, b.op.End) })
	var far *placed
	next := 0
	for i := range all {
		p := &all[i]
		for ; next < len(byEnd) && byEnd[next].op.End < p.op.Start; next++ {
			if q := &byEnd[next]; far == nil || q.at > far.at {
				far = q
			}
		}
		switch {
		case far == nil:
		case p.at < far.at:
			v.Add("went back: %s, though before it %s", p.op, far.op)
		case p.write && p.at == far.at:
			v.Add("seen before it was sent: %s, though before it %s", p.op, far.op)
		}
	}
}
