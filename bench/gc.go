package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"fastpaca/bench/hist"
	"fastpaca/bench/report"
)

// gcCycle is one line of GODEBUG=gctrace=1.
type gcCycle struct {
	wall   float64 // ms, concurrent marking
	cpu    float64 // ms, all of marking: assists, dedicated and idle workers, both pauses
	pauses float64 // ms, both stop-the-world phases
	live   float64 // MB found alive
}

// The runtime prints (runtime/extern.go):
//
//	gc 12 @3.456s 2%: 0.05+12+0.01 ms clock, 0.1+1.2/12/0+0.02 ms cpu, 300->320->200 MB, 310 MB goal, ...
var gcLine = regexp.MustCompile(`gc \d+ @[\d.]+s \d+%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock, ([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu, \d+->\d+->(\d+) MB`)

// parseGC reads the cycles in what a process wrote to standard error.
func parseGC(text string) []gcCycle {
	var out []gcCycle
	for _, m := range gcLine.FindAllStringSubmatch(text, -1) {
		var f [10]float64
		for i := 1; i < len(m); i++ {
			f[i], _ = strconv.ParseFloat(m[i], 64) // the expression lets nothing but numbers through
		}
		out = append(out, gcCycle{
			wall: f[2], pauses: f[1] + f[3], cpu: f[4] + f[5] + f[6] + f[7] + f[8], live: f[9],
		})
	}
	return out
}

// gcCycles: what one collection costs with few and with many messages in the same number of contexts. A low GOGC
// makes collections frequent; their cost is that of what is alive, whatever GOGC is.
func gcCycles(b *bench) error {
	contexts := b.pickInt(10_000, 1_000)
	s, err := b.startOurs("", "GODEBUG=gctrace=1", "GOGC=10")
	if err != nil {
		return err
	}
	if err := b.putContexts(s, manyPrefix, contexts, `{}`); err != nil {
		return err
	}
	// cycles provokes collections by appending some more, one batch at a time, and returns those that this caused.
	cycles := func(batches int) ([]gcCycle, error) {
		before, err := os.ReadFile(s.log)
		if err != nil {
			return nil, err
		}
		if err := b.fillBatches(s, manyPrefix, contexts, manyPerBatch, batches, 1); err != nil {
			return nil, err
		}
		after, err := os.ReadFile(s.log)
		if err != nil {
			return nil, err
		}
		return parseGC(string(after[len(before):])), nil
	}
	b.stepOf(0.15, "few messages")
	if err := b.fill(s, manyPrefix, contexts, 1, 1, 16); err != nil {
		return err
	}
	few, err := cycles(contexts / 20)
	if err != nil {
		return err
	}
	b.stepOf(0.5, "%d messages", contexts*100)
	if err := b.fill(s, manyPrefix, contexts, manyPerBatch, 1, 16); err != nil {
		return err
	}
	b.stepOf(0.35, "many messages")
	many, err := cycles(contexts / 3)
	if err != nil {
		return err
	}
	if len(few) == 0 || len(many) == 0 {
		b.note("gc: no collections seen (%d with few messages, %d with many); no claim", len(few), len(many))
		return nil
	}
	b.rep.Table(fmt.Sprintf("Garbage collection, %s contexts (medians; ms)", report.Number(float64(contexts), "")),
		"messages", "cycles", "alive MB", "mark cpu", "mark wall", "pauses")
	med := func(cs []gcCycle, f func(gcCycle) float64) float64 {
		var xs []float64
		for _, c := range cs {
			xs = append(xs, f(c))
		}
		return hist.Median(xs)
	}
	cpu := func(c gcCycle) float64 { return c.cpu }
	for _, x := range []struct {
		n  int
		cs []gcCycle
	}{{contexts, few}, {contexts * 101, many}} {
		b.rep.Row(report.Number(float64(x.n), ""), fmt.Sprint(len(x.cs)), report.Number(med(x.cs, func(c gcCycle) float64 { return c.live }), ""),
			report.Number(med(x.cs, cpu), ""), report.Number(med(x.cs, func(c gcCycle) float64 { return c.wall }), ""),
			report.Number(med(x.cs, func(c gcCycle) float64 { return c.pauses }), ""))
	}
	b.claimAtScale("gc.growth", "a garbage collection with 100 times the messages", []float64{med(many, cpu) / max(med(few, cpu), 0.01)}, "x", atMost(2))
	return nil
}

// sampleSum adds up the samples of a series (all label sets) in Prometheus text; ok is false where there is none.
func sampleSum(text, name string) (sum float64, ok bool) {
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, name)
		if !found || rest == "" || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		f := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		if len(f) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(f[0], 64); err == nil {
			sum, ok = sum+v, true
		}
	}
	return sum, ok
}
