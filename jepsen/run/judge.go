package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"fastpaca/jepsen/run/check"
	"fastpaca/shard"

	"github.com/anishathalye/porcupine"
)

const (
	// A context whose leader is lost gets another within an election or two (0.6 to 1.2 s each), and clients wait out their own
	// timeouts; the rest is a machine with two cores that others use as well.
	silenceBound = 10 * time.Second
	// afterBlind is what a blind fault may add behind its end: processes start, read their logs, and elect.
	afterBlind = 15 * time.Second

	// streamsWithin is how long streams may take to come to the end of the log once nothing is written.
	streamsWithin = 30 * time.Second

	// finalWithin is how long a read may be repeated when all is over: a page of thousands of messages on a busy machine.
	finalWithin = time.Minute

	sampleOps     = 150 // of a context, for porcupine
	sampleTimeout = 3 * time.Second
	pageLimit     = 5000
)

// final reads a context's state through n.
func (l *clients) final(ctx context.Context, n *node, i int) (f check.Final, err error) {
	f.Node = n.name
	get := func(path string) (a answer) {
		for deadline := time.Now().Add(finalWithin); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
			if a = l.send(ctx, n, "GET", contextPath(i)+path, "", nil); a.err == nil && a.code == 200 {
				return a
			}
		}
		err = errors.Join(err, fmt.Errorf("%s: GET %s%s: %d %s %v", n.name, contextPath(i), path, a.code, a.Error, a.err))
		return a
	}
	for next := uint64(1); err == nil; {
		a := get(fmt.Sprintf("/messages?from_seq=%d&limit=%d", next, pageLimit))
		for j := range a.Messages {
			f.Log = append(f.Log, check.Entry{Seq: a.Messages[j].Seq, Text: a.Messages[j].text()})
		}
		if a.Next == nil {
			break
		}
		next = *a.Next
	}
	a := get("/context")
	f.Version = a.Version
	for j := range a.Messages {
		f.Window = append(f.Window, a.Messages[j].text())
	}
	return f, err
}

// judge runs all checkers. The load is over and the cluster whole.
func (l *clients) judge(ctx context.Context, n *nemesis, subs []*subscriber, periods []period, ended int64) (vs []*check.Verdict, err error) {
	named := func(name string) *check.Verdict {
		v := &check.Verdict{Name: name}
		vs = append(vs, v)
		return v
	}
	logs, pages := named("logs: unique, gapless, nothing lost or invented, equal on all nodes"), named("pages are pieces of the log")
	realtime, versions := named("linearizable: appends and reads against the log"), named("versions and guards")
	compactions, windows := named("versions are made of appends and compactions"), named("windows are the policy applied to the log")
	replaced, streams := named("windows are a whole replacement and a piece of the log"), named("streams: every message once, in order")
	stalled := named("streams that stalled: a piece of the log without a hole")
	sample, silence := named("porcupine, on samples"), named("availability")
	l.old.judge(named("exactly once: a write under a key, sent again much later, gets its first answer"))
	l.judgeLives(named("contexts made, changed and deleted: linearizable, by porcupine"))
	if err := n.c.judgeStates(named("replicas hold the same at the same index"), l.ids()); err != nil {
		return vs, err
	}
	archived := &check.Verdict{}
	if n.pg != nil {
		archived = named("the archive is the log")
	}
	by := byContext(l.history)
	streamsUntil := time.Now().Add(time.Duration(n.patience * float64(streamsWithin)))
	for i, ops := range by {
		var finals []check.Final
		for _, n := range l.c.nodes {
			f, ferr := l.final(ctx, n, i)
			if ferr != nil {
				return vs, ferr
			}
			finals = append(finals, f)
		}
		log := finals[0].Log
		check.Logs(logs, ops, finals)
		check.Pages(pages, ops, log)
		check.RealTime(realtime, ops, log)
		check.Versions(versions, ops)
		check.Compactions(compactions, ops, finals[0])
		end := &check.Op{Context: i, Kind: check.Read, Start: ended, End: ended + 1, IsWindow: true, Version: finals[0].Version, Window: finals[0].Window}
		if i < windowed {
			check.Windows(windows, append(slices.Clone(ops), end), log, lastN)
		} else {
			check.Replaced(replaced, append(slices.Clone(ops), end), log)
		}
		for _, s := range subs {
			if s.context == i {
				for s.last.Load() < uint64(len(log)) && time.Now().Before(streamsUntil) {
					time.Sleep(50 * time.Millisecond)
				}
				s.mu.Lock()
				check.Streams(streams, fmt.Sprintf("subscriber of context %d", i), s.events, log)
				s.mu.Unlock()
			}
		}
		n.stalled.judge(stalled, i, log)
		judgeSample(sample, i, ops)
		if n.pg != nil {
			if err := n.pg.judge(ctx, archived, fmt.Sprint("jepsen-", i), log); err != nil {
				return vs, err
			}
		}
	}
	judgeSilence(silence, by, periods, ended, n.patience)
	return vs, nil
}

