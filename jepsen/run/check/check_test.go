package check

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// good is a history without a fault: appends one after the other, each read back at once, the fifth a batch of two, the
// sixth of an unknown outcome that came true, the seventh one that did not.
func good() (ops []*Op, log []Entry) {
	now, version := int64(0), uint64(0)
	tick := func() int64 { now += 10; return now }
	for i := range 8 {
		op := &Op{Kind: Append, Start: tick(), Texts: []string{fmt.Sprint("m", i)}, HasVer: true}
		if i == 4 {
			op.Texts = append(op.Texts, "m4b")
		}
		if op.End = tick(); i == 5 || i == 6 {
			op.End, op.Outcome, op.HasVer = Open, Unknown, false
		}
		if i != 6 {
			for _, t := range op.Texts {
				log = append(log, Entry{uint64(len(log) + 1), t})
			}
			version++
		}
		op.Seq, op.Version = uint64(len(log)), version
		ops = append(ops, op)
		read := &Op{Kind: Read, Start: tick(), End: tick(), Seq: uint64(len(log)), Version: version, HasSeq: true, HasVer: true, IsWindow: true}
		from := 0
		if len(log) > 3 {
			from = len(log) - 3
		}
		for _, e := range log[from:] {
			read.Window = append(read.Window, e.Text)
		}
		read.Page = append(read.Page, log[len(log)-1])
		ops = append(ops, read)
	}
	ops = append(ops, &Op{Kind: Append, Outcome: Fail, Start: tick(), End: tick(), Texts: []string{"refused"}})
	return ops, log
}

func judge(ops []*Op, log []Entry) *Verdict {
	v := &Verdict{}
	version := uint64(0)
	for _, op := range ops {
		version = max(version, op.Version)
	}
	f := Final{Node: "n1", Log: log, Version: version}
	Logs(v, ops, []Final{f, f})
	Pages(v, ops, log)
	RealTime(v, ops, log)
	Versions(v, ops)
	Compactions(v, ops, f)
	Windows(v, ops, log, Policy{Trigger: 3, Keep: 3})
	return v
}

func TestGoodHistory(t *testing.T) {
	ops, log := good()
	v := judge(ops, log)
	require.Zero(t, v.Count, "%v", v.Violations)
	require.Greater(t, v.Checked, 40)
}

// TestPlantedViolations: each kind of lie is caught, and for what it is.
func TestPlantedViolations(t *testing.T) {
	renumber := func(log []Entry) []Entry {
		for i := range log {
			log[i].Seq = uint64(i + 1)
		}
		return log
	}
	for name, c := range map[string]struct {
		plant func(ops []*Op, log []Entry) ([]*Op, []Entry)
		says  string
	}{
		"lost ack":  {func(o []*Op, l []Entry) ([]*Op, []Entry) { return o, l[:len(l)-1] }, "lost: append"},
		"duplicate": {func(o []*Op, l []Entry) ([]*Op, []Entry) { return o, append(l, Entry{uint64(len(l) + 1), "m2"}) }, "stands at seq"},
		"gap":       {func(o []*Op, l []Entry) ([]*Op, []Entry) { l[6].Seq = 9; return o, l }, "holds seq"},
		"invented":  {func(o []*Op, l []Entry) ([]*Op, []Entry) { return o, append(l, Entry{uint64(len(l) + 1), "?"}) }, "sent by nobody"},
		"refused but written": {func(o []*Op, l []Entry) ([]*Op, []Entry) {
			return o, append(l, Entry{uint64(len(l) + 1), "refused"})
		}, "refused, but written"},
		"swapped": {func(o []*Op, l []Entry) ([]*Op, []Entry) {
			l[1], l[2] = l[2], l[1]
			return o, renumber(l)
		}, "went back"},
		"half a batch": {func(o []*Op, l []Entry) ([]*Op, []Entry) {
			o[8].Outcome = Unknown
			return o, renumber(append(l[:5:5], l[6:]...))
		}, "half a batch"},
		"stale read":         {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[5].Seq--; return o, l }, "went back: read"},
		"read of the future": {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[3].Seq++; return o, l }, "seen before it was sent"},
		"stale version":      {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[5].Version--; return o, l }, "went back: read"},
		"guard ignored":      {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[4].Guarded, o[4].Guard = true, 1; return o, l }, "if_version was 1"},
		"one version twice":  {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[4].Version = 2; return o, l }, "one version for two"},
		"wrong page":         {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[5].Page[0].Text = "m0"; return o, l }, "which the log does not have"},
		"wrong window":       {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[9].Window = o[9].Window[1:]; return o, l }, "not messages"},
		"too many versions":  {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[15].Version++; return o, l }, "is not made of"},
		"answers disagree":   {func(o []*Op, l []Entry) ([]*Op, []Entry) { o[4].Said = "seq 3, then seq 4"; return o, l }, "then seq 4"},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(c.plant(good()))
			require.NotZero(t, v.Count)
			require.Contains(t, fmt.Sprint(v.Violations), c.says)
		})
	}
}

func TestReplicasThatDiffer(t *testing.T) {
	ops, log := good()
	v := &Verdict{}
	Logs(v, ops, []Final{{Node: "n1", Log: log, Version: 7}, {Node: "n2", Log: log[:3], Version: 7}})
	require.Contains(t, fmt.Sprint(v.Violations), "differs from n1")
}

