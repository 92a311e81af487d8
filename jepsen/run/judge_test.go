package main

import (
	"fmt"
	"testing"

	"fastpaca/jepsen/run/check"

	"github.com/stretchr/testify/require"
)

// TestSilence: a fault is charged with the longest pause of any context that overlaps it, and with no other.
func TestSilence(t *testing.T) {
	const s = int64(1e9)
	var steady, stalled []*check.Op
	for at := s; at < 60*s; at += s {
		op := &check.Op{Kind: check.Append, End: at}
		if steady = append(steady, op); at <= 20*s || at >= 33*s {
			stalled = append(stalled, op)
		}
	}
	periods := []period{{Kind: "before", Start: 5 * s, End: 8 * s}, {Kind: "stall", Start: 21 * s, End: 25 * s}, {Kind: "blind", Blind: true, Start: 22 * s, End: 26 * s, BlindEnd: 26 * s}}
	require.Equal(t, []int64{s, 13 * s, 13 * s}, longestSilences([][]*check.Op{steady, stalled}, periods, 60*s))
	v := &check.Verdict{}
	judgeSilence(v, [][]*check.Op{steady, stalled}, periods, 60*s, 1)
	require.Equal(t, 1, v.Count, "%v", v.Violations)
	require.Contains(t, v.Violations[0], "stall at 21.0s")
	v = &check.Verdict{}
	judgeSilence(v, [][]*check.Op{steady, stalled}, periods, 60*s, 1.5)
	require.Zero(t, v.Count, "with more patience: %v", v.Violations)
	periods[1].Hiccup = 4 * s
	judgeSilence(v, [][]*check.Op{steady, stalled}, periods, 60*s, 1)
	require.Zero(t, v.Count, "what the harness slept through is not the product's: %v", v.Violations)
}

// TestSample: what reaches porcupine is the history; it finds a stale read in it, and none where there is none.
func TestSample(t *testing.T) {
	history := func() (ops []*check.Op) {
		for i := range 10 {
			at := int64(i * 100)
			ops = append(ops, &check.Op{Kind: check.Append, Start: at, End: at + 10, Texts: []string{fmt.Sprint(i)}, Seq: uint64(i + 1), HasSeq: true},
				&check.Op{Kind: check.Read, Start: at + 20, End: at + 30, Seq: uint64(i + 1), HasSeq: true},
				&check.Op{Kind: check.Append, Outcome: check.Unknown, Start: at + 40, End: check.Open, Texts: []string{"never"}})
		}
		return ops
	}
	v := &check.Verdict{}
	judgeSample(v, 1, history())
	require.Zero(t, v.Count)
	stale := history()
	stale[10].Seq-- // of a read that follows the fourth append
	require.Equal(t, check.Read, stale[10].Kind)
	judgeSample(v, 1, stale)
	require.Equal(t, 1, v.Count)
}

// TestReport draws a page of a run with a violation, and one of a run in which nothing was done.
func TestReport(t *testing.T) {
	r := &result{Nodes: 3, Seed: 5, Ended: 10e9, Periods: []period{{Kind: "kill-one + loss", Detail: "<n1>", Start: 1e9, End: 2e9, Settled: 3e9}},
		Longest: []int64{2e9}, Verdicts: []*check.Verdict{{Name: "logs", Count: 1, Violations: []string{"lost: <x>"}}},
		history: []*check.Op{{Start: 1e9, End: 2e9}, {Start: 9e9, End: check.Open, Outcome: check.Unknown}}}
	require.NoError(t, r.draw(t.TempDir()+"/r.html"))
	require.Contains(t, r.svg(), "&lt;n1&gt;", "escaped")
	r.Periods = append(r.Periods, period{Kind: "loss"}, period{Kind: "loss"})
	r.Longest = []int64{2e9, 1e9, 3e9}
	sums := r.kinds()
	require.Len(t, sums, 2)
	require.Contains(t, sums[1], "alone   2 times, longest silence of a context   3.0 s; in mixtures   1 times,   2.0 s")
	require.NoError(t, (&result{}).draw(t.TempDir()+"/r.html"))
}