// levelWithin bounds how long replicas may be at different indices once nothing is written any more.
const levelWithin = 60 * time.Second

// copies is how many replicas the product has of each shard.
const copies = 3

// judgeStates compares what the replicas hold, at once and then until all are level.
func (c *cluster) judgeStates(v *check.Verdict, ids []string) error {
	if _, err := os.Stat(c.nodes[0].socket); err != nil {
		v.Note = "LEFT OUT: the server is built without the tag faults"
		return nil
	}
	command := "state\n" + strings.Join(ids, "\n") + "\n"
	for deadline := time.Now().Add(levelWithin); ; time.Sleep(500 * time.Millisecond) {
		var all []check.Replica
		for _, n := range c.nodes {
			said, err := n.tell("%s", command)
			if err != nil {
				return err
			}
			for line := range strings.Lines(said) {
				r := check.Replica{Node: n.name}
				if _, err := fmt.Sscan(line, &r.Shard, &r.Applied, &r.Stopped, &r.Hash); err != nil {
					return fmt.Errorf("%s: state: %q: %w", n.name, line, err)
				}
				all = append(all, r)
			}
		}
		if check.States(v, all, shard.Shards, copies) || v.Count > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			v.Note = fmt.Sprintf("some replicas were at different indices for %s after the last write", levelWithin)
			return nil
		}
	}
}

type counted struct {
	n       uint64 // messages written; 0: a read
	result  uint64
	unknown bool
}

// judgeSample gives the first operations of a context to a checker that shares no code and no idea with ours.
func judgeSample(v *check.Verdict, context int, ops []*check.Op) {
	var in []*check.Op
	for _, op := range ops {
		if op.Outcome != check.Fail && (op.Kind == check.Append || op.Kind == check.Read && op.HasSeq) {
			in = append(in, op)
		}
	}
	slices.SortFunc(in, func(a, b *check.Op) int { return int(a.Start - b.Start) })
	end := int64(check.Open)
	if len(in) > sampleOps {
		end, in = in[sampleOps].Start, in[:sampleOps]
	}
	var history []porcupine.Operation
	for _, op := range in {
		o := counted{n: uint64(len(op.Texts)), result: op.Seq, unknown: op.Outcome == check.Unknown}
		if op.End > end { // what was under way when the sample ends
			if o.unknown = true; o.n == 0 {
				continue
			}
		}
		ret := op.End
		if o.unknown {
			ret = check.Open
		}
		history = append(history, porcupine.Operation{Input: o, Call: op.Start, Output: o, Return: ret})
	}
	model := porcupine.Model{
		Init: func() any { return uint64(0) },
		Step: func(state, input, _ any) (bool, any) {
			o, n := input.(counted), state.(uint64)+input.(counted).n
			return o.unknown || o.result == n, n
		},
	}
	switch porcupine.CheckOperationsTimeout(model, history, sampleTimeout) {
	case porcupine.Illegal:
		v.Count++
		v.Violations = append(v.Violations, fmt.Sprintf("the first %d operations of context %d are not linearizable", len(history), context))
	case porcupine.Unknown:
		v.Note += fmt.Sprintf("context %d: not decided in %s. ", context, sampleTimeout)
	case porcupine.Ok:
		v.Checked += len(history)
	}
}

// judgeSilence measures, per fault, the longest time in which a context that was written to all the time acknowledged nothing.
// patience stretches the bounds, for machines that others use as well; so does each hiccup of the harness itself.
func judgeSilence(v *check.Verdict, byContext [][]*check.Op, periods []period, ended int64, patience float64) {
	longest := longestSilences(byContext, periods, ended)
	for i, p := range periods {
		v.Checked++
		bound := p.bound(patience)
		if longest[i] > bound {
			v.Add("%s at %.1fs: a context acknowledged nothing for %.1fs, the bound is %.1fs (%s)", p.Kind,
				float64(p.Start)/1e9, float64(longest[i])/1e9, float64(bound)/1e9, p.Detail)
		}
	}
}

// bound is the longest silence that the fault may bring about, in ns.
func (p *period) bound(patience float64) int64 {
	bound := int64(patience*float64(silenceBound)) + p.Hiccup
	if p.Blind {
		bound = max(bound, p.BlindEnd-p.Start+int64(patience*float64(afterBlind))+p.Hiccup)
	}
	return bound
}

// longestSilences gives for each fault the longest pause between acknowledged writes of any context that overlaps it.
func longestSilences(byContext [][]*check.Op, periods []period, ended int64) []int64 {
	out := make([]int64, len(periods))
	for _, ops := range byContext {
		acks := []int64{0}
		for _, op := range ops {
			if op.Kind != check.Read && op.Outcome == check.OK {
				acks = append(acks, op.End)
			}
		}
		acks = append(acks, ended)
		slices.Sort(acks)
		for j := 1; j < len(acks); j++ {
			for i, p := range periods {
				if acks[j-1] < p.End && acks[j] > p.Start {
					out[i] = max(out[i], acks[j]-acks[j-1])
				}
			}
		}
	}
	return out
}
