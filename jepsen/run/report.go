package main

import (
	"fmt"
	"html/template"
	"os"
	"slices"
	"strings"

	"fastpaca/jepsen/run/check"
)

// second is one second of the timeline.
type second struct {
	acked, failed, unknown int
	lat                    []int64 // of what succeeded, ns
}

func (r *result) seconds() []second {
	s := make([]second, r.Ended/1e9+1)
	for _, op := range r.history {
		at := &s[min(int(op.Start/1e9), len(s)-1)]
		switch op.Outcome {
		case check.OK:
			at.acked++
			at.lat = append(at.lat, op.End-op.Start)
		case check.Fail:
			at.failed++
		case check.Unknown:
			at.unknown++
		}
	}
	return s
}

// counts returns the operations of each kind by outcome.
func (r *result) counts() (c [3][3]int) {
	for _, op := range r.history {
		c[op.Kind][op.Outcome]++
	}
	return c
}

func (r *result) summary() string {
	c := r.counts()
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes, seed %d, %.0f s, %d faults, %d operations (%d shed)", r.Nodes, r.Seed, float64(r.Ended)/1e9, len(r.Periods), len(r.history), r.Shed)
	for k, name := range []string{"appends", "compactions", "reads"} {
		fmt.Fprintf(&b, "; %s: %d acked, %d failed, %d unknown", name, c[k][0], c[k][1], c[k][2])
	}
	fmt.Fprintf(&b, "; %d operations on contexts that come and go", r.Lived)
	fmt.Fprintf(&b, "; %d stream events over %d connections; packets %+v; the harness did not run for %.1f s in all", r.Events, r.Conns, r.Packets, float64(r.Hiccups)/1e9)
	return b.String()
}

// kinds sums faults up by kind: how often alone, how often together with others, and the longest silence of a context of each.
func (r *result) kinds() []string {
	type sum struct {
		alone, mixed       int
		silence, inMixture int64
	}
	sums := map[string]*sum{}
	for i, p := range r.Periods {
		var longest int64
		if i < len(r.Longest) {
			longest = r.Longest[i]
		}
		parts := strings.Split(p.Kind, " + ")
		for _, k := range parts {
			s := sums[k]
			if s == nil {
				s = &sum{}
				sums[k] = s
			}
			if len(parts) == 1 {
				s.alone++
				s.silence = max(s.silence, longest)
			} else {
				s.mixed++
				s.inMixture = max(s.inMixture, longest)
			}
		}
	}
	var out []string
	for k, s := range sums {
		out = append(out, fmt.Sprintf("%-18s alone %3d times, longest silence of a context %5.1f s; in mixtures %3d times, %5.1f s", k, s.alone, float64(s.silence)/1e9, s.mixed, float64(s.inMixture)/1e9))
	}
	slices.Sort(out)
	return out
}

// draw writes the report: one file that needs no other.
func (r *result) draw(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return page.Execute(f, map[string]any{"R": r, "Summary": r.summary(), "Kinds": strings.Join(r.kinds(), "\n"), "SVG": template.HTML(r.svg())})
}

const (
	chartWidth, chartHeight, chartLeft, chartGap = 1160.0, 120.0, 60.0, 26.0
	rowHeight                                    = 14.0
)

