package httpd

import (
	"bytes"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"
)

// Metrics is what the server counts about itself, in a set of its own: two servers in one process do not mix.
// Counting takes no lock and, past the first request of a kind, allocates nothing.
type Metrics struct {
	set   *metrics.Set
	extra func(io.Writer) // Config.Metrics
	log   *Logger
	ready func() bool
	build string // name and labels of fastpaca_build_info

	requests  [routeCount][statusCount]atomic.Pointer[metrics.Counter]
	durations [routeCount]*Histogram

	connections atomic.Int64 // open now
	inflight    atomic.Int64 // requests being answered now
	accepted    *metrics.Counter
	bytesIn     *metrics.Counter
	bytesOut    *metrics.Counter

	appends [len(roles)][len(tokenSources)]*metrics.Counter
	tokens  *Histogram

	streams streamMetrics
	forward forwardMetrics

	tallies [tallies]tally
	handed  atomic.Uint32 // tallies given to works
}

// statusCount bounds the code label: codes outside 100..599 count as 599.
const statusCount = 500

// roles bounds the role label of fastpaca_messages_append_total: a role is the client's free text, and labels
// must not be. Everything else counts as the last.
var roles = [...]string{"system", "user", "assistant", "tool", "other"}

// tokenSources is who counted the tokens of a message: the client, who sent token_count, or the server.
var tokenSources = [...]string{"client", "server"}

// durationBounds are the buckets of request durations in nanoseconds: 50 us is a read from memory, 100 to
// 300 us an append on a good disk, 10 s as long as a request may wait.
func durationBounds() []int64 {
	us := []int64{50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10_000, 25_000, 50_000, 100_000,
		250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000}
	for i := range us {
		us[i] *= int64(time.Microsecond)
	}
	return us
}

// tokenBounds are the buckets of tokens per message: powers of two, the usual context windows at the end.
func tokenBounds() []int64 {
	return []int64{1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 1 << 20}
}

// metricsHelp is the HELP text of the series in the set.
var metricsHelp = map[string]string{
	"fastpaca_build_info":                "1, with the version of this build and the name of the node.",
	"fastpaca_ready":                     "1 while the node can serve all shards, as /health/ready says.",
	"fastpaca_messages_append_total":     "Messages appended, by role; source says who counted the tokens, the client or the server.",
	"fastpaca_http_requests_total":       "Requests answered, by route and status code. A stream counts when it begins.",
	"fastpaca_http_connections":          "TCP connections open now, streams included.",
	"fastpaca_http_connections_total":    "TCP connections accepted.",
	"fastpaca_http_requests_in_flight":   "Requests being answered now, streams not included.",
	"fastpaca_http_received_bytes_total": "Bytes read from clients.",
	"fastpaca_http_sent_bytes_total":     "Bytes written to clients.",
	"fastpaca_http_forwarded_total": "Requests sent to the node that leads their shard, by how that ended; their answers count in " +
		"fastpaca_http_requests_total.",
	"fastpaca_http_forwarded_served_total":  "Requests of other nodes answered here; they count in fastpaca_http_requests_total there only.",
	"fastpaca_http_forwarded_refused_total": "Requests of other nodes for shards that this node does not lead.",
	"fastpaca_http_rerouted_total":          "Requests that looked for their shard's leader again, since it was not this node.",
	"fastpaca_stream_connections":           "Streams open now, by transport (relay: to a client of another node, through that node), those that linger for a slow client to read its end included.",
	"fastpaca_stream_opened_total":          "Streams opened, by transport.",
	"fastpaca_stream_rejected_total":        "Streams refused with 429: FASTPACA_STREAM_MAX_CONNECTIONS were open.",
	"fastpaca_stream_reattached_total":      "Streams that went on from another replica, or from the state that replaced this node's.",
	"fastpaca_stream_events_total":          "Events written to streams, by type.",
	"fastpaca_stream_sent_bytes_total":      "Bytes of streams handed to the kernel, framing included.",
	"fastpaca_stream_closed_total":          "Streams ended, by reason.",
	"fastpaca_log_dropped_total":            "Log lines lost because the log sink did not keep up.",
	"fastpaca_log_write_errors_total":       "Writes that the log sink refused.",
}

