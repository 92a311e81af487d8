package httpd

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// family is one metric family of the text format.
type family struct {
	help, typ string
	samples   map[string]float64 // name and labels -> value
}

var sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:, ?)?)*\})? (\S+)$`)

// parseMetrics reads Prometheus text format 0.0.4 strictly: HELP with a text and TYPE before the first sample, a
// family in one piece, no sample twice, histograms cumulative and complete.
func parseMetrics(t *testing.T, text string) map[string]*family {
	t.Helper()
	families := map[string]*family{}
	var name string
	require.True(t, strings.HasSuffix(text, "\n"), "the last line must end")
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		at := fmt.Sprintf("line %d: %s", i+1, line)
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			var help string
			name, help, ok = strings.Cut(rest, " ")
			require.True(t, ok && help != "", at)
			require.NotContains(t, families, name, at)
			families[name] = &family{help: help, samples: map[string]float64{}}
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			n, typ, _ := strings.Cut(rest, " ")
			require.Equal(t, name, n, at)
			require.Contains(t, []string{"counter", "gauge", "histogram", "summary"}, typ, at)
			require.Empty(t, families[n].typ, at)
			families[n].typ = typ
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		require.NotNil(t, m, at)
		require.NotEmpty(t, name, at)
		f := families[name]
		base := m[1]
		if f.typ == "histogram" || f.typ == "summary" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if s, ok := strings.CutSuffix(base, suffix); ok && s == name {
					base = s
				}
			}
		}
		require.Equal(t, name, base, at)
		require.NotEmpty(t, f.typ, at)
		v, err := strconv.ParseFloat(m[3], 64)
		require.NoError(t, err, at)
		require.NotContains(t, f.samples, m[1]+m[2], at)
		f.samples[m[1]+m[2]] = v
		if f.typ == "counter" {
			require.GreaterOrEqual(t, v, 0.0, at)
		}
	}
	for name, f := range families {
		require.NotEmpty(t, f.samples, "family %s has no sample", name)
		if f.typ == "histogram" {
			checkHistogram(t, name, f, text)
		}
	}
	return families
}

var leLabel = regexp.MustCompile(`,?le="([^"]*)"`)

// checkHistogram wants buckets in ascending order of le, cumulative, the last of them +Inf and equal to _count.
func checkHistogram(t *testing.T, name string, f *family, text string) {
	t.Helper()
	type state struct{ le, n float64 }
	last := map[string]state{}
	for _, line := range strings.Split(text, "\n") {
		rest, ok := strings.CutPrefix(line, name+"_bucket{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(rest, "} ")
		m := leLabel.FindStringSubmatch(labels)
		require.NotNil(t, m, line)
		le, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err, line)
		n, err := strconv.ParseFloat(value, 64)
		require.NoError(t, err, line)
		key := leLabel.ReplaceAllString(labels, "")
		if prev, ok := last[key]; ok {
			require.Greater(t, le, prev.le, line)
			require.GreaterOrEqual(t, n, prev.n, line)
		}
		last[key] = state{le, n}
	}
	require.NotEmpty(t, last, name)
	for key, s := range last {
		if key != "" {
			key = "{" + key + "}"
		}
		require.Equal(t, "+Inf", strings.TrimPrefix(fmt.Sprintf("%+g", s.le), ""), name+key)
		if strings.HasPrefix(name, "go_") {
			continue // the library gives those of the runtime no sum and no count; Prometheus takes them so
		}
		require.Equal(t, f.samples[name+"_count"+key], s.n, name+key)
		require.Contains(t, f.samples, name+"_sum"+key)
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	s := bareServer(t)
	s.cfg.Metrics = func(w io.Writer) {
		m := MetricsWriter{W: w}
		m.Counter("fastpaca_test_total", "A counter of a callback.", 3)
		m.Gauge(`fastpaca_test_gauge{x="1"}`, "A gauge.", 1.5)
		m.Gauge(`fastpaca_test_gauge{x="2"}`, "A gauge.", 2.5)
		m.Histogram(`fastpaca_test_seconds{y="1"}`, "A histogram.", []float64{0.1, 1}, []uint64{1, 2, 3}, 9)
	}
	s.cfg.NodeName = "n\"1\\\n"
	s.log = NewLogger(io.Discard, LevelInfo)
	s.cfg.Logger = s.log
	defer s.log.Close()
	m := newMetrics(s)
	m.observe(routeMessages, 201, 150*time.Microsecond)
	m.observe(routeMessages, 201, 30*time.Second)
	m.observe(routeTail, 9999, 0)
	m.appended([]byte("user"), 10, true)
	m.appended([]byte("pirate\"\n"), 1_000_000_000, false)

	var b bytes.Buffer
	m.write(&b)
	f := parseMetrics(t, b.String())
	require.Equal(t, 1.0, f["fastpaca_messages_append_total"].samples[`fastpaca_messages_append_total{role="user",source="server"}`])
	require.Equal(t, 1.0, f["fastpaca_messages_append_total"].samples[`fastpaca_messages_append_total{role="other",source="client"}`])
	require.Equal(t, 2.0, f["fastpaca_messages_token_count"].samples["fastpaca_messages_token_count_count"])
	require.Equal(t, 1000000010.0, f["fastpaca_messages_token_count"].samples["fastpaca_messages_token_count_sum"])
	require.Equal(t, 2.0, f["fastpaca_http_requests_total"].samples[`fastpaca_http_requests_total{route="/v1/contexts/{id}/messages",code="201"}`])
	d := f["fastpaca_http_request_duration_seconds"]
	require.Equal(t, "histogram", d.typ)
	require.Equal(t, 1.0, d.samples[`fastpaca_http_request_duration_seconds_bucket{route="/v1/contexts/{id}/messages",le="0.0002"}`])
	require.Equal(t, 1.0, d.samples[`fastpaca_http_request_duration_seconds_bucket{route="/v1/contexts/{id}/messages",le="10"}`])
	require.Equal(t, 2.0, d.samples[`fastpaca_http_request_duration_seconds_bucket{route="/v1/contexts/{id}/messages",le="+Inf"}`])
	require.InDelta(t, 30.00015, d.samples[`fastpaca_http_request_duration_seconds_sum{route="/v1/contexts/{id}/messages"}`], 1e-9)
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "process_open_fds", "fastpaca_build_info",
		"fastpaca_ready", "fastpaca_test_total", "fastpaca_stream_connections", "fastpaca_log_dropped_total"} {
		require.Contains(t, f, name)
	}
	for name, fam := range f {
		require.NotEqual(t, "Undocumented.", fam.help, name)
	}
}

func TestHistogramBuckets(t *testing.T) {
	h := NewHistogram(1, 10, 20)
	for _, v := range []int64{-5, 0, 10, 11, 20, 21, 1 << 40} {
		h.Observe(v)
	}
	var b bytes.Buffer
	h.write(&b, "x", "")
	require.Equal(t, `x_bucket{le="10"} 3
x_bucket{le="20"} 5
x_bucket{le="+Inf"} 7
x_sum `+strconv.FormatFloat(float64(10+11+20+21+1<<40), 'g', -1, 64)+`
x_count 7
`, b.String())
	require.Equal(t, uint64(7), h.Count())
	require.Panics(t, func() { NewHistogram(1, 2, 1) })
}
