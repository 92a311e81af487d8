package check

import "slices"

// Policy is a last_n policy over messages of one size.
type Policy struct {
	Trigger int // the window is cut when more messages than this are in it
	Keep    int // to so many
}

// Windows demands of a context that is never compacted that every window that was read is what the policy makes of the log at that
// version: version v is the first v append requests, the policy looking once after each.
func Windows(v *Verdict, ops []*Op, log []Entry, p Policy) {
	size := make(map[string]int, len(ops)) // first text of a request: how many messages
	for _, op := range ops {
		if op.Kind == Append {
			size[op.Texts[0]] = len(op.Texts)
		}
	}
	var reads []*Op
	for _, op := range ops {
		if op.IsWindow && op.Outcome == OK {
			reads = append(reads, op)
		}
	}
	slices.SortFunc(reads, func(a, b *Op) int { return int(a.Version) - int(b.Version) })
	from, to, version, next := 0, 0, uint64(0), 0
	for {
		for ; next < len(reads) && reads[next].Version == version; next++ {
			op := reads[next]
			v.Checked++
			if !same(op.Window, log[from:to]) {
				v.Add("%s: window of %d messages, not messages %d to %d of the log", op, len(op.Window), from+1, to)
			}
		}
		if to >= len(log) {
			break
		}
		n := size[log[to].Text]
		if n == 0 || to+n > len(log) {
			v.Add("seq %d (%q) does not begin an append request that was sent", to+1, log[to].Text)
			return
		}
		to, version = to+n, version+1
		if to-from > p.Trigger {
			from = max(from, to-p.Keep)
		}
	}
	for ; next < len(reads); next++ {
		v.Add("%s: the log makes %d versions only", reads[next], version)
	}
}

func same(window []string, log []Entry) bool {
	return slices.EqualFunc(window, log, func(w string, e Entry) bool { return w == e.Text })
}

// Replaced demands of windows of a context whose policy is manual that they are what some compaction put in place, whole, and
// behind it a piece of the log without a gap.
func Replaced(v *Verdict, ops []*Op, log []Entry) {
	by := map[string]*Op{}
	for _, op := range ops {
		if op.Kind == Compact {
			by[op.Texts[0]] = op
		}
	}
	at := make(map[string]int, len(log))
	for i, e := range log {
		at[e.Text] = i
	}
	for _, op := range ops {
		if !op.IsWindow || op.Outcome != OK {
			continue
		}
		v.Checked++
		rest := op.Window
		if len(rest) > 0 {
			if c := by[rest[0]]; c != nil {
				switch {
				case c.Outcome == Fail:
					v.Add("%s: the window is of a compaction that was refused: %s", op, c)
				case c.Start > op.End:
					v.Add("%s: the window is of a compaction of later: %s", op, c)
				case len(rest) < len(c.Texts) || !slices.Equal(rest[:len(c.Texts)], c.Texts):
					v.Add("%s: half a replacement: %s", op, c)
					continue
				}
				rest = rest[len(c.Texts):]
			}
		}
		if len(rest) == 0 {
			continue
		}
		i, ok := at[rest[0]]
		if !ok || i+len(rest) > len(log) || !same(rest, log[i:i+len(rest)]) {
			v.Add("%s: behind the replacement stands no piece of the log", op)
		}
	}
}