func newMetrics(s *Server) *Metrics {
	// The library writes TYPE lines only when told to, for the whole process. Telling it again does no harm.
	metrics.ExposeMetadata(true)

	set := metrics.NewSet()
	m := &Metrics{
		set: set, extra: s.cfg.Metrics, log: s.cfg.Logger,
		ready:    func() bool { ok, _ := s.store.Ready(); return ok && !s.leaving.Load() && !s.draining.Load() },
		build:    `fastpaca_build_info{version=` + LabelValue(s.cfg.Version) + `,node=` + LabelValue(s.cfg.NodeName) + `}`,
		accepted: set.NewCounter("fastpaca_http_connections_total"),
		bytesIn:  set.NewCounter("fastpaca_http_received_bytes_total"),
		bytesOut: set.NewCounter("fastpaca_http_sent_bytes_total"),
		tokens:   NewHistogram(1, tokenBounds()...),
	}
	for i := range m.durations {
		m.durations[i] = NewHistogram(float64(time.Second), durationBounds()...)
	}
	for i, role := range roles {
		for j, source := range tokenSources {
			m.appends[i][j] = set.NewCounter(`fastpaca_messages_append_total{role="` + role + `",source="` + source + `"}`)
		}
	}
	gauge := func(name string, f func() float64) { set.NewGauge(name, f) }
	gauge("fastpaca_http_connections", func() float64 { return float64(m.connections.Load()) })
	gauge("fastpaca_http_requests_in_flight", func() float64 {
		n := m.inflight.Load()
		for i := range m.tallies {
			n += m.tallies[i].inflight.Load()
		}
		return float64(n)
	})
	for _, h := range []*Histogram{m.tokens, m.durations[routeMessages]} {
		if len(h.counts) > histogramMax {
			panic("httpd: a histogram has more buckets than its tallies; raise histogramMax")
		}
	}
	m.streams.init(set)
	m.forward.init(set)
	return m
}

// observe counts an answered request.
func (m *Metrics) observe(r route, status int, took time.Duration) {
	m.answered(r, status).Inc()
	m.durations[r].Observe(int64(took))
}

// answered is the counter of a route's answers with a status.
func (m *Metrics) answered(r route, status int) *metrics.Counter {
	i := status - 100
	if i < 0 || i >= statusCount {
		i = statusCount - 1
	}
	c := m.requests[r][i].Load()
	if c == nil {
		name := `fastpaca_http_requests_total{route="` + r.String() + `",code="` + strconv.Itoa(i+100) + `"}`
		c = m.set.GetOrCreateCounter(name)
		m.requests[r][i].Store(c) // two racing requests store the same pointer
	}
	return c
}

// appended counts a message of a successful append. role is the client's, unescaped, and is not kept; counted
// says that the server counted the tokens.
func (m *Metrics) appended(role []byte, tokens uint32, counted bool) {
	i, source := appendLabels(role, counted)
	m.appends[i][source].Inc()
	m.tokens.Observe(int64(tokens))
}

// appendedQuickly is appended by way of a tally.
func (m *Metrics) appendedQuickly(t *tally, role []byte, tokens uint32, counted bool) {
	i, source := appendLabels(role, counted)
	t.appends[i][source].Add(1)
	t.tokens.observe(m.tokens, int64(tokens))
}

// appendLabels are the indexes of a message's labels, in roles and tokenSources.
func appendLabels(role []byte, counted bool) (i, source int) {
	for i < len(roles)-1 && string(role) != roles[i] {
		i++
	}
	if counted {
		source = 1
	}
	return i, source
}

// write renders everything, HELP and TYPE before each family. It does not wait for w in the middle of a
// scrape: all is gathered first.
func (m *Metrics) write(w io.Writer) {
	m.fold()
	var raw, out bytes.Buffer
	m.set.WritePrometheus(&raw)
	metrics.WriteProcessMetrics(&raw)
	metrics.WriteFDMetrics(&raw)
	describe(&out, raw.Bytes(), metricsHelp)

	mw := MetricsWriter{W: &out}
	mw.Gauge(m.build, metricsHelp["fastpaca_build_info"], 1)
	ready := 0.0
	if m.ready() {
		ready = 1
	}
	mw.Gauge("fastpaca_ready", metricsHelp["fastpaca_ready"], ready)
	mw.own("fastpaca_messages_token_count", "Tokens of each appended message.", m.tokens)
	for r, h := range m.durations {
		if h.Count() > 0 {
			mw.own(`fastpaca_http_request_duration_seconds{route="`+route(r).String()+`"}`,
				"From the last byte of a request's head to its answer, by route. A stream ends here when it begins.", h)
		}
	}
	if m.log != nil {
		mw.Counter("fastpaca_log_dropped_total", metricsHelp["fastpaca_log_dropped_total"], m.log.Dropped())
		mw.Counter("fastpaca_log_write_errors_total", metricsHelp["fastpaca_log_write_errors_total"], m.log.errors.Load())
	}
	if m.extra != nil {
		m.extra(&out)
	}
	w.Write(out.Bytes()) // an error is the scraper's
}

// LabelValue quotes v for use as the value of a label.
func LabelValue(v string) string {
	b := []byte{'"'}
	for i := 0; i < len(v); i++ {
		switch c := v[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// serveMetrics answers GET /metrics.
func (s *Server) serveMetrics(ctx *fasthttp.RequestCtx, _ *work) {
	ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	s.metrics.write(ctx.Response.BodyWriter())
}
