package httpd

import (
	"fastpaca/shard"

	"github.com/VictoriaMetrics/metrics"
)

// forwardMetrics counts requests on their way between nodes.
type forwardMetrics struct {
	sent     [len(forwardResults)]*metrics.Counter
	served   *metrics.Counter
	refused  *metrics.Counter
	rerouted *metrics.Counter
}

// forwardResults are the result labels of what was sent: how Router.Forward can end, the last for all others.
var forwardResults = [...]struct {
	code  shard.Code
	label string
}{
	{shard.CodeOK, "answered"},
	{shard.CodeNotLeader, "leading_now"},
	{shard.CodeUnavailable, "no_leader"},
	{shard.CodeTimeout, "lost"},
	{shard.CodeOverloaded, "refused"},
}

func (m *forwardMetrics) init(set *metrics.Set) {
	for i, r := range forwardResults {
		m.sent[i] = set.NewCounter(`fastpaca_http_forwarded_total{result="` + r.label + `"}`)
	}
	m.served = set.NewCounter("fastpaca_http_forwarded_served_total")
	m.refused = set.NewCounter("fastpaca_http_forwarded_refused_total")
	m.rerouted = set.NewCounter("fastpaca_http_rerouted_total")
}

// count counts the end of one Forward.
func (m *forwardMetrics) count(c shard.Code) {
	for i := range forwardResults {
		if forwardResults[i].code == c || i == len(forwardResults)-1 {
			m.sent[i].Inc()
			return
		}
	}
}
