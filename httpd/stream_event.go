package httpd

import "bytes"

// eventKind is the type of a stream event.
type eventKind uint8

const (
	eventOther eventKind = iota
	eventMessage
	eventContext
	eventCompaction
	eventTombstoned
	eventReset
	eventGap
	eventPing
	eventCount
)

var eventLabels = [eventCount]string{"other", "message", "context", "compaction", "tombstoned", "reset", "gap", "ping"}

const eventHead = `{"type":"`

// eventOf reads the type of an event that View.NextEvent encoded: it is always the first member.
func eventOf(event []byte) eventKind {
	rest, ok := bytes.CutPrefix(event, []byte(eventHead))
	if !ok {
		return eventOther
	}
	for k := eventMessage; k < eventPing; k++ {
		label := eventLabels[k]
		if len(rest) > len(label) && rest[len(label)] == '"' && string(rest[:len(label)]) == label {
			return k
		}
	}
	return eventOther
}

// eventVersion reads the version of an event, which is its second member; 0 if it has none (gap).
func eventVersion(event []byte, k eventKind) uint64 {
	rest, ok := bytes.CutPrefix(event[len(eventHead)+len(eventLabels[k]):], []byte(`","version":`))
	if !ok {
		return 0
	}
	v, _ := leadingUint(rest)
	return v
}

// eventSeq reads the seq of a message event, which follows the version.
func eventSeq(event []byte) uint64 {
	const head = `{"type":"message","version":`
	_, rest := leadingUint(event[len(head):])
	rest, ok := bytes.CutPrefix(rest, []byte(`,"seq":`))
	if !ok {
		panic("httpd: a message event without a seq behind its version; shard's NextEvent and httpd must agree on the order")
	}
	seq, _ := leadingUint(rest)
	return seq
}

// leadingUint reads the digits that b begins with.
func leadingUint(b []byte) (v uint64, rest []byte) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		v, b = v*10+uint64(b[0]-'0'), b[1:]
	}
	return v, b
}