// svg is the picture: faults over operations by outcome over latency, on one axis of time.
func (r *result) svg() string {
	var b strings.Builder
	s := r.seconds()
	x := func(ns int64) float64 { return chartLeft + float64(ns)/float64(max(r.Ended, 1))*(chartWidth-chartLeft) }
	var rows []string
	for _, p := range r.Periods {
		for _, k := range strings.Split(p.Kind, " + ") {
			if !slices.Contains(rows, k) {
				rows = append(rows, k)
			}
		}
	}
	top := float64(len(rows))*rowHeight + chartGap
	height := top + 2*(chartHeight+chartGap)
	fmt.Fprintf(&b, `<svg viewBox="-70 0 %g %g" font-size="10" font-family="sans-serif">`, chartWidth+80, height)
	for _, p := range r.Periods {
		fmt.Fprintf(&b, `<rect x="%.1f" y="0" width="%.1f" height="%g" fill="#d33" opacity=".07"/>`, x(p.Start), max(1, x(p.End)-x(p.Start)), height)
		for _, k := range strings.Split(p.Kind, " + ") {
			y := float64(slices.Index(rows, k)) * rowHeight
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%g" fill="#e9b44c"/><rect x="%.1f" y="%.1f" width="%.1f" height="%g" fill="#c0392b"><title>%s</title></rect>`,
				x(p.Start), y+4, x(p.Settled)-x(p.Start), rowHeight-8, x(p.Start), y+1, max(1, x(p.End)-x(p.Start)), rowHeight-2, template.HTMLEscapeString(p.Kind+": "+p.Detail))
		}
	}
	for i, k := range rows {
		fmt.Fprintf(&b, `<text x="%g" y="%.1f" text-anchor="end">%s</text>`, chartLeft-6, float64(i)*rowHeight+11, k)
	}
	chart := func(y float64, title string, most float64, lines map[string]func(second) float64) {
		fmt.Fprintf(&b, `<text x="%g" y="%.1f" text-anchor="end">%.0f</text><text x="%g" y="%.1f" text-anchor="end">0</text><text x="%g" y="%.1f" font-weight="bold">%s</text>`,
			chartLeft-6, y+8, most, chartLeft-6, y+chartHeight, chartLeft, y-6, title)
		fmt.Fprintf(&b, `<path d="M%g %.1fH%g" stroke="#999" fill="none"/>`, chartLeft, y+chartHeight, chartWidth)
		for color, value := range lines {
			fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" points="`, color)
			for i := range s {
				fmt.Fprintf(&b, "%.1f,%.1f ", x(min(int64(i)*1e9+5e8, r.Ended)), y+chartHeight-min(1, value(s[i])/most)*chartHeight)
			}
			b.WriteString(`"/>`)
		}
	}
	most := 1.0
	for i := range s {
		slices.Sort(s[i].lat)
		most = max(most, float64(s[i].acked+s[i].failed))
	}
	chart(top, "operations a second: succeeded (green), refused (orange), unknown (red)", most, map[string]func(second) float64{
		"#2a9d4a": func(s second) float64 { return float64(s.acked) }, "#e08a1e": func(s second) float64 { return float64(s.failed) },
		"#d0021b": func(s second) float64 { return float64(s.unknown) }})
	chart(top+chartHeight+chartGap, "latency in ms of what succeeded, by the second it began in: p50 (blue), p99 (purple), cut at 3000", 3000,
		map[string]func(second) float64{"#1f77b4": quantile(0.5), "#8e44ad": quantile(0.99)})
	for i := int64(0); i <= 10; i++ {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%d s</text>`, x(r.Ended*i/10), height-4, r.Ended*i/10/1e9)
	}
	b.WriteString("</svg>")
	return b.String()
}

func quantile(q float64) func(second) float64 {
	return func(s second) float64 {
		if len(s.lat) == 0 {
			return 0
		}
		return float64(s.lat[int(q*float64(len(s.lat)-1))]) / 1e6
	}
}

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"s":   func(ns int64) string { return fmt.Sprintf("%.1f", float64(ns)/1e9) },
	"sub": func(a, b int64) int64 { return a - b },
	"longest": func(r *result, i int) int64 {
		if i < len(r.Longest) {
			return r.Longest[i]
		}
		return 0
	},
}).Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>jepsen: {{.R.Nodes}} nodes, seed {{.R.Seed}}</title>
<style>body{font:14px/1.45 sans-serif;max-width:1240px;margin:2em auto;padding:0 1em}table{border-collapse:collapse}td,th{padding:2px 10px;text-align:left;
border-bottom:1px solid #ddd;vertical-align:top}.ok{color:#2a9d4a}.bad{color:#c0392b;font-weight:bold}pre{background:#f5f5f5;padding:8px;overflow:auto}</style>
<h1>{{.R.Nodes}} nodes, seed {{.R.Seed}}</h1>
<p>{{.R.Began.UTC.Format "2006-01-02 15:04:05"}} UTC, commit {{.R.Git}}. {{.Summary}}</p><pre>{{.R.Command}}</pre>
{{with .R.Trouble}}<p class="bad">The harness could not do its work: {{.}}</p>{{end}}
<h2>What held</h2><table><tr><th>promise<th>looked at<th>violations</tr>
{{range .R.Verdicts}}<tr><td>{{.Name}} {{.Note}}{{range .Violations}}<br><span class="bad">{{.}}</span>{{end}}<td>{{.Checked}}<td class="{{if .Count}}bad{{else}}ok{{end}}">{{.Count}}</tr>{{end}}</table>
<h2>What happened</h2><p>Faults: red while they last, yellow until the cluster is whole again.</p>{{.SVG}}
<h2>Faults by kind</h2><pre>{{.Kinds}}</pre>
<h2>Faults</h2><table><tr><th>at s<th>lasted s<th>whole after s<th>longest silence s<th>kind<th>what was done</tr>
{{range $i, $p := .R.Periods}}<tr><td>{{s .Start}}<td>{{s (sub .End .Start)}}<td>{{s (sub .Settled .End)}}<td>{{s (longest $.R $i)}}<td>{{.Kind}}<td>{{.Detail}} <span class="bad">{{.Error}}</span></tr>{{end}}</table></html>
`))
