package httpd

// cause is why a stream ended.
type cause uint8

const (
	causeNone       cause = iota
	causeTombstoned       // the context was deleted, and the client has been told
	causeSlow             // the client did not take what was sent
	causeIdle             // the client was silent for too long
	causeShutdown         // the server stops
	causeClient           // the client closed the stream
	causeGone             // the connection broke
	causeLost             // no replica could be found to go on with
	causePanic            // a bug
	causeCount
)

// causes gives each cause its label in metrics and logs, and the WebSocket close code and reason that the
// client sees (RFC 6455, 7.4.1). Code 0: nothing is sent.
var causes = [causeCount]struct {
	label  string
	code   uint16
	reason string
}{
	causeNone:       {"none", 0, ""},
	causeTombstoned: {"tombstoned", 1000, "tombstoned"},
	causeSlow:       {"slow_consumer", 1008, "slow_consumer"},
	causeIdle:       {"idle", 1001, "idle_timeout"},
	causeShutdown:   {"shutdown", 1001, "shutdown"},
	causeClient:     {"client", 1000, ""},
	causeGone:       {"gone", 0, ""},
	causeLost:       {"lost", 1001, "unavailable"},
	causePanic:      {"panic", 1011, "internal_error"},
}

func (c cause) String() string { return causes[c].label }
