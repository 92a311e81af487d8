package httpd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// MetricsWriter renders series that are not kept in a metrics.Set, with their HELP and TYPE. It is what
// Config.Metrics callbacks use for the series of the WAL, of raft and of the shards:
//
//	m := httpd.MetricsWriter{W: w}
//	m.Counter("fastpaca_wal_fsyncs_total", "Calls of fdatasync.", stats.Fsyncs)
//
// Write all series of one name one after the other: HELP and TYPE precede the first.
type MetricsWriter struct {
	W    io.Writer
	last string // the family that HELP and TYPE were written for
}

// Counter writes one series of a counter. name may carry labels in braces.
func (m *MetricsWriter) Counter(name, help string, v uint64) {
	m.head(name, help, "counter")
	fmt.Fprintf(m.W, "%s %d\n", name, v)
}

// Gauge writes one series of a gauge. name may carry labels in braces.
func (m *MetricsWriter) Gauge(name, help string, v float64) {
	m.head(name, help, "gauge")
	fmt.Fprintf(m.W, "%s %g\n", name, v)
}

// Histogram writes a histogram whose counts somebody else keeps: counts[i] values were at most bounds[i] (and
// above bounds[i-1]), the last of counts, one more than bounds, were above all. bounds and sum are in the unit
// that the name ends in.
func (m *MetricsWriter) Histogram(name, help string, bounds []float64, counts []uint64, sum float64) {
	m.head(name, help, "histogram")
	family, labels := splitName(name)
	pre, post := "", ""
	if labels != "" {
		pre, post = labels+",", "{"+labels+"}"
	}
	var n uint64
	for i, b := range bounds {
		n += counts[i]
		fmt.Fprintf(m.W, "%s_bucket{%sle=\"%g\"} %d\n", family, pre, b, n)
	}
	n += counts[len(bounds)]
	fmt.Fprintf(m.W, "%s_bucket{%sle=\"+Inf\"} %d\n%s_sum%s %g\n%s_count%s %d\n", family, pre, n, family, post, sum, family, post, n)
}

// own writes one of our own histograms.
func (m *MetricsWriter) own(name, help string, h *Histogram) {
	m.head(name, help, "histogram")
	family, labels := splitName(name)
	h.write(m.W, family, labels)
}

func (m *MetricsWriter) head(name, help, typ string) {
	family, _ := splitName(name)
	if family == m.last {
		return
	}
	m.last = family
	fmt.Fprintf(m.W, "# HELP %s %s\n# TYPE %s %s\n", family, help, family, typ)
}

// splitName splits `family{a="b"}` into family and `a="b"`.
func splitName(name string) (family, labels string) {
	family, labels, _ = strings.Cut(name, "{")
	return family, strings.TrimSuffix(labels, "}")
}

// describe copies src to dst and gives the HELP lines that the metrics library leaves empty their text: that
// of help, or one by the prefix for what the library itself measures.
func describe(dst *bytes.Buffer, src []byte, help map[string]string) {
	for len(src) > 0 {
		line := src
		if i := bytes.IndexByte(src, '\n'); i >= 0 {
			line = src[:i]
			src = src[i+1:]
		} else {
			src = nil
		}
		dst.Write(line)
		if family, ok := bytes.CutPrefix(line, []byte("# HELP ")); ok && !bytes.ContainsRune(family, ' ') {
			dst.WriteByte(' ')
			dst.WriteString(helpOf(string(family), help))
		}
		dst.WriteByte('\n')
	}
}

func helpOf(family string, help map[string]string) string {
	text, ok := help[family]
	switch {
	case ok:
		return text
	case strings.HasPrefix(family, "go_"):
		return "Of the Go runtime, see https://pkg.go.dev/runtime/metrics."
	case strings.HasPrefix(family, "process_"):
		return "Of this process, from /proc/self."
	}
	return "Undocumented."
}
