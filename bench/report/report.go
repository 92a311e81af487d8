// Package report is what a benchmark run leaves behind: tables for people, a JSON file for machines, and a line of
// progress while it works.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Report is a whole run.
type Report struct {
	Meta   Meta    `json:"meta"`
	Claims []Claim `json:"claims"`
	Facts  []Fact  `json:"facts"`
	Rounds []Round `json:"rounds"`
	tables []table
}

// Meta says where and of what the figures are.
type Meta struct {
	Date       string   `json:"date"` // RFC 3339
	Revision   string   `json:"revision"`
	Dirty      bool     `json:"dirty"` // the work tree had changes
	Go         string   `json:"go"`
	CPU        string   `json:"cpu"`
	Cores      int      `json:"cores"`
	Kernel     string   `json:"kernel"`
	FileSystem string   `json:"file_system"`
	GOMAXPROCS int      `json:"gomaxprocs"` // of every server
	Quick      bool     `json:"quick"`
	Scenarios  []string `json:"scenarios"`
	Seconds    float64  `json:"seconds"`     // the whole run took
	LoadBefore string   `json:"load_before"` // /proc/loadavg: was the machine quiet
	Notes      []string `json:"notes,omitempty"`
}

// Claim is a figure with a target.
type Claim struct {
	ID     string  `json:"id"`
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Lo     float64 `json:"lo"` // the smallest and largest of the rounds
	Hi     float64 `json:"hi"`
	Unit   string  `json:"unit"` // "%", "x", "us", ...
	AtMost bool    `json:"at_most"`
	Target float64 `json:"target"`
	Pass   bool    `json:"pass"`
}

// Fact is a figure without a target.
type Fact struct {
	ID    string  `json:"id"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Round is one measurement of one server, raw.
type Round struct {
	Scenario   string  `json:"scenario"`
	Case       string  `json:"case"`
	Server     string  `json:"server"` // ours, floor, durable
	Round      int     `json:"round"`
	Conns      int     `json:"conns"`
	Requests   uint64  `json:"requests"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	BodyBytes  uint64  `json:"body_bytes"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
	ClientCPU  float64 `json:"client_cpu_us_per_request"`
	ServerCPU  float64 `json:"server_cpu_us_per_request"`
	OpenRate   float64 `json:"open_rate,omitempty"`
	OpenBehind uint64  `json:"open_backlog,omitempty"`
}

// Claim adds a figure with a target and decides whether it is met.
func (r *Report) Claim(c Claim) {
	c.Pass = c.Value >= c.Target
	if c.AtMost {
		c.Pass = c.Value <= c.Target
	}
	r.Claims = append(r.Claims, c)
}

// Fact adds a figure.
func (r *Report) Fact(id, what string, value float64, unit string) {
	r.Facts = append(r.Facts, Fact{id, what, value, unit})
}

// Missed is the number of claims that are not met.
func (r *Report) Missed() int {
	n := 0
	for _, c := range r.Claims {
		if !c.Pass {
			n++
		}
	}
	return n
}

type table struct {
	title string
	rows  [][]string // the first is the head
}

// Table starts a table; add rows with Row.
func (r *Report) Table(title string, head ...string) {
	r.tables = append(r.tables, table{title, [][]string{head}})
}

// Row adds a row to the last table.
func (r *Report) Row(cells ...string) {
	t := &r.tables[len(r.tables)-1]
	t.rows = append(t.rows, cells)
}

// Print writes the tables, the facts, and last the claims with their targets.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n%s\n", t.title)
		writeTable(&b, t.rows)
	}
	if len(r.Facts) > 0 {
		rows := [][]string{{"figure", "value"}}
		for _, f := range r.Facts {
			rows = append(rows, []string{f.What, Number(f.Value, f.Unit)})
		}
		fmt.Fprintf(&b, "\nFigures without a target\n")
		writeTable(&b, rows)
	}
	if len(r.Claims) > 0 {
		rows := [][]string{{"claim", "measured", "of the rounds", "target", ""}}
		for _, c := range r.Claims {
			verdict, sign := "ok", ">="
			if !c.Pass {
				verdict = "MISSED"
			}
			if c.AtMost {
				sign = "<="
			}
			spread := ""
			if c.Lo != c.Hi {
				spread = Number(c.Lo, c.Unit) + " .. " + Number(c.Hi, c.Unit)
			}
			rows = append(rows, []string{c.What, Number(c.Value, c.Unit), spread, sign + " " + Number(c.Target, c.Unit), verdict})
		}
		fmt.Fprintf(&b, "\nClaims: %d of %d met\n", len(r.Claims)-r.Missed(), len(r.Claims))
		writeTable(&b, rows)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeTable aligns the first column left and the others right.
func writeTable(b *strings.Builder, rows [][]string) {
	width := map[int]int{}
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				line.WriteString("  " + c + pad)
			} else {
				line.WriteString("  " + pad + c)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		if n == 0 {
			total := 0
			for i := range row {
				total += width[i] + 2
			}
			b.WriteString("  " + strings.Repeat("-", total-2) + "\n")
		}
	}
}

// Number formats v for people: three or four significant digits, with the unit.
func Number(v float64, unit string) string {
	a := v
	if a < 0 {
		a = -a
	}
	var s string
	switch {
	case a >= 1000:
		s = group(fmt.Sprintf("%.0f", v))
	case a >= 100:
		s = fmt.Sprintf("%.0f", v)
	case a >= 10:
		s = fmt.Sprintf("%.1f", v)
	default:
		s = fmt.Sprintf("%.2f", v)
	}
	switch unit {
	case "":
		return s
	case "%", "x":
		return s + unit
	default:
		return s + " " + unit
	}
}

// group puts commas between thousands.
func group(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// WriteFile writes the report as JSON, whole or not at all.
func (r *Report) WriteFile(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("report: %w", err), os.Remove(tmp))
	}
	return nil
}