func TestStreams(t *testing.T) {
	_, log := good()
	var all []Event
	for _, e := range log {
		all = append(all, Event{Type: "message", Version: e.Seq, Seq: e.Seq, Text: e.Text})
	}
	run := func(events ...Event) string {
		v := &Verdict{}
		Streams(v, "s", events, log)
		return fmt.Sprint(v.Violations)
	}
	cut := func(from, to int, between ...Event) []Event {
		return append(append(append([]Event{}, all[:from]...), between...), all[to:]...)
	}
	require.Equal(t, "[]", run(all...))
	require.Equal(t, "[]", run(cut(2, 4, Event{Type: "gap"})...), "an announced gap")
	require.Contains(t, run(cut(2, 4)...), "seqs 3 to 4 are missing")
	require.Contains(t, run(cut(3, 2)...), "seq 3 again")
	require.Contains(t, run(all[:5]...), "at the end it has seen up to seq 5")
	wrong := cut(0, 0)
	wrong[2].Text = "m0"
	require.Contains(t, run(wrong...), "which the log does not have")
}

func TestReplaced(t *testing.T) {
	_, log := good()
	c := &Op{Kind: Compact, Texts: []string{"c1", "c2"}, Start: 1, End: 2}
	refused := &Op{Kind: Compact, Outcome: Fail, Texts: []string{"r1"}, Start: 1, End: 2}
	run := func(window ...string) string {
		v := &Verdict{}
		Replaced(v, []*Op{c, refused, {Kind: Read, Start: 3, End: 4, IsWindow: true, Window: window}}, log)
		return fmt.Sprint(v.Violations)
	}
	require.Equal(t, "[]", run("c1", "c2", "m2", "m3"))
	require.Equal(t, "[]", run("m0", "m1"))
	require.Contains(t, run("c1", "m2"), "half a replacement")
	require.Contains(t, run("c1", "c2", "m2", "m1"), "no piece of the log")
	require.Contains(t, run("r1"), "was refused")
}

// TestStates: replicas at one index that differ are found, those at different ones are not compared.
func TestStates(t *testing.T) {
	a, b := Replica{Node: "n1", Shard: 3, Applied: 7, Hash: "x"}, Replica{Node: "n2", Shard: 3, Applied: 7, Hash: "x"}
	v := &Verdict{}
	require.True(t, States(v, []Replica{a, b}, 1, 2))
	require.False(t, States(v, []Replica{a, b}, 2, 2), "a shard was not seen")
	later := b
	later.Applied, later.Hash = 8, "y"
	require.False(t, States(v, []Replica{a, later}, 1, 2))
	require.Zero(t, v.Count)
	b.Hash = "y"
	States(v, []Replica{a, b}, 1, 2)
	require.Equal(t, 1, v.Count)
	a.Stopped = true
	States(v, []Replica{a}, 1, 1)
	require.Equal(t, 2, v.Count)
}

// TestArchive: a message that is missing, another one, and one too many.
func TestArchive(t *testing.T) {
	log := []Entry{{1, "a"}, {2, "b"}}
	for want, archived := range map[int][][]Entry{0: {log}, 1: {log[:1], {{1, "a"}, {2, "x"}}, append(log[:2:2], Entry{3, "c"})}} {
		for _, a := range archived {
			v := &Verdict{}
			Archive(v, "c", a, log)
			require.Equal(t, want, v.Count, "%v", a)
		}
	}
}

// TestLives: a history of a context that is made, changed and deleted, and what each broken promise does to it.
func TestLives(t *testing.T) {
	history := func() []*Life {
		ops := []*Life{
			{Kind: Get, Code: 404},
			{Kind: Put, Code: 201, Value: 5},
			{Kind: Patch, Code: 200, Value: 6},
			{Kind: Extend, Code: 201, Saw: State{Version: 1}},
			{Kind: Extend, Outcome: Unknown},
			{Kind: Get, Code: 200, Saw: State{Exists: true, Budget: 5, Mark: 6, Version: 2}},
			{Kind: Put, Code: 200, Value: 7},
			{Kind: Put, Outcome: Fail, Value: 8},
			{Kind: Delete, Code: 204},
			{Kind: Extend, Code: 409},
			{Kind: Delete, Code: 204},
			{Kind: Get, Code: 200, Saw: State{Exists: true, Deleted: true, Budget: 7, Mark: 6, Version: 2}},
		}
		for i, op := range ops {
			op.Start, op.End = int64(10*i), int64(10*i+5)
			if op.Outcome == Unknown {
				op.End = Open
			}
		}
		return ops
	}
	judge := func(ops []*Life) int {
		v := &Verdict{}
		Lives(v, "c", ops)
		require.Empty(t, v.Note)
		return v.Count
	}
	require.Zero(t, judge(history()))
	for name, plant := range map[string]func(ops []*Life){
		"made twice":                   func(ops []*Life) { ops[6].Code = 201 },
		"seen before it was made":      func(ops []*Life) { ops[0].Code, ops[0].Saw = 200, State{Exists: true} },
		"a change that is not seen":    func(ops []*Life) { ops[5].Saw.Mark = 0 },
		"a version twice":              func(ops []*Life) { ops[4].Outcome, ops[4].Code, ops[4].Saw.Version, ops[4].End = OK, 201, 1, 45 },
		"refused, but done":            func(ops []*Life) { ops[11].Saw.Budget = 8 },
		"an append to what is deleted": func(ops []*Life) { ops[9].Code, ops[9].Saw.Version = 201, 3 },
		"not deleted":                  func(ops []*Life) { ops[11].Saw.Deleted = false },
	} {
		ops := history()
		plant(ops)
		require.Equal(t, 1, judge(ops), name)
	}
}
