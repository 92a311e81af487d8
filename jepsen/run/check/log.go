package check

import "slices"

// Final is what one node gives as a context's state once all is quiet.
type Final struct {
	Node    string
	Log     []Entry
	Version uint64
	Window  []string
}

// Logs demands of one context's final logs, one per node: seqs 1, 2, 3 ... without a gap; the same on all nodes; every
// acknowledged message there, once, at the seq that was answered; nothing there that nobody sent or that was refused; batches whole.
func Logs(v *Verdict, ops []*Op, finals []Final) {
	if len(finals) == 0 {
		return
	}
	for _, f := range finals {
		for i, e := range f.Log {
			if e.Seq != uint64(i+1) {
				v.Add("%s: place %d of the log holds seq %d", f.Node, i+1, e.Seq)
				break
			}
		}
		if !slices.Equal(f.Log, finals[0].Log) || f.Version != finals[0].Version || !slices.Equal(f.Window, finals[0].Window) {
			v.Add("%s (%d messages, version %d, window of %d) differs from %s (%d messages, version %d, window of %d) %s", f.Node, len(f.Log), f.Version,
				len(f.Window), finals[0].Node, len(finals[0].Log), finals[0].Version, len(finals[0].Window), firstDifference(f.Log, finals[0].Log))
		}
	}
	log := finals[0].Log
	at := make(map[string]uint64, len(log))
	for _, e := range log {
		if before, twice := at[e.Text]; twice {
			v.Add("message %q stands at seq %d and at seq %d", e.Text, before, e.Seq)
		}
		at[e.Text] = e.Seq
	}
	sent := 0
	for _, op := range ops {
		if op.Said != "" {
			v.Add("%s: %s", op, op.Said)
		}
		if op.Kind != Append {
			continue
		}
		v.Checked++
		there := 0
		for i, text := range op.Texts {
			seq, ok := at[text]
			if !ok {
				continue
			}
			there++
			if first := at[op.Texts[0]]; first != 0 && seq != first+uint64(i) {
				v.Add("%s: not in one piece, message %d is at seq %d, the first at %d", op, i+1, seq, first)
			}
		}
		sent += there
		last := at[op.Texts[len(op.Texts)-1]]
		switch {
		case op.Outcome == OK && there < len(op.Texts):
			v.Add("lost: %s; the log ends at %d", op, len(log))
		case op.Outcome == OK && last != op.Seq:
			v.Add("%s: is at seq %d", op, last)
		case op.Outcome == Fail && there > 0:
			v.Add("refused, but written: %s, at seq %d", op, last)
		case there > 0 && there < len(op.Texts):
			v.Add("half a batch: %d of %d messages: %s", there, len(op.Texts), op)
		}
	}
	if sent < len(at) {
		v.Add("invented: %d of the log's %d messages were sent by nobody", len(at)-sent, len(at))
	}
}

func firstDifference(a, b []Entry) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "first at " + a[i].Text + " / " + b[i].Text
		}
	}
	return ""
}

// Pages demands that every page that was read during the run is a piece of the final log.
func Pages(v *Verdict, ops []*Op, log []Entry) {
	for _, op := range ops {
		for _, e := range op.Page {
			v.Checked++
			if e.Seq == 0 || e.Seq > uint64(len(log)) || log[e.Seq-1] != e {
				v.Add("%s: saw %q at seq %d, which the log does not have", op, e.Text, e.Seq)
			}
		}
	}
}
