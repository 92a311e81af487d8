package httpd

import (
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
)

// streamKind is the transport of a stream.
type streamKind uint8

const (
	kindWS streamKind = iota
	kindSSE
	kindRelay // to another node
	kindCount
)

var kindLabels = [kindCount]string{"websocket", "sse", "relay"}

func (k streamKind) String() string { return kindLabels[k] }

func (k streamKind) route() route {
	if k == kindSSE {
		return routeEvents
	}
	return routeStream
}

// streamMetrics counts streams and what they carry.
type streamMetrics struct {
	open     [kindCount]atomic.Int64
	opened   [kindCount]*metrics.Counter
	rejected *metrics.Counter

	reattached *metrics.Counter
	events     [eventCount]*metrics.Counter
	bytes      *metrics.Counter
	closed     [causeCount]*metrics.Counter
}

func (m *streamMetrics) init(set *metrics.Set) {
	for k := range m.open {
		labels := `{transport="` + kindLabels[k] + `"}`
		set.NewGauge("fastpaca_stream_connections"+labels, func() float64 { return float64(m.open[k].Load()) })
		m.opened[k] = set.NewCounter("fastpaca_stream_opened_total" + labels)
	}
	m.rejected = set.NewCounter("fastpaca_stream_rejected_total")
	m.reattached = set.NewCounter("fastpaca_stream_reattached_total")
	m.bytes = set.NewCounter("fastpaca_stream_sent_bytes_total")
	for i, label := range eventLabels {
		m.events[i] = set.NewCounter(`fastpaca_stream_events_total{type="` + label + `"}`)
	}
	for c := causeNone + 1; c < causeCount; c++ {
		m.closed[c] = set.NewCounter(`fastpaca_stream_closed_total{reason="` + c.String() + `"}`)
	}
}
